//! The set of everything that somebody wants on the host, each thing once, with those who want it.
//!
//! This part only decides what to add and what to remove. [`RoutingKeeper`](super::keeper::RoutingKeeper) does it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;
use xvrrp_common::units::Family;
use xvrrp_net::{BATCH, HostEntry, Insertion, Outcome, Refusal, RouteKey};

use super::render::Links;
use super::wish::{Wanted, Wish};
use crate::addresses::report::RoutingAccount;
use crate::addresses::tolerance::{Permission, Tolerance};
use crate::identity::{PerRouter, RouterIndex};

/// Pause before the next attempt to add or remove what the kernel has refused, unless something changes on the host.
const RETRY: Duration = Duration::from_secs(3);
/// Why a route cannot be added beside one of somebody else.
const OBSTRUCTED: &str = "another route with the same destination, table and metric is there, and is left alone";

/// Everything that somebody wants: first the addresses, then the rules, then the routes, which is the order in which
/// they are added.
#[derive(Debug, Default)]
pub(super) struct WishSet {
    entries: Vec<Entry>,
    /// Positions of the entries that each virtual router wants.
    by_router: PerRouter<Vec<usize>>,
    /// Positions of the entries that the agent wants.
    statics: Vec<usize>,
    /// Whether each virtual router wants its entries now. Before the first request, they stay as they are.
    wants: PerRouter<Option<bool>>,
    /// False once nothing static is wanted any more.
    wants_statics: bool,
    /// Positions of the entries that may have to be added or removed.
    dirty: BTreeSet<usize>,
    /// Keys of all routes.
    routes: HashSet<RouteKey>,
}

/// What can be added.
#[derive(Debug, Default)]
pub(super) struct Additions {
    /// Positions of entries to add now, in order, at most [`BATCH`] of one kind.
    pub(super) now: Vec<usize>,
    /// Time at which others may be added.
    pub(super) next: Option<Instant>,
    /// Positions of entries that are not added for now, because they are removed again and again.
    pub(super) hopeless: Vec<usize>,
}

/// Something that somebody wants.
#[derive(Debug)]
pub(super) struct Entry {
    wanted: Wanted,
    insertion: Insertion,
    /// What the log calls it.
    pub(super) text: String,
    /// Those who want it, and whether each wants it to be put back.
    owners: Vec<(Owner, bool)>,
    /// What the kernel is asked for, or what that waits for.
    pub(super) rendered: Result<HostEntry, String>,
    /// Whether it was on the host at the last look, marked as ours.
    there: bool,
    /// True from a request until it is there: it is then added although nobody wants it to be put back.
    fresh: bool,
    /// True if something else has removed it, and it has not been put back.
    lost: bool,
    tolerance: Tolerance,
    /// True if something in its place was there at the last attempt to add it.
    existed: bool,
    /// Time before which nothing is tried, after a refusal.
    not_before: Option<Instant>,
    /// Why it cannot be added, as long as that lasts.
    pub(super) failure: Option<String>,
}

/// Who wants something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The agent, always.
    Agent,
    /// A virtual router, while it is Active.
    Router(RouterIndex),
}

/// What has become of an attempt to add an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It was added for the first time since it was requested.
    New,
    /// It was put back.
    Restored,
    /// Something in its place was there already, perhaps itself.
    Existed,
    /// It cannot be added, which is new.
    Refused,
    /// It cannot be added, which is known, or need not be added.
    Again,
}

impl WishSet {
    pub(super) fn new(statics: Vec<Wish>, by_router: Vec<Vec<Wish>>) -> Self {
        let of_routers = by_router.into_iter().enumerate();
        let of_routers: Vec<_> =
            of_routers.map(|(router, wishes)| (Owner::Router(RouterIndex::new(router)), wishes)).collect();
        let routers = of_routers.len();
        let all = [(Owner::Agent, statics)].into_iter().chain(of_routers);
        let mut all: Vec<_> = all.flat_map(|(owner, wishes)| wishes.into_iter().map(move |it| (owner, it))).collect();
        all.sort_by_key(|(_, wish)| rank(&wish.wanted));
        let mut set = Self {
            entries: Vec::new(),
            by_router: (0..routers).map(|_| Vec::new()).collect(),
            statics: Vec::new(),
            wants: (0..routers).map(|_| None).collect(),
            wants_statics: true,
            dirty: BTreeSet::new(),
            routes: HashSet::new(),
        };
        let mut known: HashMap<Wanted, usize> = HashMap::with_capacity(all.len());
        for (owner, wish) in all {
            let next = set.entries.len();
            let position = *known.entry(wish.wanted.clone()).or_insert(next);
            if position == next {
                set.entries.push(Entry::new(&wish));
            }
            if let Some(entry) = set.entries.get_mut(position) {
                entry.owners.push((owner, wish.kept));
                entry.fresh |= owner == Owner::Agent;
            }
            match owner {
                Owner::Agent => set.statics.push(position),
                Owner::Router(router) => {
                    set.by_router.get_mut(router).into_iter().for_each(|positions| positions.push(position));
                }
            }
        }
        set.dirty = (0..set.entries.len()).collect();
        set
    }

