//! The changes of state of each virtual router since the agent was started: how many, and the latest ones.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use xvrrp_vrrp::RouterState;

use crate::process::clock::unix_time;

/// How many changes of a virtual router are kept: the latest ones.
pub const KEPT: usize = 16;

/// Of every virtual router, by its place in the configuration.
#[derive(Debug)]
pub struct History(Vec<Mutex<Changes>>);

#[derive(Debug, Default)]
struct Changes {
    /// How often it has come into each state, by [`RouterState::ALL`].
    counts: [u64; RouterState::ALL.len()],
    /// The oldest one first.
    latest: VecDeque<Entry>,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// In seconds since 1970.
    pub at: f64,
    /// The new one.
    pub state: RouterState,
    pub reason: String,
}

impl History {
    pub fn new(routers: usize) -> Self {
        Self((0..routers).map(|_| Mutex::default()).collect())
    }

    /// The virtual router at this place has just come into this state. One that is not there has no history.
    pub fn note(&self, router: usize, state: RouterState, reason: &str) {
        let Some(mut changes) = self.of(router) else { return };
        if let Some((count, _)) = changes.counts.iter_mut().zip(RouterState::ALL).find(|(_, of)| *of == state) {
            *count += 1;
        }
        if changes.latest.len() == KEPT {
            changes.latest.pop_front();
        }
        changes.latest.push_back(Entry { at: unix_time(), state, reason: reason.to_owned() });
    }

    /// How often it has come into each state.
    pub fn counts(&self, router: usize) -> BTreeMap<RouterState, u64> {
        let counts = self.of(router).map(|changes| changes.counts);
        RouterState::ALL.into_iter().zip(counts.into_iter().flatten()).collect()
    }

    /// The oldest one first.
    pub fn latest(&self, router: usize) -> Vec<Entry> {
        self.of(router).map(|changes| changes.latest.iter().cloned().collect()).unwrap_or_default()
    }

    fn of(&self, router: usize) -> Option<MutexGuard<'_, Changes>> {
        Some(self.0.get(router)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_changes_make_room_for_new_ones_and_all_are_counted() {
        let history = History::new(2);
        for number in 0..=KEPT {
            history.note(1, RouterState::Backup, &number.to_string());
        }
        let kept: Vec<_> = history.latest(1).into_iter().map(|entry| entry.reason).collect();
        assert_eq!(kept, (1..=KEPT).map(|number| number.to_string()).collect::<Vec<_>>());
        assert_eq!(history.counts(1)[&RouterState::Backup], KEPT as u64 + 1);
        assert_eq!(history.counts(1)[&RouterState::Active], 0);
        assert_eq!(history.latest(0), []);
        history.note(2, RouterState::Backup, "there is no such router");
        assert_eq!(history.latest(2), []);
        assert!(history.counts(2).is_empty());
    }
}
