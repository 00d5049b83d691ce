//! Keeps the changes of state of each virtual router since the agent was started: their number, and the latest ones.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use xvrrp_vrrp::RouterState;

use crate::identity::Place;
use crate::plan::cause::Cause;
use crate::process::clock::unix_time;

/// How many changes of each virtual router are kept: the latest ones.
pub const KEPT: usize = 16;

/// The changes of all virtual routers, by their places in the configuration.
#[derive(Debug)]
pub struct History(Vec<Mutex<Changes>>);

#[derive(Debug, Default)]
struct Changes {
    /// How often the virtual router has entered each state, in the order of [`RouterState::ALL`].
    counts: [u64; RouterState::ALL.len()],
    /// The oldest first.
    latest: VecDeque<PastChange>,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq)]
pub struct PastChange {
    /// When it happened, in seconds since 1970.
    pub at: f64,
    /// The new state.
    pub state: RouterState,
    /// Why the state changed.
    pub reason: Cause,
}

impl History {
    /// Creates an empty history of so many virtual routers.
    pub fn new(routers: usize) -> Self {
        Self((0..routers).map(|_| Mutex::default()).collect())
    }

    /// Records that the virtual router at this place has just entered a state. Does nothing if there is no such place.
    pub fn record(&self, place: Place, state: RouterState, reason: &Cause) {
        let Some(mut changes) = self.of(place) else { return };
        if let Some((count, _)) = changes.counts.iter_mut().zip(RouterState::ALL).find(|(_, of)| *of == state) {
            *count += 1;
        }
        if changes.latest.len() == KEPT {
            changes.latest.pop_front();
        }
        changes.latest.push_back(PastChange { at: unix_time(), state, reason: reason.clone() });
    }

    /// Returns how often the virtual router at this place has entered each state.
    pub fn counts(&self, place: Place) -> BTreeMap<RouterState, u64> {
        let counts = self.of(place).map(|changes| changes.counts);
        RouterState::ALL.into_iter().zip(counts.into_iter().flatten()).collect()
    }

    /// Returns the latest changes of the virtual router at this place, the oldest first.
    pub fn latest(&self, place: Place) -> Vec<PastChange> {
        self.of(place).map(|changes| changes.latest.iter().cloned().collect()).unwrap_or_default()
    }

    fn of(&self, place: Place) -> Option<MutexGuard<'_, Changes>> {
        Some(self.0.get(place.get())?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_keeps_the_latest_changes_and_counts_all_of_them() {
        let history = History::new(2);
        let cause = |number: usize| Cause::Host(number.to_string());
        for number in 0..=KEPT {
            history.record(Place::new(1), RouterState::Backup, &cause(number));
        }
        let kept: Vec<_> = history.latest(Place::new(1)).into_iter().map(|change| change.reason).collect();
        assert_eq!(kept, (1..=KEPT).map(cause).collect::<Vec<_>>());
        assert_eq!(history.counts(Place::new(1))[&RouterState::Backup], KEPT as u64 + 1);
        assert_eq!(history.counts(Place::new(1))[&RouterState::Active], 0);
        assert_eq!(history.latest(Place::new(0)), []);
        history.record(Place::new(2), RouterState::Backup, &cause(0));
        assert_eq!(history.latest(Place::new(2)), []);
        assert!(history.counts(Place::new(2)).is_empty());
    }
}