    /// Returns whether there is an entry of this kind and family.
    pub(super) fn has_addresses(&self, family: Family) -> bool {
        let is_one = |entry: &Entry| match &entry.wanted {
            Wanted::Address(address) => Family::of(address.address) == family,
            _ => false,
        };
        self.entries.iter().any(is_one)
    }

    /// Returns whether there is a route with this key.
    pub(super) fn has_route(&self, key: &RouteKey) -> bool {
        self.routes.contains(key)
    }

    /// Records whether a virtual router wants its entries.
    pub(super) fn want(&mut self, router: RouterIndex, wanted: bool) {
        if let Some(wants) = self.wants.get_mut(router) {
            *wants = Some(wanted);
        }
        for &position in self.by_router.get(router).into_iter().flatten() {
            if let Some(entry) = self.entries.get_mut(position) {
                entry.requested(wanted);
                self.dirty.insert(position);
            }
        }
    }

    /// Records that nobody wants anything any more.
    pub(super) fn want_nothing(&mut self) {
        self.wants.iter_mut().for_each(|wants| *wants = Some(false));
        self.wants_statics = false;
        self.dirty = (0..self.entries.len()).collect();
    }

    /// Returns whether an entry should be on the host. `None` leaves it as it is.
    fn is_wanted(&self, entry: &Entry) -> Option<bool> {
        let wants = entry.owners.iter().map(|(owner, _)| match owner {
            Owner::Agent => Some(self.wants_statics),
            Owner::Router(router) => self.wants.get(*router).copied().flatten(),
        });
        wants.reduce(|one, other| match (one, other) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (None, _) | (_, None) => None,
            (Some(false), Some(false)) => Some(false),
        })?
    }

    /// Looks up the interfaces that the entries name.
    pub(super) fn render(&mut self, links: &Links) {
        for (position, entry) in self.entries.iter_mut().enumerate() {
            let rendered = entry.wanted.render(links);
            if let Ok(HostEntry::Route(route)) = &rendered {
                self.routes.insert(route.key);
            }
            if rendered != entry.rendered {
                entry.rendered = rendered;
                entry.not_before = None;
                self.dirty.insert(position);
            }
        }
    }

    /// Lets everything be tried again that the kernel has refused.
    pub(super) fn retry(&mut self) {
        for position in &self.dirty {
            if let Some(entry) = self.entries.get_mut(*position) {
                entry.not_before = None;
            }
        }
    }

    /// Compares with what is on the host and ours. Returns what is there and is not wanted by anybody: strays.
    pub(super) fn compare(&mut self, found: Vec<HostEntry>) -> Vec<HostEntry> {
        let mut by_key: HashMap<Key, Vec<usize>> = HashMap::with_capacity(self.entries.len());
        for (position, entry) in self.entries.iter().enumerate() {
            if let Ok(rendered) = &entry.rendered {
                by_key.entry(Key::of(rendered)).or_default().push(position);
            }
        }
        let mut there = vec![false; self.entries.len()];
        let mut strays = Vec::new();
        for found in found {
            let mut is_known = false;
            for &position in by_key.get(&Key::of(&found)).into_iter().flatten() {
                let shown = |entry: &Entry| entry.rendered.as_ref().is_ok_and(|it| it.is_shown_as(&found));
                if self.entries.get(position).is_some_and(shown) {
                    is_known = true;
                    if let Some(there) = there.get_mut(position) {
                        *there = true;
                    }
                }
            }
            // Other addresses of ours are virtual ones.
            if !is_known && (by_key.contains_key(&Key::of(&found)) || !matches!(found, HostEntry::Address(_))) {
                strays.push(found);
            }
        }
        for (position, there) in there.into_iter().enumerate() {
            let wanted = self.entries.get(position).and_then(|entry| self.is_wanted(entry));
            let Some(entry) = self.entries.get_mut(position) else { continue };
            if !there && entry.there && wanted == Some(true) {
                entry.lost = true;
            }
            entry.there = there;
            if there {
                entry.is_in_place();
            }
            if wanted.is_some_and(|wanted| wanted != there) {
                self.dirty.insert(position);
            }
        }
        strays
    }

    /// Forgets the entries of which nothing is left to do.
    fn tidy(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.retain(|position| {
            let entry = self.entries.get(*position);
            entry.is_some_and(|entry| self.is_wanted(entry).is_some_and(|wanted| wanted != entry.there))
        });
        self.dirty = dirty;
    }

    /// Returns what can be added.
    pub(super) fn additions(&mut self, now: Instant) -> Additions {
        self.tidy();
        let (mut additions, mut kind) = (Additions::default(), None);
        let wanted: Vec<bool> = self.dirty.iter().map(|position| self.is_to_be_added(*position)).collect();
        for (&position, _) in self.dirty.iter().zip(wanted).filter(|(_, wanted)| *wanted) {
            let Some(entry) = self.entries.get_mut(position) else { continue };
            let failed = entry.failure.is_some();
            if let Err(at) = entry.permission(now) {
                additions.next = Some(additions.next.map_or(at, |next: Instant| next.min(at)));
                additions.hopeless.extend((!failed && entry.failure.is_some()).then_some(position));
                continue;
            }
            // The routes are added only after all rules, and so on.
            if additions.now.len() == BATCH || kind.is_some_and(|kind| kind != rank(&entry.wanted)) {
                break;
            }
            kind = Some(rank(&entry.wanted));
            additions.now.push(position);
        }
        additions
    }

    /// Returns whether an entry is to be added as soon as that is permitted.
    fn is_to_be_added(&self, position: usize) -> bool {
        self.entries.get(position).is_some_and(|entry| {
            let is_wanted = self.is_wanted(entry) == Some(true);
            is_wanted && !entry.there && entry.may_be_added() && entry.rendered.is_ok()
        })
    }

    /// Returns the positions of entries to remove now, in reverse order, at most [`BATCH`] of one kind. Returns as well
    /// when the next ones may be removed.
    pub(super) fn removals(&self, now: Instant) -> (Vec<usize>, Option<Instant>) {
        let (mut removals, mut next, mut kind) = (Vec::new(), None, None);
        for &position in self.dirty.iter().rev() {
            let Some(entry) = self.entries.get(position) else { continue };
            if !entry.there || self.is_wanted(entry) != Some(false) {
                continue;
            }
            if let Some(at) = entry.not_before.filter(|at| *at > now) {
                next = Some(next.map_or(at, |next: Instant| next.min(at)));
                continue;
            }
            if removals.len() == BATCH || kind.is_some_and(|kind| kind != rank(&entry.wanted)) {
                break;
            }
            kind = Some(rank(&entry.wanted));
            removals.push(position);
        }
        (removals, next)
    }

    /// Returns the entry at a position.
    pub(super) fn get(&self, position: usize) -> Option<&Entry> {
        self.entries.get(position)
    }

    /// Records the outcome of an attempt to add an entry.
    pub(super) fn added(&mut self, position: usize, outcome: Result<Outcome, Refusal>, now: Instant) -> Added {
        let Some(entry) = self.entries.get_mut(position) else { return Added::Existed };
        match outcome {
            Ok(Outcome::Done) => {
                entry.there = true;
                self.dirty.remove(&position);
                let restored = std::mem::take(&mut entry.lost);
                if restored {
                    entry.tolerance.restored(now);
                }
                entry.is_in_place();
                if restored { Added::Restored } else { Added::New }
            }
            // The next look finds out whether it is ours.
            Ok(Outcome::Existed) if !std::mem::replace(&mut entry.existed, true) => {
                entry.not_before = Some(now + RETRY);
                Added::Existed
            }
            // A rule or address of somebody else serves as well.
            Ok(Outcome::Existed) if !matches!(entry.wanted, Wanted::Route(_)) => {
                (entry.not_before, entry.failure) = (Some(now + RETRY), None);
                Added::Again
            }
            Ok(Outcome::Existed) => entry.fail(OBSTRUCTED.to_owned(), now),
            Err(refusal) => {
                entry.existed = false;
                entry.fail(refusal.to_string(), now)
            }
        }
    }

    /// Records the outcome of an attempt to remove an entry.
    pub(super) fn removed(&mut self, position: usize, is_gone: bool, now: Instant) {
        let Some(entry) = self.entries.get_mut(position) else { return };
        if is_gone {
            entry.there = false;
            self.dirty.remove(&position);
        } else {
            entry.not_before = Some(now + RETRY);
        }
    }

    /// Returns the virtual routers that want an entry.
    pub(super) fn routers_of(&self, position: usize) -> impl Iterator<Item = RouterIndex> {
        let owners = self.entries.get(position).into_iter().flat_map(|entry| &entry.owners);
        owners.filter_map(|(owner, _)| match owner {
            Owner::Agent => None,
            Owner::Router(router) => Some(*router),
        })
    }

    /// Returns what of an owner's entries is missing on the host.
    pub(super) fn account(&self, owner: Owner) -> RoutingAccount {
        let positions = match owner {
            Owner::Agent => Some(&self.statics),
            Owner::Router(router) => self.by_router.get(router),
        };
        let entries = positions.into_iter().flatten().filter_map(|position| self.entries.get(*position));
        let serves = |entry: &Entry| entry.there || entry.existed && entry.failure.is_none();
        let missing: Vec<_> = entries.filter(|entry| !serves(entry) && self.is_wanted(entry) == Some(true)).collect();
        let problem = missing.iter().find_map(|entry| {
            let reason = entry.failure.as_ref().or(entry.rendered.as_ref().err())?;
            Some(format!("{}: {reason}", entry.text))
        });
        RoutingAccount { missing: missing.len(), problem }
    }
}

