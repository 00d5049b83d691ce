//! Compares what should be on the host with what is there, and puts back what is missing.
//!
//! A deletion that the kernel reports only triggers a check, which relies on one listing of all addresses, taken after
//! the deletion. An address that something else has installed serves as well as ours. It is never removed, and is
//! replaced by ours once it is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use xvrrp_net::{AddressOutcome, Deletion, FoundAddress, MARKS_LAST, NetError, Netlink, Placed, interface_is_running};

use super::placement::Placement;
use super::report::{Account, AddressReport};
use super::router::{KeptRouter, Presence, identity, subnet};
use super::tolerance::{Permission, Tolerance};
use crate::addresses::unicast_filters::Record;
use crate::identity::{PerRouter, RouterIndex};

/// Interval between two checks when the kernel reports nothing.
const PERIOD: Duration = Duration::from_secs(3);
/// Pause before the next check if one was not possible, or if an interface is down.
const RETRY: Duration = Duration::from_millis(100);
/// How long to check every [`RETRY`] after an address was put back.
///
/// A program that has removed our address together with an address of the host in the same subnet will put the host's
/// address back, and that address has to come first. Otherwise the next removal of ours removes it too.
const AFTERMATH: Duration = Duration::from_secs(1);
/// How long listing addresses may fail before the agent gives up.
const BLIND: Duration = Duration::from_secs(5);
/// Shortest time between two log lines about one virtual router.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// A virtual address: the number of its virtual router, and its position among the addresses of that one.
type AddressIndex = (RouterIndex, usize);

/// Keeps addresses and unicast filter entries on the host.
pub(super) struct Keeper {
    netlink: Netlink,
    routers: PerRouter<KeptRouter>,
    by_address: BTreeMap<Placed, AddressIndex>,
    /// Record of the filter entries. The filters are kept once it is set.
    record: Option<Record>,
    reports: mpsc::UnboundedSender<AddressReport>,
    accounts: Arc<PerRouter<Account>>,
    /// Time of the next check.
    due: Instant,
    /// Time of the next periodic check of everything.
    period_ends: Instant,
    /// True once checks have been suspended by [`Self::hold`].
    held: bool,
    /// End of the frequent checks after something was put back.
    aftermath_ends: Instant,
    /// Time since which addresses cannot be listed.
    blind_since: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(
        netlink: Netlink,
        placements: PerRouter<Placement>,
        reports: mpsc::UnboundedSender<AddressReport>,
        accounts: Arc<PerRouter<Account>>,
    ) -> Self {
        let routers: PerRouter<_> = placements.into_iter().map(KeptRouter::new).collect();
        let all = routers.enumerate().flat_map(|(number, router)| {
            let places = router.addresses.iter().enumerate();
            places.map(move |(place, address)| (identity(router.placed(address)), (number, place)))
        });
        let by_address = all.collect();
        let now = Instant::now();
        Self {
            netlink,
            routers,
            by_address,
            record: None,
            reports,
            accounts,
            due: now + RETRY,
            period_ends: now + PERIOD,
            held: false,
            aftermath_ends: now + AFTERMATH,
            blind_since: None,
        }
    }

