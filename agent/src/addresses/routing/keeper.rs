//! Adds and removes what the set says, and compares the set with the host when something has changed there.
//!
//! All of this is done in steps of a few milliseconds, between which the thread serves other requests: however many
//! routes there are, the addresses of a virtual router that becomes Active do not wait for them. The kernel lists what
//! is ours in one system call for each family, in which it walks through all routes that the host has, perhaps a
//! million. That happens on another thread, and nothing that was requested waits for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use xvrrp_common::units::Family;
use xvrrp_config::{RoutingConfig, StaticConfig};
use xvrrp_net::{BATCH, Change, HostEntry, Listing, NetError, RoutingMonitor, RoutingNews, RoutingSocket};

use super::render::Links;
use super::set::{Added, Owner, WishSet};
use super::wish::Wish;
use crate::addresses::report::Account;
use crate::identity::{PerRouter, RouterIndex};
use crate::process::blocking_call::BlockingCall;

/// Time from the start to the first look at the host, unless something is requested before.
const FIRST: Duration = Duration::from_millis(100);
/// Interval between two looks at the host when the kernel reports nothing.
const PERIOD: Duration = Duration::from_mins(1);
/// Pause after netlink has failed.
const RETRY: Duration = Duration::from_secs(3);
/// Shortest time between two log lines about entries that were put back.
const LOG_PAUSE: Duration = Duration::from_secs(10);
/// After a look that took some time, how many times as long the next one waits. Much that happens on a busy host gives
/// reason to look.
const REST: u32 = 9;

/// Keeps routes, rules and static addresses on the host.
pub(crate) struct RoutingKeeper {
    /// `None` after it has failed, until it is opened again.
    socket: Option<RoutingSocket>,
    /// The kernel's notifications; `None` if nothing has to be kept.
    monitor: Option<RoutingMonitor>,
    /// What is wanted, until it has become the set. That takes some time, which can wait until adverts are being sent.
    configs: Option<(Arc<StaticConfig>, PerRouter<Arc<RoutingConfig>>)>,
    /// True if nobody wants anything.
    is_empty: bool,
    set: WishSet,
    accounts: Arc<PerRouter<Account>>,
    statics: Arc<Account>,
    /// What is on the host and ours, and wanted by nobody.
    strays: Vec<HostEntry>,
    look: Look,
    /// False if the interfaces have to be listed.
    knows_links: bool,
    activity: Activity,
    due: Instant,
    /// True once looks have been suspended by [`Self::hold`].
    held: bool,
    /// True while the kernel's notifications cannot be received, or netlink fails.
    is_broken: bool,
    log: RestorationLog,
}

/// What the last step has left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    /// Perhaps something.
    Busy,
    /// Nothing until what is on the host has been listed.
    Listing,
    /// Nothing before [`RoutingKeeper::due`].
    Idle,
}

/// The look at the host.
#[derive(Debug, Default)]
struct Look {
    /// False until the first one is complete.
    has_looked: bool,
    listing: BlockingCall<Listed>,
    /// True from the start of the listing until its result was taken.
    is_listing: bool,
    /// True if something has been added or removed since the listing was started.
    is_outdated: bool,
    /// Time of the next look, if one is due.
    due: Option<Instant>,
    /// Earliest time of the next look.
    not_before: Option<Instant>,
    /// When the present look, and the work that follows from it, began.
    began: Option<Instant>,
}

/// What is on the host and ours.
type Listed = Result<Vec<HostEntry>, NetError>;

/// What was put back and has not been logged.
#[derive(Debug, Default)]
struct RestorationLog {
    first: Option<String>,
    count: usize,
    logged: Option<Instant>,
}

/// What [`RoutingKeeper::turn`] waits for.
#[derive(Debug)]
pub(crate) enum Turn {
    /// The kernel has notified of something.
    News(RoutingNews),
    /// Something is to be done.
    Step,
    /// What is on the host has been listed. `None` if the thread panicked that did so.
    Listed(Option<Listed>),
}

