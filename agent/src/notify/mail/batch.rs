//! Decides which changes of one virtual router share a message. At first, each change has a message of its own. Above
//! the limit, changes are collected into one message, which always includes the last change.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use xvrrp_vrrp::RouterState;

use crate::notify::audience::StateChange;

/// The period to which [`Limits::messages`] refers.
const MINUTE: Duration = Duration::from_mins(1);
/// How many changes a message lists. If there are more, the oldest are only counted.
const LISTED: usize = 100;

/// The limits on mail about one virtual router.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Maximum number of messages within a minute.
    pub messages: usize,
    /// How long changes are collected at most. Collecting ends early after a fifth of this time without a change.
    pub gather: Duration,
}

/// A change of state, with its time and the state before.
#[derive(Clone, Debug)]
pub(super) struct TimedChange {
    pub at: SystemTime,
    /// The state before the change, if that is known.
    pub from: Option<RouterState>,
    pub change: StateChange,
}

/// The changes that one message reports.
#[derive(Debug)]
pub(super) struct Digest {
    /// The latest changes, at least one.
    pub changes: Vec<TimedChange>,
    /// How many changes came before them.
    pub left_out: usize,
}

/// Collects the changes of one virtual router into digests.
#[derive(Debug)]
pub(super) struct Batcher {
    limits: Limits,
    /// Times at which the latest messages were written.
    written: VecDeque<Instant>,
    changes: VecDeque<TimedChange>,
    left_out: usize,
    due: Option<Due>,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    /// Time at which the message is due if no other change is added.
    at: Instant,
    /// Time at which it is due at the latest.
    latest: Instant,
}

impl Batcher {
    /// Starts with messages that a previous agent wrote at the times `before`: they count towards the limit.
    pub fn new(limits: Limits, before: &[SystemTime]) -> Self {
        let (now, here) = (SystemTime::now(), Instant::now());
        let age = |written: &SystemTime| now.duration_since(*written).ok();
        let written = before.iter().filter_map(|written| here.checked_sub(age(written)?)).collect();
        Self { limits, written, changes: VecDeque::new(), left_out: 0, due: None }
    }

    pub fn add(&mut self, change: TimedChange, now: Instant) {
        self.changes.push_back(change);
        if self.changes.len() > LISTED {
            self.changes.pop_front();
            self.left_out += 1;
        }
        self.written.retain(|written| now.duration_since(*written) < MINUTE);
        let Limits { messages, gather } = self.limits;
        let quiet = now + gather / 5;
        self.due = Some(match self.due {
            Some(Due { latest, .. }) => Due { at: quiet.min(latest), latest },
            None if self.written.len() < messages => Due { at: now, latest: now },
            None => Due { at: quiet, latest: now + gather },
        });
    }

    /// Returns when the latest messages were written.
    pub fn written(&self) -> Vec<SystemTime> {
        let (now, here) = (SystemTime::now(), Instant::now());
        self.written.iter().filter_map(|written| now.checked_sub(here.duration_since(*written))).collect()
    }

    /// Returns when the next message is due if no other change is added; `None` if there is nothing to report.
    pub fn due(&self) -> Option<Instant> {
        self.due.map(|due| due.at)
    }

    /// Takes the collected changes, whether they are due or not.
    pub fn take(&mut self, now: Instant) -> Option<Digest> {
        self.due.take()?;
        self.written.push_back(now);
        Some(Digest { changes: self.changes.drain(..).collect(), left_out: std::mem::take(&mut self.left_out) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cause::Cause;
    use xvrrp_config::Occasion;
    use xvrrp_vrrp::Reason;

    const LIMITS: Limits = Limits { messages: 2, gather: Duration::from_mins(5) };

    fn change(state: RouterState) -> TimedChange {
        let change =
            StateChange { on: Occasion::Active, state, reason: Cause::Election(Reason::ActiveDown), priority: 100 };
        TimedChange { at: SystemTime::UNIX_EPOCH, from: None, change }
    }

    /// Returns a batcher that has written as many messages as are allowed within a minute.
    fn exhausted(start: Instant) -> Batcher {
        let mut batcher = Batcher::new(LIMITS, &[]);
        for _ in 0..LIMITS.messages {
            batcher.add(change(RouterState::Active), start);
            assert_eq!(batcher.due(), Some(start));
            assert_eq!(batcher.take(start).unwrap().changes.len(), 1);
        }
        batcher
    }

    #[test]
    fn single_changes_are_reported_at_once() {
        let mut batcher = Batcher::new(LIMITS, &[]);
        let mut now = Instant::now();
        for _ in 0..20 {
            batcher.add(change(RouterState::Active), now);
            assert_eq!(batcher.due(), Some(now));
            assert_eq!(batcher.take(now).unwrap().changes.len(), 1);
            now += MINUTE / 2;
        }
        assert_eq!(batcher.due(), None);
        assert!(batcher.take(now).is_none());
    }

    #[test]
    fn changes_above_the_limit_are_collected_until_they_cease() {
        let start = Instant::now();
        let mut batcher = exhausted(start);
        let last = start + Duration::from_secs(10);
        for second in 1..=10 {
            batcher.add(change(RouterState::Backup), start + Duration::from_secs(second));
        }
        assert_eq!(batcher.due(), Some(last + LIMITS.gather / 5));
        assert_eq!(batcher.take(last).unwrap().changes.len(), 10);
        assert_eq!(batcher.due(), None);
    }

    #[test]
    fn endless_flapping_is_reported_every_five_minutes_and_its_last_state_at_the_end() {
        let start = Instant::now();
        let mut batcher = exhausted(start);
        let mut messages = Vec::new();
        let mut now = start;
        while now < start + Duration::from_hours(1) {
            now += Duration::from_secs(1);
            let is_last = now.duration_since(start).as_secs() == 3600;
            batcher.add(change(if is_last { RouterState::Fault } else { RouterState::Active }), now);
            while batcher.due().is_some_and(|due| due <= now) {
                messages.push(batcher.take(now).unwrap());
            }
        }
        let end = batcher.due().unwrap();
        assert!(end <= now + LIMITS.gather / 5, "{:?}", end - now);
        messages.push(batcher.take(end).unwrap());
        assert_eq!(messages.last().unwrap().changes.last().unwrap().change.state, RouterState::Fault);
        assert!(messages.len() <= 12 * LIMITS.messages + 1, "{} messages", messages.len());
        let reported: usize = messages.iter().map(|message| message.changes.len() + message.left_out).sum();
        assert_eq!(reported, 3600);
    }

    #[test]
    fn messages_of_a_previous_agent_count_towards_the_limit() {
        let start = Instant::now();
        let mut batcher = Batcher::new(LIMITS, &exhausted(start).written());
        batcher.add(change(RouterState::Backup), start);
        assert!(batcher.due().unwrap() > start);
    }

    #[test]
    fn the_length_of_a_message_is_limited() {
        let start = Instant::now();
        let mut batcher = exhausted(start);
        for _ in 0..LISTED {
            batcher.add(change(RouterState::Backup), start);
        }
        batcher.add(change(RouterState::Fault), start);
        let digest = batcher.take(start).unwrap();
        assert_eq!((digest.changes.len(), digest.left_out), (LISTED, 1));
        assert_eq!(digest.changes.last().unwrap().change.state, RouterState::Fault);
    }
}