    /// Returns when to call [`Self::check`], or `None` after [`Self::hold`].
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.held).then_some(self.due)
    }

    /// Suspends all checks, because a successor will perform them.
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    /// Schedules a check for now.
    pub(super) fn check_soon(&mut self) {
        self.check_by(Instant::now());
    }

    /// Schedules a check for this time, unless an earlier one is due.
    fn check_by(&mut self, at: Instant) {
        self.due = self.due.min(at);
    }

    /// Records whether the addresses of a virtual router should be installed. [`Self::carry_out`] installs or removes
    /// them.
    pub(super) fn want(&mut self, router: RouterIndex, installed: bool) {
        if let Some(router) = self.routers.get_mut(router) {
            (router.wanted, router.asked, router.retires) = (Some(installed), true, !installed);
            for address in &mut router.addresses {
                address.lost = false;
                // While the address was not wanted, no check has followed whether the foreign one is still there.
                if address.presence == Presence::Foreign {
                    address.presence = Presence::Absent;
                }
            }
        }
    }

    /// Keeps the filter entries from now on.
    pub(super) fn keep_filters(&mut self, record: Record) {
        self.record = Some(record);
        self.check_soon();
    }

    /// Notes that something was removed from an interface, perhaps by this agent.
    pub(super) fn note(&mut self, deletion: Deletion) {
        match deletion {
            Deletion::Address(placed) => {
                let Some((router, place)) = self.by_address.get(&identity(placed)).copied() else { return };
                let Some(router) = self.routers.get(router).filter(|router| router.wanted == Some(true)) else {
                    return;
                };
                let presence = router.addresses.get(place).map(|address| address.presence);
                if presence.is_some_and(|presence| presence != Presence::Absent) {
                    self.check_soon();
                }
            }
            Deletion::Filter { ifindex, mac } => {
                let concerned =
                    |placement: &Placement| (placement.ifindex, placement.virtual_mac) == (ifindex, Some(mac));
                for router in self.routers.iter_mut().filter(|router| concerned(&router.placement)) {
                    router.filter_in_doubt = true;
                    self.due = Instant::now();
                }
            }
            Deletion::Missed => {
                self.doubt_all_filters();
                self.check_soon();
            }
        }
    }

    /// Makes the next check look at the filter entries of all virtual routers.
    fn doubt_all_filters(&mut self) {
        self.routers.iter_mut().for_each(|router| router.filter_in_doubt = true);
    }

    /// Carries out what was requested. Addresses are installed first, because clients wait for them.
    pub(super) async fn carry_out(&mut self) {
        let asked = |wanted| move |router: &KeptRouter| router.asked && router.wanted == Some(wanted);
        if self.routers.iter().any(asked(true)) {
            self.install(asked(true)).await;
        }
        if self.routers.iter().any(asked(false)) {
            self.remove(asked(false)).await;
            self.report_removed();
        }
        self.routers.iter_mut().for_each(|router| router.asked = false);
    }

    /// Reports the virtual routers whose addresses have been removed as requested. A virtual router whose addresses
    /// could not be removed stays behind the fence.
    fn report_removed(&mut self) {
        let is_off = |router: &KeptRouter| router.addresses.iter().all(|address| address.presence != Presence::Ours);
        for (number, router) in self.routers.enumerate_mut() {
            if router.retires && is_off(router) {
                router.retires = false;
                // Sending fails only in the last moments of a stop: until then, the election outlives this thread.
                let _ = self.reports.send(AddressReport::Removed { router: number });
            }
        }
    }

    /// Removes all addresses that this agent has installed.
    pub(super) async fn remove_all(&mut self) {
        self.remove(|_| true).await;
    }

    /// Checks everything that should be on the host and puts back what is missing.
    ///
    /// # Errors
    /// Addresses could not be listed for 5 s.
    pub(super) async fn check(&mut self) -> Result<(), NetError> {
        let now = Instant::now();
        if now >= self.period_ends {
            self.period_ends = now + PERIOD;
            self.doubt_all_filters();
            for number in self.routers.indices() {
                self.log_restored(number, "an address or filter entry", 0, now);
            }
        }
        self.due = if now < self.aftermath_ends { now + RETRY } else { self.period_ends };
        self.end_rests(now);
        self.check_addresses(now).await?;
        self.open_filters(now).await;
        Ok(())
    }

    async fn check_addresses(&mut self, now: Instant) -> Result<(), NetError> {
        let is_there = |router: &KeptRouter| router.addresses.iter().any(|address| address.presence == Presence::Ours);
        let is_concerned = |router: &KeptRouter| match router.wanted {
            Some(true) => !router.addresses.is_empty(),
            Some(false) => is_there(router),
            None => false,
        };
        if !self.routers.iter().any(is_concerned) {
            return Ok(());
        }
        let found = match self.netlink.addresses().await {
            Ok(found) => found,
            Err(error) if now.duration_since(*self.blind_since.get_or_insert(now)) >= BLIND => return Err(error),
            Err(_) => {
                self.check_by(now + RETRY);
                return Ok(());
            }
        };
        self.blind_since = None;
        let obstacles = self.compare(found);
        self.clear(obstacles, now).await;
        self.remove(|router| router.wanted == Some(false)).await;
        self.report_removed();
        self.install(|router| router.wanted == Some(true)).await;
        Ok(())
    }

    /// Notes which addresses are present. Returns those that have to be removed before ours can be installed, either
    /// for the first time or again.
    fn compare(&mut self, found: Vec<FoundAddress>) -> Vec<(AddressIndex, FoundAddress)> {
        // The subnets in which an address of the host comes after one of ours.
        let behind = found.iter().filter(|it| it.secondary && !it.ours).filter_map(|it| subnet(it.placed));
        let behind: BTreeSet<_> = behind.collect();
        let mut there: BTreeMap<AddressIndex, FoundAddress> = BTreeMap::new();
        let mut order: Vec<AddressIndex> = Vec::new();
        for address in found {
            if let Some(&place) = self.by_address.get(&identity(address.placed)) {
                order.push(place);
                there.insert(place, address);
            }
        }
        for (number, router) in self.routers.enumerate_mut() {
            let serves = router.serves();
            for (place, address) in router.addresses.iter_mut().enumerate() {
                let before = address.presence;
                address.presence = match there.get(&(number, place)) {
                    Some(it) if it.failed && serves => Presence::Absent,
                    Some(it) if it.ours || !*MARKS_LAST && before == Presence::Ours => Presence::Ours,
                    Some(_) => Presence::Foreign,
                    None => Presence::Absent,
                };
                match address.presence {
                    Presence::Absent => address.lost |= before != Presence::Absent,
                    Presence::Ours | Presence::Foreign => {
                        address.lost = false;
                        address.tolerance.present();
                    }
                }
            }
        }
        // The last addresses come first, because the kernel then has fewer addresses to promote.
        let in_the_way = |place: AddressIndex| {
            let found = there.remove(&place)?;
            let router = self.routers.get_mut(place.0).filter(|router| router.serves())?;
            let address = router.addresses.get_mut(place.1)?;
            let displaced = address.restored
                && address.presence == Presence::Ours
                && subnet(found.placed).is_some_and(|subnet| behind.contains(&subnet));
            if displaced {
                (address.presence, address.restored) = (Presence::Absent, false);
            } else if found.failed {
                let name = &router.placement.name;
                tracing::warn!(
                    virtual_router = %name,
                    "{} on {} has failed duplicate address detection: replacing it",
                    address.address,
                    router.placement.interface,
                );
                address.lost = true;
            }
            (displaced || found.failed).then_some((place, found))
        };
        order.into_iter().rev().filter_map(in_the_way).collect()
    }

    /// Removes the addresses that are in the way.
    async fn clear(&mut self, obstacles: Vec<(AddressIndex, FoundAddress)>, now: Instant) {
        if obstacles.is_empty() {
            return;
        }
        let places: Vec<AddressIndex> = obstacles.iter().map(|(place, _)| *place).collect();
        let routers = &self.routers;
        let found = obstacles
            .into_iter()
            .filter_map(|((router, _), found)| Some((found, routers.get(router)?.placement.interface.as_str())));
        let outcomes = self.netlink.take_off(found.collect()).await;
        for ((router, place), outcome) in places.into_iter().zip(outcomes) {
            let Err(error) = outcome else { continue };
            let Some(router) = self.routers.get_mut(router) else { continue };
            if router.addresses.get_mut(place).is_some_and(|address| address.tolerance.refused(now)) {
                tracing::error!(virtual_router = %router.placement.name, "{error}");
            }
        }
    }

    /// Installs the missing addresses of the virtual routers that serve, as far as [`Tolerance`] permits it now.
    async fn install(&mut self, which: impl Fn(&KeptRouter) -> bool) {
        let now = Instant::now();
        let (places, failures) = self.absent(which, now);
        for (router, failure) in failures {
            self.give_up(router, &failure, now);
        }
        let routers = &self.routers;
        let missing = places.iter().filter_map(|&(number, place)| {
            let router = routers.get(number)?;
            Some((router.placed(router.addresses.get(place)?), router.placement.interface.as_str()))
        });
        let outcomes = self.netlink.add_addresses(missing).await;
        let mut restored: BTreeMap<RouterIndex, (IpAddr, usize)> = BTreeMap::new();
        let now = Instant::now();
        for ((number, place), outcome) in places.into_iter().zip(outcomes) {
            let Some(router) = self.routers.get_mut(number) else { continue };
            let Some(address) = router.addresses.get_mut(place) else { continue };
            match outcome {
                Ok(AddressOutcome::Added) => {
                    address.presence = Presence::Ours;
                    if std::mem::take(&mut address.lost) {
                        address.restored = true;
                        address.tolerance.restored(now);
                        restored.entry(number).or_insert((address.address, 0)).1 += 1;
                    } else {
                        address.tolerance.present();
                    }
                }
                Ok(AddressOutcome::Existed) => {
                    let Placement { name, interface, .. } = &router.placement;
                    tracing::debug!(virtual_router = %name, "{} is on {interface} already", address.address);
                    // The next check shows who has installed it and whether it can be used.
                    address.presence = Presence::Foreign;
                    address.tolerance.refused(now);
                    self.due = now;
                }
                Err(error) => {
                    let first = address.tolerance.refused(now);
                    self.due = self.due.min(now + RETRY);
                    if first {
                        tracing::error!(virtual_router = %router.placement.name, "{error}; trying again");
                    }
                }
            }
        }
        if !restored.is_empty() {
            self.aftermath_ends = now + AFTERMATH;
            self.check_by(now + RETRY);
        }
        for (number, (first, count)) in restored {
            if let Some(account) = self.accounts.get(number) {
                account.addresses.fetch_add(u64::try_from(count).unwrap_or_default(), Ordering::Relaxed);
            }
            self.log_restored(number, &first.to_string(), count, now);
        }
    }

    /// Returns the addresses to install now, and the virtual routers that cannot have all of theirs, with the reason.
    fn absent(
        &mut self,
        which: impl Fn(&KeptRouter) -> bool,
        now: Instant,
    ) -> (Vec<AddressIndex>, Vec<(RouterIndex, String)>) {
        let (mut places, mut failures) = (Vec::new(), Vec::new());
        for (number, router) in self.routers.enumerate_mut().filter(|(_, it)| it.serves() && which(it)) {
            let interface = router.placement.interface.as_str();
            // An interface that goes down loses its addresses, and its virtual router gives up its role.
            if router.addresses.iter().any(|address| address.lost) && !interface_is_running(interface).unwrap_or(false)
            {
                self.due = self.due.min(now + RETRY);
                continue;
            }
            let before = places.len();
            let absent = router.addresses.iter_mut().enumerate().filter(|(_, it)| it.presence == Presence::Absent);
            for (place, address) in absent {
                let what = || format!("{} on {interface}", address.address);
                let failure = match address.tolerance.permission(now) {
                    Permission::Now => {
                        places.push((number, place));
                        continue;
                    }
                    Permission::At(at) => {
                        self.due = self.due.min(at);
                        continue;
                    }
                    Permission::Removed => removed(&what()),
                    Permission::Refused => refused(&what()),
                };
                failures.push((number, failure));
                places.truncate(before);
                break;
            }
        }
        (places, failures)
    }

    /// Removes the addresses that this agent has installed. An address that cannot be removed is tried again at the
    /// next check and at the end.
    async fn remove(&mut self, which: impl Fn(&KeptRouter) -> bool) {
        let added = |router: &KeptRouter| {
            let ours = router.addresses.iter().filter(|address| address.presence == Presence::Ours);
            ours.map(|address| router.placed(address)).collect::<Vec<_>>()
        };
        let chosen = self.routers.iter().filter(|router| which(router));
        let added: BTreeMap<Placed, &str> = chosen
            .flat_map(|router| added(router).into_iter().map(|placed| (placed, router.placement.interface.as_str())))
            .collect();
        if added.is_empty() {
            return;
        }
        let outcome = self.netlink.remove_addresses(&added).await;
        for router in self.routers.iter_mut().filter(|router| which(router)) {
            let KeptRouter { placement: Placement { name, ifindex, .. }, addresses, .. } = router;
            for address in addresses.iter_mut().filter(|address| address.presence == Presence::Ours) {
                (address.lost, address.restored) = (false, false);
                match &outcome {
                    Ok(failures) => match failures.get(&(*ifindex, address.address, address.prefix_length)) {
                        Some(error) => tracing::error!(virtual_router = %name, "{error}"),
                        None => address.presence = Presence::Absent,
                    },
                    Err(error) => {
                        tracing::error!(virtual_router = %name, "{error}");
                        break;
                    }
                }
            }
        }
    }

    /// Checks the filter entries that are in doubt and puts back those that are missing.
    async fn open_filters(&mut self, now: Instant) {
        if self.record.is_none() {
            return;
        }
        let (mut concerned, mut failures) = (Vec::new(), Vec::new());
        for (number, router) in self.routers.enumerate_mut().filter(|(_, router)| !router.rest.is_on()) {
            let Placement { interface, ifindex, virtual_mac: Some(mac), .. } = &router.placement else { continue };
            if !router.filter_in_doubt {
                continue;
            }
            let what = || format!("the unicast filter entry of {interface} for {mac}");
            match router.filter.permission(now) {
                Permission::Now => concerned.push((number, interface.clone(), *ifindex, *mac)),
                Permission::At(at) => self.due = self.due.min(at),
                Permission::Removed => failures.push((number, removed(&what()))),
                Permission::Refused => failures.push((number, refused(&what()))),
            }
        }
        for (router, failure) in failures {
            self.give_up(router, &failure, now);
        }
        let filters = concerned.iter().map(|(_, interface, ifindex, mac)| (interface.as_str(), *ifindex, *mac));
        let outcomes = self.netlink.open_unicast_filters(filters).await;
        let now = Instant::now();
        for ((number, interface, ifindex, mac), outcome) in concerned.into_iter().zip(outcomes) {
            let Some(router) = self.routers.get_mut(number) else { continue };
            router.filter_in_doubt = false;
            match outcome {
                Ok(false) => router.filter.present(),
                Ok(true) => {
                    router.filter.restored(now);
                    // Until now, the entry may have belonged to something else, and so may not be in the record.
                    if let Some(Err(error)) = self.record.as_mut().map(|record| record.claim(&interface, ifindex, mac))
                    {
                        tracing::error!("{error}");
                    }
                    if let Some(account) = self.accounts.get(number) {
                        account.filters.fetch_add(1, Ordering::Relaxed);
                    }
                    self.log_restored(number, &format!("the unicast filter entry for {mac}"), 1, now);
                }
                // The management side handles an interface that is gone.
                Err(error) if error.is_without_interface() => {}
                Err(error) => {
                    router.filter_in_doubt = true;
                    if router.filter.refused(now) {
                        tracing::error!(virtual_router = %router.placement.name, "{error}; trying again");
                    }
                    self.due = self.due.min(now + RETRY);
                }
            }
        }
    }

    /// Logs that something was put back, at most every [`LOG_PAUSE`] for each virtual router.
    fn log_restored(&mut self, number: RouterIndex, first: &str, count: usize, now: Instant) {
        let Some(KeptRouter { placement, unlogged: (unlogged, logged), .. }) = self.routers.get_mut(number) else {
            return;
        };
        *unlogged += count;
        if *unlogged == 0 || logged.is_some_and(|logged| now.duration_since(logged) < LOG_PAUSE) {
            return;
        }
        let Placement { name, interface, .. } = placement;
        let more = match std::mem::take(unlogged) {
            0 | 1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        *logged = Some(now);
        tracing::warn!(virtual_router = %name, "{first}{more} had been taken off {interface}: put back");
    }

    /// Gives up the role of a virtual router and begins its rest.
    fn give_up(&mut self, number: RouterIndex, failure: &str, now: Instant) {
        let Some(router) = self.routers.get_mut(number) else { return };
        let rest = router.rest.begin(now);
        tracing::error!(
            virtual_router = %router.placement.name,
            "{failure}: giving up the role for {} s",
            rest.as_secs(),
        );
        self.report_standing(number, Some(failure.to_owned()));
        self.check_by(now + rest);
    }

    /// Lets virtual routers whose rest is over try again.
    fn end_rests(&mut self, now: Instant) {
        let mut over = Vec::new();
        for (number, router) in self.routers.enumerate_mut() {
            if router.rest.ends(now) {
                router.addresses.iter_mut().for_each(|address| address.tolerance = Tolerance::default());
                (router.filter, router.filter_in_doubt) = (Tolerance::default(), true);
                over.push(number);
            } else if let Some(until) = router.rest.until() {
                self.due = self.due.min(until);
            }
        }
        for number in over {
            self.report_standing(number, None);
        }
    }

    /// Reports to the election and to the status whether a virtual router has what it needs on the host.
    fn report_standing(&self, router: RouterIndex, failure: Option<String>) {
        let kept = failure.is_none();
        if let (Some(account), Some(KeptRouter { rest, .. })) = (self.accounts.get(router), self.routers.get(router)) {
            *account.rest.lock().unwrap_or_else(PoisonError::into_inner) = rest.left(failure);
        }
        // If sending fails, the election has ended, and no role is left to give up.
        let _ = self.reports.send(AddressReport::Kept { router, kept });
    }
}

fn removed(what: &str) -> String {
    format!("{what} is taken off as often as it is put back")
}

fn refused(what: &str) -> String {
    format!("{what} cannot be put back: the kernel refuses it")
}