impl Entry {
    fn new(wish: &Wish) -> Self {
        Self {
            wanted: wish.wanted.clone(),
            insertion: wish.insertion,
            text: wish.text.clone(),
            owners: Vec::new(),
            rendered: Err("the interfaces have not been listed yet".to_owned()),
            there: false,
            fresh: false,
            lost: false,
            tolerance: Tolerance::default(),
            existed: false,
            not_before: None,
            failure: None,
        }
    }

    /// Returns what the kernel is asked for, and where it is to put it.
    pub(super) fn request(&self) -> Option<(&HostEntry, Insertion)> {
        Some((self.rendered.as_ref().ok()?, self.insertion))
    }

    fn requested(&mut self, wanted: bool) {
        (self.fresh, self.lost, self.existed) = (wanted, false, false);
        (self.not_before, self.failure) = (None, None);
    }

    fn is_in_place(&mut self) {
        (self.fresh, self.lost, self.existed) = (false, false, false);
        (self.not_before, self.failure) = (None, None);
        self.tolerance.present();
    }

    /// Records that it cannot be added.
    fn fail(&mut self, failure: String, now: Instant) -> Added {
        self.not_before = Some(now + RETRY);
        if self.failure.replace(failure).is_none() { Added::Refused } else { Added::Again }
    }

