//! The log of what happens to the virtual routers. Written by the management side: a log that blocks delays no advert.

use std::collections::BTreeMap;
use std::sync::Arc;

use xvrrp_common::abi::{Counter, Counters};
use xvrrp_common::units::{Family, Instant, Interval, MacAddress};
use xvrrp_dataplane::{CounterReader, Predecessor};

use xvrrp_vrrp::RouterState;

use crate::election::{Report, Rival, Transition};
use crate::plan::waits::Waits;
use crate::plan::{Plan, Waiting};
use crate::process::clock::unix_time;

/// What was found of an earlier agent's kernel half.
pub fn predecessor(predecessor: &Predecessor) {
    match predecessor {
        Predecessor::None => {}
        Predecessor::Compatible(version) => tracing::info!("going on with the maps of xvrrp {version}"),
        Predecessor::Incompatible(reason) => {
            tracing::warn!("cannot reuse the programs and maps of the agent before: {reason}; replaced them");
        }
    }
}

/// Tells of virtual routers that wait, unless it was told already, and since when they do.
pub fn waits(waiting: &[Waiting<'_>], told: &[Waits]) -> Vec<Waits> {
    let now = unix_time();
    let wait = |waiting: &Waiting<'_>| {
        let name = waiting.config.name.clone();
        let mut waits = Waits { name, family: waiting.family.to_string(), reason: waiting.reason.clone(), since: now };
        let before = told.iter().find(|told| told.is_of(&waits));
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

/// See the module.
#[derive(Debug)]
pub struct Reporter {
    routers: Vec<Known>,
    counters: Arc<CounterReader>,
    rivals: Rivals,
}

/// Who has claimed an address lately, and when that was told.
#[derive(Debug, Default)]
struct Rivals(BTreeMap<(usize, MacAddress), Instant>);

impl Rivals {
    /// One line for each claimant in this time.
    const PAUSE: Interval = Interval::from_seconds(60);
    /// More claimants than this within a pause are not told of: somebody makes them up.
    const MOST: usize = 64;

    fn is_news(&mut self, claimant: (usize, MacAddress), now: Instant) -> bool {
        self.0.retain(|_, told| now.since(*told) < Self::PAUSE);
        let news = self.0.len() < Self::MOST && !self.0.contains_key(&claimant);
        if news {
            self.0.insert(claimant, now);
        }
        news
    }
}

#[derive(Debug)]
struct Known {
    name: String,
    family: Family,
    vrid: u8,
    slot: u32,
    /// What had been counted when it was last looked at.
    counted: Counters,
}

impl Reporter {
    pub fn new(plans: &[Plan<'_>], counters: Arc<CounterReader>) -> Self {
        let known = |plan: &Plan<'_>| Known {
            name: plan.config.name.clone(),
            family: plan.family,
            vrid: plan.config.vrid.get(),
            slot: plan.slot,
            // A predecessor has told of its own.
            counted: counters.read(CounterReader::router(plan.slot)).unwrap_or_default(),
        };
        Self { routers: plans.iter().map(known).collect(), counters, rivals: Rivals::default() }
    }

    pub fn report(&mut self, report: &Report) {
        match report {
            Report::Transition { router, transition } => {
                let Some(Known { name, family, vrid, .. }) = self.routers.get(*router) else {
                    return;
                };
                let Transition { to, reason, .. } = transition;
                let state = RouterState::new(*to, *reason);
                tracing::info!(virtual_router = %name, vrid, %family, %state, %reason, "state changed");
            }
            Report::Problem { router, problem } => {
                let Some(Known { name, family, vrid, .. }) = self.routers.get(*router) else {
                    return;
                };
                tracing::warn!(virtual_router = %name, vrid, %family, "{problem}");
            }
            Report::RivalClaim { router, rival: Rival { mac, address, at } } => {
                let Some(Known { name, family, vrid, .. }) = self.routers.get(*router) else {
                    return;
                };
                if self.rivals.is_news((*router, *mac), *at) {
                    tracing::warn!(virtual_router = %name, vrid, %family, claimant = %mac, "another host claims {address}");
                }
            }
            Report::NotRealtime { what, error } => {
                tracing::warn!("not permitted to {what}: {error}; adverts can be late under load");
            }
        }
    }

    /// One line for each virtual router and reason that has counted since the last look, so that a flood of bad
    /// adverts is no flood of lines (conformance 11).
    pub fn report_discards(&mut self) {
        for Known { name, family, vrid, slot, counted } in &mut self.routers {
            let Ok(now) = self.counters.read(CounterReader::router(*slot)) else {
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
    fn a_claimant_is_news_once_a_minute_and_a_flood_of_made_up_ones_is_not() {
        let mut rivals = Rivals::default();
        let start = Instant::from_nanos(1_000_000_000_000);
        let mac = |last| MacAddress([2, 0, 0, 0, 0, last]);
        assert!(rivals.is_news((0, mac(1)), start));
        assert!(!rivals.is_news((0, mac(1)), start + Interval::from_seconds(59)));
        assert!(rivals.is_news((1, mac(1)), start), "another virtual router's");
        assert!(rivals.is_news((0, mac(1)), start + Interval::from_seconds(60)));
        let told = (0..=255).filter(|&last| rivals.is_news((0, mac(last)), start + Interval::from_seconds(61))).count();
        assert!(told < 64, "{told} lines");
    }
}
