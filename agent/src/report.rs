//! The log of what happens to the virtual routers. Written by the management side: a log that blocks delays no advert.

use std::sync::Arc;

use xvrrp_common::abi::{Counter, Counters};

use crate::dataplane::{CounterReader, Predecessor};
use crate::election::{Report, Transition, state_name};
use crate::plan::Plan;

/// The reasons for which the kernel half throws adverts away (RFC 9568 7.1: "discard the packet").
const DISCARDS: &[Counter] = &[
    Counter::AdvertFragment,
    Counter::AdvertTimeToLive,
    Counter::AdvertVersion,
    Counter::AdvertType,
    Counter::AdvertLength,
    Counter::AdvertChecksum,
    Counter::AdvertIntervalZero,
    Counter::AdvertIntervalMismatch,
    Counter::AdvertNoAddress,
    Counter::AdvertAuthentication,
    Counter::AdvertOwnSource,
    Counter::AdvertForbiddenSource,
];

/// What was found of an earlier agent's kernel half.
pub fn tell_of_predecessor(predecessor: &Predecessor) {
    match predecessor {
        Predecessor::None => {}
        Predecessor::Compatible(version) => tracing::info!("going on with the maps of xvrrp {version}"),
        Predecessor::Incompatible(reason) => {
            tracing::warn!("an earlier agent's kernel half cannot be gone on with: {reason}; replaced it whole");
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Reporter {
    routers: Vec<Known>,
    counters: Arc<CounterReader>,
}

#[derive(Debug)]
struct Known {
    name: String,
    vrid: u8,
    slot: u32,
    /// What had been counted when it was last looked at.
    counted: Counters,
}

impl Reporter {
    pub fn new(plans: &[Plan<'_>], counters: Arc<CounterReader>) -> Self {
        let known = |plan: &Plan<'_>| Known {
            name: plan.config.name.clone(),
            vrid: plan.config.vrid.get(),
            slot: plan.slot,
            // A predecessor has told of its own.
            counted: counters.read(CounterReader::router(plan.slot)).unwrap_or_default(),
        };
        Self { routers: plans.iter().map(known).collect(), counters }
    }

    pub fn report(&self, report: &Report) {
        match report {
            Report::Transition { router, transition } => {
                let Some(Known { name, vrid, .. }) = self.routers.get(*router) else {
                    return;
                };
                let Transition { to, reason, .. } = transition;
                let state = state_name(*to, *reason);
                tracing::info!(virtual_router = %name, vrid, %state, %reason, "state changed");
            }
            Report::Problem { router, problem } => {
                let Some(Known { name, vrid, .. }) = self.routers.get(*router) else {
                    return;
                };
                tracing::warn!(virtual_router = %name, vrid, "{problem}");
            }
            Report::NotRealtime { what, error } => {
                tracing::warn!("not permitted to {what}: {error}; adverts can be late under load");
            }
        }
    }

    /// One line for each virtual router and reason that has counted since the last look, so that a flood of bad
    /// adverts is no flood of lines.
    pub fn report_discards(&mut self) {
        for Known { name, vrid, slot, counted } in &mut self.routers {
            let Ok(now) = self.counters.read(CounterReader::router(*slot)) else {
                continue;
            };
            for &reason in DISCARDS {
                let more = now.0[reason as usize].saturating_sub(counted.0[reason as usize]);
                if more > 0 {
                    tracing::warn!(virtual_router = %name, vrid, discarded = more, counter = reason.name(), "adverts discarded");
                }
            }
            *counted = now;
        }
    }
}