impl RoutingKeeper {
    /// Creates the keeper. Nothing is done before the first request, or [`FIRST`].
    ///
    /// # Errors
    /// The kernel refuses a netlink socket.
    pub(crate) fn open(
        statics: Arc<StaticConfig>,
        by_router: PerRouter<Arc<RoutingConfig>>,
        accounts: Arc<PerRouter<Account>>,
        account_of_statics: Arc<Account>,
    ) -> Result<Self, NetError> {
        let is_empty = statics.is_empty() && by_router.iter().all(|routing| routing.is_empty());
        let socket = RoutingSocket::open()?;
        // Without anything to keep, one look is enough, at what an earlier agent has left.
        let monitor = if is_empty { None } else { Some(RoutingMonitor::open(socket.port())?) };
        let due = Instant::now() + FIRST;
        Ok(Self {
            socket: Some(socket),
            monitor,
            configs: Some((statics, by_router)),
            is_empty,
            set: WishSet::default(),
            accounts,
            statics: account_of_statics,
            strays: Vec::new(),
            look: Look { due: Some(due), ..Look::default() },
            knows_links: false,
            activity: Activity::Idle,
            due,
            held: false,
            is_broken: false,
            log: RestorationLog::default(),
        })
    }

    /// Records whether what a virtual router wants should be on the host. Steps make it so.
    pub(crate) fn want(&mut self, router: RouterIndex, wanted: bool) {
        self.make_set();
        self.set.want(router, wanted);
        if !self.is_empty {
            self.activity = Activity::Busy;
        }
    }

    /// Suspends all looks at the host, because a successor will perform them. What is requested is still done.
    pub(crate) fn hold(&mut self) {
        self.held = true;
    }

    /// Schedules a look at the host.
    pub(crate) fn look_soon(&mut self) {
        if !self.is_empty {
            self.look.due = Some(Instant::now());
            self.activity = Activity::Busy;
        }
    }

    /// Returns whether nothing that was requested is left to do.
    pub(crate) fn is_settled(&self) -> bool {
        self.activity == Activity::Idle || self.is_broken
    }

    /// Returns whether something that nobody wants any more has to be removed before its addresses.
    pub(crate) fn is_removing(&self) -> bool {
        !self.is_broken && !self.set.removals(Instant::now()).0.is_empty()
    }

