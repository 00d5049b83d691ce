//! Which changes of one virtual router go into a letter together: each has its own at first; while there are many, they
//! are gathered, and the last one is always told.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use xvrrp_vrrp::RouterState;

use crate::notify::audience::Change;

/// What [`Limits::letters`] counts in.
const MINUTE: Duration = Duration::from_secs(60);
/// How many changes a letter lists; of more, the oldest are counted only.
const LISTED: usize = 100;

/// What is too much.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many letters within a minute.
    pub letters: usize,
    /// How long changes are gathered at most; a fifth of it without a change is enough.
    pub gather: Duration,
}

/// A change with what belongs to it.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub at: SystemTime,
    /// The state before, if that is known.
    pub from: Option<RouterState>,
    pub change: Change,
}

/// What a letter tells.
#[derive(Debug)]
pub(super) struct Digest {
    /// The latest ones, at least one.
    pub events: Vec<Event>,
    /// How many came before them.
    pub left_out: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Gatherer {
    limits: Limits,
    /// When the latest letters were written.
    written: VecDeque<Instant>,
    events: VecDeque<Event>,
    left_out: usize,
    due: Option<Due>,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    at: Instant,
    /// Later than this it is in no case.
    latest: Instant,
}

impl Gatherer {
    /// Letters that another agent has written at these times count, too.
    pub fn new(limits: Limits, before: &[SystemTime]) -> Self {
        let (now, here) = (SystemTime::now(), Instant::now());
        let age = |written: &SystemTime| now.duration_since(*written).ok();
        let written = before.iter().filter_map(|written| here.checked_sub(age(written)?)).collect();
        Self { limits, written, events: VecDeque::new(), left_out: 0, due: None }
    }

    pub fn add(&mut self, event: Event, now: Instant) {
        self.events.push_back(event);
        if self.events.len() > LISTED {
            self.events.pop_front();
            self.left_out += 1;
        }
        self.written.retain(|written| now.duration_since(*written) < MINUTE);
        let Limits { letters, gather } = self.limits;
        let quiet = now + gather / 5;
        self.due = Some(match self.due {
            Some(Due { latest, .. }) => Due { at: quiet.min(latest), latest },
            None if self.written.len() < letters => Due { at: now, latest: now },
            None => Due { at: quiet, latest: now + gather },
        });
    }

    /// When letters were written lately.
    pub fn written(&self) -> Vec<SystemTime> {
        let (now, here) = (SystemTime::now(), Instant::now());
        self.written.iter().filter_map(|written| now.checked_sub(here.duration_since(*written))).collect()
    }

    /// When the next letter is to be written, if nothing else happens.
    pub fn due(&self) -> Option<Instant> {
        self.due.map(|due| due.at)
    }

    /// What there is to tell, whether it is due or not.
    pub fn take(&mut self, now: Instant) -> Option<Digest> {
        self.due.take()?;
        self.written.push_back(now);
        Some(Digest { events: self.events.drain(..).collect(), left_out: std::mem::take(&mut self.left_out) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xvrrp_config::Occasion;

    const LIMITS: Limits = Limits { letters: 2, gather: Duration::from_secs(300) };

    fn event(state: RouterState) -> Event {
        let change = Change { on: Occasion::Active, state, reason: "active_down".into(), priority: 100 };
        Event { at: SystemTime::UNIX_EPOCH, from: None, change }
    }

    /// With as many letters behind it as are allowed.
    fn exhausted(start: Instant) -> Gatherer {
        let mut gatherer = Gatherer::new(LIMITS, &[]);
        for _ in 0..LIMITS.letters {
            gatherer.add(event(RouterState::Active), start);
            assert_eq!(gatherer.due(), Some(start));
            assert_eq!(gatherer.take(start).unwrap().events.len(), 1);
        }
        gatherer
    }

    #[test]
    fn single_changes_are_told_at_once() {
        let mut gatherer = Gatherer::new(LIMITS, &[]);
        let mut now = Instant::now();
        for _ in 0..20 {
            gatherer.add(event(RouterState::Active), now);
            assert_eq!(gatherer.due(), Some(now));
            assert_eq!(gatherer.take(now).unwrap().events.len(), 1);
            now += MINUTE / 2;
        }
        assert_eq!(gatherer.due(), None);
        assert!(gatherer.take(now).is_none());
    }

    #[test]
    fn what_is_too_much_is_gathered_until_it_is_quiet() {
        let start = Instant::now();
        let mut gatherer = exhausted(start);
        let last = start + Duration::from_secs(10);
        for second in 1..=10 {
            gatherer.add(event(RouterState::Backup), start + Duration::from_secs(second));
        }
        assert_eq!(gatherer.due(), Some(last + LIMITS.gather / 5));
        assert_eq!(gatherer.take(last).unwrap().events.len(), 10);
        assert_eq!(gatherer.due(), None);
    }

    #[test]
    fn flapping_without_end_is_told_of_every_five_minutes_and_the_last_state_in_the_end() {
        let start = Instant::now();
        let mut gatherer = exhausted(start);
        let mut letters = Vec::new();
        let mut now = start;
        while now < start + Duration::from_secs(3600) {
            now += Duration::from_secs(1);
            gatherer.add(
                event(if now.duration_since(start).as_secs() == 3600 {
                    RouterState::Fault
                } else {
                    RouterState::Active
                }),
                now,
            );
            while gatherer.due().is_some_and(|due| due <= now) {
                letters.push(gatherer.take(now).unwrap());
            }
        }
        let end = gatherer.due().unwrap();
        assert!(end <= now + LIMITS.gather / 5, "{:?}", end - now);
        letters.push(gatherer.take(end).unwrap());
        assert_eq!(letters.last().unwrap().events.last().unwrap().change.state, RouterState::Fault);
        assert!(letters.len() <= 12 * LIMITS.letters + 1, "{} letters", letters.len());
        let told: usize = letters.iter().map(|letter| letter.events.len() + letter.left_out).sum();
        assert_eq!(told, 3600);
    }

    #[test]
    fn letters_of_an_agent_before_count() {
        let start = Instant::now();
        let mut gatherer = Gatherer::new(LIMITS, &exhausted(start).written());
        gatherer.add(event(RouterState::Backup), start);
        assert!(gatherer.due().unwrap() > start);
    }

    #[test]
    fn a_letter_does_not_grow_without_end() {
        let start = Instant::now();
        let mut gatherer = exhausted(start);
        for _ in 0..LISTED {
            gatherer.add(event(RouterState::Backup), start);
        }
        gatherer.add(event(RouterState::Fault), start);
        let digest = gatherer.take(start).unwrap();
        assert_eq!((digest.events.len(), digest.left_out), (LISTED, 1));
        assert_eq!(digest.events.last().unwrap().change.state, RouterState::Fault);
    }
}
