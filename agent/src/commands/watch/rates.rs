//! Computes how fast counters grow from one status to the next.

use std::collections::BTreeMap;
use std::time::Instant;

use xvrrp_common::units::Family;

use crate::control::status::{AgentStatus, VirtualRouterStatus};

/// Identifies a virtual router. Its place does not, because a reload may change the configuration.
type Name = (String, Family);

/// The counters at one time.
#[derive(Debug)]
pub struct CounterSnapshot {
    at: Instant,
    started: f64,
    counted: BTreeMap<Name, (u64, BTreeMap<String, u64>)>,
}

/// Rates per second.
#[derive(Debug, Default)]
pub struct Rates(BTreeMap<Name, (f64, BTreeMap<String, f64>)>);

impl CounterSnapshot {
    /// Takes the counters from a status that was received at this time.
    pub fn new(status: &AgentStatus, at: Instant) -> Self {
        let counts = |router: &VirtualRouterStatus| (router.adverts_sent, router.counters.clone());
        let counted = status.virtual_routers.iter().map(|router| (name(router), counts(router))).collect();
        Self { at, started: status.started, counted }
    }

    /// Returns the rates since an earlier snapshot; none if the agent has restarted in between, because its counters
    /// restart at 0.
    pub fn rates_since(&self, earlier: &Self) -> Rates {
        let seconds = self.at.saturating_duration_since(earlier.at).as_secs_f64();
        if seconds <= 0.0 || self.started.to_bits() != earlier.started.to_bits() {
            return Rates::default();
        }
        let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let mut rates = BTreeMap::new();
        for (name, (sent, counters)) in &self.counted {
            let Some((sent_before, before)) = earlier.counted.get(name) else { continue };
            let growth = counters.iter().map(|(counter, count)| {
                (counter.clone(), per_second(*count, before.get(counter).copied().unwrap_or(0)))
            });
            rates.insert(name.clone(), (per_second(*sent, *sent_before), growth.collect()));
        }
        Rates(rates)
    }
}

impl Rates {
    /// Returns the rate of sent adverts; `None` as long as there is no earlier status.
    pub fn sent(&self, router: &VirtualRouterStatus) -> Option<f64> {
        Some(self.0.get(&name(router))?.0)
    }

    /// Returns the rate of a counter of the kernel half; `None` as long as there is no earlier status.
    pub fn counter(&self, router: &VirtualRouterStatus, counter: &str) -> Option<f64> {
        let (_, counters) = self.0.get(&name(router))?;
        Some(counters.get(counter).copied().unwrap_or(0.0))
    }
}

fn name(router: &VirtualRouterStatus) -> Name {
    (router.name.clone(), router.family)
}
