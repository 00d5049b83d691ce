//! Reports to the election, the status and the log what stays on the host and what does not. Gives up the role of a
//! virtual router for which something does not stay, and ends the rest that follows.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::Keeper;
use crate::addresses::report::AddressReport;
use crate::addresses::router::{KeptRouter, Presence};
use crate::addresses::tolerance::Tolerance;
use crate::identity::RouterIndex;

/// Shortest time between two log lines about one virtual router.
const LOG_PAUSE: Duration = Duration::from_secs(10);

impl Keeper {
    /// Reports the virtual routers whose addresses have been removed as requested. A virtual router whose addresses
    /// could not be removed stays behind the fence.
    pub(super) fn report_removed(&mut self) {
        let is_off = |router: &KeptRouter| router.addresses.iter().all(|address| address.presence != Presence::Ours);
        for (number, router) in self.routers.enumerate_mut() {
            if router.retires && is_off(router) {
                router.retires = false;
                // Sending fails only in the last moments of a stop: until then, the election outlives this thread.
                let _ = self.reports.send(AddressReport::Removed { router: number });
            }
        }
    }

    /// Lets virtual routers whose rest is over try again.
    pub(super) fn end_rests(&mut self, now: Instant) {
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

    /// Gives up the role of a virtual router and begins its rest.
    pub(super) fn give_up(&mut self, number: RouterIndex, failure: &str, now: Instant) {
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

    /// Reports to the election and to the status whether a virtual router has what it needs on the host.
    fn report_standing(&self, router: RouterIndex, failure: Option<String>) {
        let kept = failure.is_none();
        if let (Some(account), Some(KeptRouter { rest, .. })) = (self.accounts.get(router), self.routers.get(router)) {
            *account.rest.lock().unwrap_or_else(PoisonError::into_inner) = rest.left(failure);
        }
        // If sending fails, the election has ended, and no role is left to give up.
        let _ = self.reports.send(AddressReport::Kept { router, kept });
    }

    /// Logs that something was put back, at most every [`LOG_PAUSE`] for each virtual router.
    pub(super) fn log_restored(&mut self, number: RouterIndex, first: &str, on: &str, count: usize, now: Instant) {
        let Some(KeptRouter { placement, unlogged: (unlogged, logged), .. }) = self.routers.get_mut(number) else {
            return;
        };
        *unlogged += count;
        if *unlogged == 0 || logged.is_some_and(|logged| now.duration_since(logged) < LOG_PAUSE) {
            return;
        }
        let name = &placement.name;
        let more = match std::mem::take(unlogged) {
            0 | 1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        *logged = Some(now);
        tracing::warn!(virtual_router = %name, "{first}{more} had been taken off {on}: put back");
    }
}

/// Returns the message that something else removes this again and again.
pub(super) fn removed(what: &str) -> String {
    format!("{what} is taken off as often as it is put back")
}

/// Returns the message that the kernel does not accept this.
pub(super) fn refused(what: &str) -> String {
    format!("{what} cannot be put back: the kernel refuses it")
}