    /// Returns whether it may be added, as far as its owners are concerned.
    fn may_be_added(&self) -> bool {
        self.fresh || self.owners.iter().any(|(_, kept)| *kept)
    }

    /// Returns whether it may be added now, or else when.
    fn permission(&mut self, now: Instant) -> Result<(), Instant> {
        if let Some(at) = self.not_before.filter(|at| *at > now) {
            return Err(at);
        }
        match self.tolerance.permission(now) {
            Permission::Now => Ok(()),
            Permission::At(at) => Err(at),
            Permission::Removed | Permission::Refused => {
                self.failure.get_or_insert_with(|| "it is removed as often as it is put back".to_owned());
                self.not_before = Some(now + RETRY);
                Err(now + RETRY)
            }
        }
    }
}

/// What the kernel finds an entry by.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Address(xvrrp_common::units::IfIndex, std::net::IpAddr),
    Rule(Family, u32),
    Route(RouteKey),
}

impl Key {
    fn of(entry: &HostEntry) -> Self {
        match entry {
            HostEntry::Address(address) => Self::Address(address.interface, address.address),
            HostEntry::Rule(rule) => Self::Rule(rule.family, rule.priority),
            HostEntry::Route(route) => Self::Route(route.key),
        }
    }
}

/// Returns the place of an entry in the order of a takeover.
fn rank(wanted: &Wanted) -> u8 {
    match wanted {
        Wanted::Address(_) => 0,
        Wanted::Rule(_) => 1,
        Wanted::Route(_) => 2,
    }
}
