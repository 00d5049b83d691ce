//! Compares what should be on the host with what is there, and puts back what is missing.
//!
//! A deletion that the kernel reports only triggers a check, which relies on one listing of all addresses, taken after
//! the deletion. An address that something else has installed serves as well as ours. It is never removed, and is
//! replaced by ours once it is gone.

mod comparison;
mod filters;
mod installation;
mod reporting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use xvrrp_net::{Deletion, NetError, Netlink, Placed};

use super::placement::Placement;
use super::report::{Account, AddressReport};
use super::router::{KeptRouter, Presence, identity};
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
            places.map(move |(place, address)| (identity(address.placed()), (number, place)))
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

    /// Carries out what was requested. Addresses are installed first, because clients wait for them.
    ///
    /// With `may_remove` false, addresses stay until another call, because the routes are removed before them.
    pub(super) async fn carry_out(&mut self, may_remove: bool) {
        let asked = |wanted| move |router: &KeptRouter| router.asked && router.wanted == Some(wanted);
        if self.routers.iter().any(asked(true)) {
            self.install(asked(true)).await;
        }
        if may_remove && self.routers.iter().any(asked(false)) {
            self.remove(asked(false)).await;
            self.report_removed();
        }
        let is_done = |router: &&mut KeptRouter| may_remove || router.wanted == Some(true);
        self.routers.iter_mut().filter(is_done).for_each(|router| router.asked = false);
    }

    /// Returns whether addresses still have to be removed as requested.
    pub(super) fn is_asked(&self) -> bool {
        self.routers.iter().any(|router| router.asked)
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
                self.log_restored(number, "an address or filter entry", "its interface", 0, now);
            }
        }
        self.due = if now < self.aftermath_ends { now + RETRY } else { self.period_ends };
        self.end_rests(now);
        self.check_addresses(now).await?;
        self.open_filters(now).await;
        Ok(())
    }
}
