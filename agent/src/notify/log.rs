//! Logs what happens to the virtual routers. The management side does this, so a log that blocks delays no advert.

use std::collections::BTreeMap;
use std::sync::Arc;

use xvrrp_common::abi::{Counter, Counters};
use xvrrp_common::units::{Family, Instant, Interval, MacAddress};
use xvrrp_dataplane::{CounterReader, Predecessor, Slot};

use xvrrp_vrrp::RouterState;

use crate::election::{Conflict, Report, Transition};
use crate::identity::{PerRouter, RouterIndex};
use crate::plan::waits::Waits;
use crate::plan::{Plan, Waiting};
use crate::process::clock::unix_time;

/// Logs what a previous agent's kernel half is used for.
pub fn predecessor(predecessor: &Predecessor) {
    match predecessor {
        Predecessor::None => {}
        Predecessor::Compatible(version) => tracing::info!("reusing the maps of xvrrp {version}"),
        Predecessor::Incompatible(reason) => {
            tracing::warn!("cannot reuse the programs and maps of the previous agent: {reason}; replaced them");
        }
    }
}

/// Logs the virtual routers that wait, except those in `logged` with the same reason. Returns all of them, with the
/// time since when they wait.
pub fn waits(waiting: &[Waiting<'_>], logged: &[Waits]) -> Vec<Waits> {
    let now = unix_time();
    let wait = |waiting: &Waiting<'_>| {
        let name = waiting.config.name.clone();
        let mut waits = Waits { name, family: waiting.family, reason: waiting.cause(), since: now };
        let before = logged.iter().find(|logged| logged.is_of(&waits));
        if before.is_none_or(|before| before.reason != waits.reason) {
            let (Waits { name, family, reason, .. }, vrid, state) =
                (&waits, waiting.config.vrid.get(), RouterState::Fault);
            tracing::info!(virtual_router = %name, vrid, %family, %state, %reason, "state changed");
        }
        waits.since = before.map_or(now, |before| before.since);
        waits
    };
    waiting.iter().map(wait).collect()
}

/// Logs the reports of the election, and discarded adverts.
#[derive(Debug)]
pub struct Reporter {
    routers: PerRouter<LoggedRouter>,
    counters: Arc<CounterReader>,
    conflicts: Conflicts,
}

/// The hosts that have recently claimed an address of a virtual router, with the time when that was logged.
#[derive(Debug, Default)]
struct Conflicts(BTreeMap<(RouterIndex, MacAddress), Instant>);

impl Conflicts {
    /// Minimum time between two log lines about the same claimant.
    const PAUSE: Interval = Interval::from_seconds(60);
    /// Maximum number of claimants that are logged within a pause. If there are more, their MAC addresses are probably
    /// made up.
    const MAX_CLAIMANTS: usize = 64;

    /// Whether a claim is to be logged; if so, records that.
    fn should_log(&mut self, claimant: (RouterIndex, MacAddress), now: Instant) -> bool {
        self.0.retain(|_, logged| now.since(*logged) < Self::PAUSE);
        let log = self.0.len() < Self::MAX_CLAIMANTS && !self.0.contains_key(&claimant);
        if log {
            self.0.insert(claimant, now);
        }
        log
    }
}

#[derive(Debug)]
struct LoggedRouter {
    name: String,
    family: Family,
    vrid: u8,
    slot: Slot,
    /// The counters when discards were last logged.
    counted: Counters,
}

impl Reporter {
    /// Starts with the current counters: the predecessor has logged the discards until now.
    pub fn new(plans: &[Plan<'_>], counters: Arc<CounterReader>) -> Self {
        let logged = |plan: &Plan<'_>| LoggedRouter {
            name: plan.config.name.clone(),
            family: plan.family,
            vrid: plan.config.vrid.get(),
            slot: plan.slot,
            counted: counters.of_router(plan.slot).unwrap_or_default(),
        };
        Self { routers: plans.iter().map(logged).collect(), counters, conflicts: Conflicts::default() }
    }

    /// Logs a report of the election.
    pub fn report(&mut self, report: &Report) {
        match report {
            Report::Transition { router, transition } => {
                let Some(LoggedRouter { name, family, vrid, .. }) = self.routers.get(*router) else {
                    return;
                };
                let Transition { to, reason, .. } = transition;
                let state = RouterState::new(*to, *reason);
                tracing::info!(virtual_router = %name, vrid, %family, %state, %reason, "state changed");
            }
            Report::Problem { router, problem } => {
                let Some(LoggedRouter { name, family, vrid, .. }) = self.routers.get(*router) else {
                    return;
                };
                tracing::warn!(virtual_router = %name, vrid, %family, "{problem}");
            }
            Report::Conflict { router, conflict: Conflict { mac, address, at } } => {
                let Some(LoggedRouter { name, family, vrid, .. }) = self.routers.get(*router) else {
                    return;
                };
                if self.conflicts.should_log((*router, *mac), *at) {
                    tracing::warn!(virtual_router = %name, vrid, %family, claimant = %mac, "another host claims {address}");
                }
            }
            // An advert of this host is the answer. The counters have the adverts that were received.
            Report::LowerPriority { .. } => {}
            // The verdict of the checks has been logged.
            Report::Priority { .. } => {}
            Report::NotRealtime { what, error } => {
                tracing::warn!("not permitted to {what}: {error}; adverts can be late under load");
            }
        }
    }

    /// Logs the adverts discarded since the last call: one line for each virtual router and reason, so that a flood of
    /// bad adverts does not flood the log. RFC 9568 7.1 (conformance 11): discards are logged, at a limited rate.
    pub fn report_discards(&mut self) {
        for LoggedRouter { name, family, vrid, slot, counted } in &mut self.routers {
            let Ok(now) = self.counters.of_router(*slot) else {
                continue;
            };
            for &reason in Counter::DISCARDS {
                let more = now.0[reason as usize].saturating_sub(counted.0[reason as usize]);
                if more > 0 {
                    tracing::warn!(virtual_router = %name, vrid, %family, discarded = more, counter = reason.name(), "adverts discarded");
                }
            }
            *counted = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimant_is_logged_once_a_minute_and_a_flood_of_claimants_is_limited() {
        let mut conflicts = Conflicts::default();
        let start = Instant::from_nanos(1_000_000_000_000);
        let claimant = |router, last| (RouterIndex::new(router), MacAddress([2, 0, 0, 0, 0, last]));
        assert!(conflicts.should_log(claimant(0, 1), start));
        assert!(!conflicts.should_log(claimant(0, 1), start + Interval::from_seconds(59)));
        assert!(conflicts.should_log(claimant(1, 1), start), "another virtual router's");
        assert!(conflicts.should_log(claimant(0, 1), start + Interval::from_seconds(60)));
        let later = start + Interval::from_seconds(61);
        let logged = (0..=255).filter(|&last| conflicts.should_log(claimant(0, last), later)).count();
        assert!(logged < 64, "{logged} lines");
    }
}