    /// Waits until there is news, or something to do.
    pub(crate) async fn turn(&mut self) -> Turn {
        let is_done = self.held || self.is_empty && self.look.has_looked;
        let due = match (self.activity, is_done) {
            (Activity::Busy, _) => Some(Instant::now()),
            (Activity::Idle, false) => Some(self.due),
            (Activity::Listing, _) | (Activity::Idle, true) => None,
        };
        let listed = async {
            match &mut self.look {
                Look { is_listing: true, listing, .. } => listing.finish().await,
                _ => std::future::pending().await,
            }
        };
        let news = async {
            match &mut self.monitor {
                Some(monitor) => monitor.next().await,
                None => std::future::pending().await,
            }
        };
        let step = async {
            match due {
                // The timer would round up to the next millisecond.
                Some(due) if due <= Instant::now() => tokio::task::yield_now().await,
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        // Both have their turn, however much there is of either.
        let news = tokio::select! {
            news = news => news,
            listed = listed => return Turn::Listed(listed),
            () = step => return Turn::Step,
        };
        news.map_or_else(
            || {
                self.monitor = None;
                tracing::error!("the kernel's notifications of routes have ended: looking at them every minute only");
                Turn::Step
            },
            Turn::News,
        )
    }

    /// Takes note of what the kernel has notified of.
    pub(crate) fn note(&mut self, news: RoutingNews) {
        match news {
            RoutingNews::Replaced(key) if !self.set.has_route(&key) => return,
            RoutingNews::Removed | RoutingNews::Replaced(_) => {}
            RoutingNews::Surroundings | RoutingNews::Missed => {
                self.knows_links = false;
                self.set.retry();
            }
        }
        if !self.held {
            self.look_soon();
        }
    }

    /// Does what is to be done next, for a few milliseconds at most.
    pub(crate) fn step(&mut self) {
        let now = Instant::now();
        match self.try_step(now) {
            Ok(()) => self.is_broken = false,
            Err(error) => self.fail(&error.to_string(), now),
        }
    }

    /// Takes note of what is on the host.
    pub(crate) fn note_listed(&mut self, listed: Option<Listed>) {
        (self.look.is_listing, self.activity) = (false, Activity::Busy);
        if std::mem::take(&mut self.look.is_outdated) {
            return;
        }
        match listed {
            Some(Ok(found)) => self.finish_look(found),
            Some(Err(error)) => self.fail(&error.to_string(), Instant::now()),
            None => self.fail("what is on the host cannot be listed", Instant::now()),
        }
    }

    /// Logs that netlink has failed, and makes all of it wait for a while.
    fn fail(&mut self, error: &str, now: Instant) {
        if !std::mem::replace(&mut self.is_broken, true) {
            tracing::error!("{error}; trying again");
        }
        // A new socket has nothing in it that belongs to an old request.
        self.socket = None;
        self.look.is_outdated = self.look.is_listing;
        self.look.due = Some(now + RETRY);
        (self.activity, self.due) = (Activity::Idle, now + RETRY);
    }

    /// Removes everything that this agent has added.
    pub(crate) async fn remove_all(&mut self) {
        self.make_set();
        self.set.want_nothing();
        self.activity = Activity::Busy;
        self.hold();
        while !self.is_settled() {
            match self.turn().await {
                Turn::News(_) => {}
                Turn::Step => self.step(),
                Turn::Listed(listed) => self.note_listed(listed),
            }
        }
    }

    /// Makes the set of what is wanted.
    fn make_set(&mut self) {
        if let Some((statics, by_router)) = self.configs.take() {
            let by_router = by_router.iter().map(|routing| Wish::of_router(routing));
            self.set = WishSet::new(Wish::statics(&statics), by_router.collect());
        }
    }

    fn try_step(&mut self, now: Instant) -> Result<(), NetError> {
        self.make_set();
        if self.socket.is_none() {
            self.socket = Some(RoutingSocket::open()?);
        }
        // What is on the host already is not added again.
        if !self.look.has_looked {
            return self.begin_look(now);
        }
        // What has the key of something wanted has to go first; the rest can wait.
        let in_the_way = |stray: &HostEntry| match stray {
            HostEntry::Address(_) => true,
            HostEntry::Rule(_) => false,
            HostEntry::Route(route) => route.key.family() == Family::Ipv6,
        };
        let obstacles: Vec<_> = self.strays.extract_if(.., |stray| in_the_way(stray)).collect();
        if !obstacles.is_empty() {
            return self.remove_strays(obstacles);
        }
        let additions = self.set.additions(now);
        for position in additions.hopeless {
            self.complain(&[position]);
        }
        if !additions.now.is_empty() {
            return self.add(&additions.now);
        }
        let (removals, next) = self.set.removals(now);
        if !removals.is_empty() {
            return self.remove(&removals);
        }
        if !self.strays.is_empty() {
            let strays = self.strays.split_off(self.strays.len().saturating_sub(BATCH));
            return self.remove_strays(strays);
        }
        if self.look.is_listing || !self.held && self.look.is_due(now) {
            return self.begin_look(now);
        }
        self.rest([additions.next, next].into_iter().flatten().min());
        Ok(())
    }

    /// Notes that nothing is to be done before this time, or before the next look.
    fn rest(&mut self, next: Option<Instant>) {
        let now = Instant::now();
        self.activity = Activity::Idle;
        if let Some(began) = self.look.began.take() {
            self.look.not_before = Some(now + REST * now.duration_since(began));
        }
        let look = *self.look.due.get_or_insert(now + PERIOD);
        let look = self.look.not_before.map_or(look, |not_before| look.max(not_before));
        self.log.write(now);
        self.due = [next, self.log.due()].into_iter().flatten().fold(look, Instant::min);
        self.publish();
    }

    /// Begins a look at the host, unless one has begun.
    fn begin_look(&mut self, now: Instant) -> Result<(), NetError> {
        self.activity = Activity::Listing;
        if self.look.is_listing {
            return Ok(());
        }
        self.look.began.get_or_insert(now);
        let Some(socket) = &mut self.socket else { return Ok(()) };
        if !self.knows_links && !self.is_empty {
            self.set.render(&Links::new(socket.links()?));
            self.knows_links = true;
        }
        self.look.due = None;
        let families = [Family::Ipv4, Family::Ipv6];
        let addresses = families.into_iter().filter(|family| self.set.has_addresses(*family)).map(Listing::Addresses);
        let others = families.map(Listing::Rules).into_iter().chain(families.map(Listing::Routes));
        let listings: Vec<_> = addresses.chain(others).collect();
        self.look.listing.start(move || {
            let mut socket = RoutingSocket::open()?;
            let found: Result<Vec<_>, _> = listings.into_iter().map(|listing| socket.list(listing)).collect();
            Ok(found?.into_iter().flatten().collect())
        });
        self.look.is_listing = true;
        Ok(())
    }

    fn finish_look(&mut self, found: Vec<HostEntry>) {
        self.strays = self.set.compare(found);
        if !self.look.has_looked && !self.strays.is_empty() {
            tracing::warn!("removing {} routes and rules, which an earlier agent had left", self.strays.len());
        }
        self.look.has_looked = true;
    }

    fn add(&mut self, positions: &[usize]) -> Result<(), NetError> {
        self.look.start_over();
        let Some(socket) = &mut self.socket else { return Ok(()) };
        let set = &self.set;
        let changes = positions.iter().filter_map(|position| set.get(*position)?.request());
        let changes: Vec<_> = changes.map(|(entry, insertion)| Change::Add(entry, insertion)).collect();
        let outcomes = socket.change(&changes)?;
        let now = Instant::now();
        let (mut refused, mut existed) = (Vec::new(), false);
        for (&position, outcome) in positions.iter().zip(outcomes) {
            match self.set.added(position, outcome, now) {
                Added::New | Added::Again => {}
                Added::Restored => self.restored(position),
                Added::Existed => existed = true,
                Added::Refused => refused.push(position),
            }
        }
        self.complain(&refused);
        if existed {
            self.look_soon();
        }
        Ok(())
    }

    fn remove(&mut self, positions: &[usize]) -> Result<(), NetError> {
        self.look.start_over();
        let Some(socket) = &mut self.socket else { return Ok(()) };
        let now = Instant::now();
        let set = &self.set;
        let (there, gone): (Vec<_>, Vec<_>) =
            positions.iter().copied().partition(|position| set.get(*position).is_some_and(|it| it.request().is_some()));
        let changes = there.iter().filter_map(|position| set.get(*position)?.request());
        let changes: Vec<_> = changes.map(|(entry, _)| Change::Remove(entry)).collect();
        let outcomes = socket.change(&changes)?;
        // The kernel has removed it with its interface.
        for position in gone {
            self.set.removed(position, true, now);
        }
        for (position, outcome) in there.into_iter().zip(outcomes) {
            if let (Err(refusal), Some(entry)) = (&outcome, self.set.get(position)) {
                tracing::error!("{} cannot be removed: {refusal}; trying again", entry.text);
            }
            self.set.removed(position, outcome.is_ok(), now);
        }
        Ok(())
    }

    fn remove_strays(&mut self, strays: Vec<HostEntry>) -> Result<(), NetError> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        for strays in strays.chunks(BATCH) {
            let changes: Vec<_> = strays.iter().map(Change::Remove).collect();
            let outcomes = socket.change(&changes)?;
            if let Some(refusal) = outcomes.into_iter().find_map(Result::err) {
                tracing::error!("what an earlier agent has left cannot be removed: {refusal}");
            }
        }
        Ok(())
    }

    /// Counts that an entry was put back, for its virtual routers or else for the agent, and remembers it for the log.
    fn restored(&mut self, position: usize) {
        let routers: BTreeSet<_> = self.set.routers_of(position).collect();
        let accounts = routers.iter().filter_map(|router| self.accounts.get(*router));
        let count = |account: &Account| {
            account.routes.fetch_add(1, Ordering::Relaxed);
        };
        if routers.is_empty() {
            count(&self.statics);
        }
        accounts.for_each(count);
        if let Some(entry) = self.set.get(position) {
            self.log.add(&entry.text);
        }
    }

    /// Logs why entries cannot be added.
    fn complain(&self, positions: &[usize]) {
        let Some(entry) = positions.first().and_then(|position| self.set.get(*position)) else { return };
        let more = match positions.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let reason = entry.failure.as_deref().unwrap_or_default();
        tracing::error!("{}{more} cannot be installed: {reason}; trying again", entry.text);
    }

    /// Publishes what is missing, for the status.
    fn publish(&self) {
        for (owner, account) in self.accounts.enumerate().map(|(router, account)| (Owner::Router(router), account)) {
            account.set_routing(self.set.account(owner));
        }
        self.statics.set_routing(self.set.account(Owner::Agent));
    }
}

impl Look {
    /// Makes the present look begin again, because something is being added or removed.
    fn start_over(&mut self) {
        if self.is_listing && !std::mem::replace(&mut self.is_outdated, true) {
            self.due = Some(Instant::now());
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now) && self.not_before.is_none_or(|not_before| not_before <= now)
    }
}

impl RestorationLog {
    fn add(&mut self, text: &str) {
        self.first.get_or_insert_with(|| text.to_owned());
        self.count += 1;
    }

    /// Returns when to write, if there is something.
    fn due(&self) -> Option<Instant> {
        self.first.as_ref().map(|_| self.logged.map_or_else(Instant::now, |logged| logged + LOG_PAUSE))
    }

    fn write(&mut self, now: Instant) {
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        let more = match std::mem::take(&mut self.count) {
            0 | 1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        self.logged = Some(now);
        tracing::warn!("{}{more} had been removed: put back", self.first.take().unwrap_or_default());
    }
}
