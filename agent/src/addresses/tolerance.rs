//! How often something may be taken off the host, or refused by the kernel, before the role is given up for it.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::process::clock;

/// How often one thing is put back in [`WINDOW`] at most.
const MOST: usize = 10;
const WINDOW: Duration = Duration::from_secs(10);
/// How long the kernel may refuse one thing.
const REFUSED: Duration = Duration::from_secs(1);
/// What is taken off for the first time is put back at once. Then it waits a moment, each time a longer one: somebody who
/// empties an interface (`ip address flush`) looks again a moment later, and should find it empty.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How long a role is left alone that was given up; twice as long each time, as long as the last attempt was lately.
const FIRST_REST: Duration = Duration::from_secs(10);
const LONGEST_REST: Duration = Duration::from_secs(600);

/// What has happened to one thing that belongs on the host.
#[derive(Debug, Default)]
pub(super) struct Tolerance {
    /// When it was put back, within [`WINDOW`]; the oldest first.
    restored: VecDeque<Instant>,
    refused_since: Option<Instant>,
    refusals: usize,
    not_before: Option<Instant>,
}

/// Whether something may be put on the host now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    Now,
    At(Instant),
    /// It has been taken off too often.
    Removed,
    /// The kernel has refused it for too long.
    Refused,
}

impl Tolerance {
    pub(super) fn permission(&mut self, now: Instant) -> Permission {
        while self.restored.front().is_some_and(|at| now.duration_since(*at) >= WINDOW) {
            self.restored.pop_front();
        }
        if self.restored.len() >= MOST {
            return Permission::Removed;
        }
        if self.refused_since.is_some_and(|since| now.duration_since(since) >= REFUSED) {
            return Permission::Refused;
        }
        match self.not_before {
            Some(at) if at > now => Permission::At(at),
            _ => Permission::Now,
        }
    }

    /// It is where it belongs.
    pub(super) fn present(&mut self) {
        (self.refused_since, self.refusals) = (None, 0);
    }

    /// It was gone, and has been put back.
    pub(super) fn restored(&mut self, now: Instant) {
        self.present();
        self.restored.push_back(now);
        self.not_before = Some(now + pause(self.restored.len()));
    }

    /// The kernel does not take it. Returns whether this is the first time in a row.
    pub(super) fn refused(&mut self, now: Instant) -> bool {
        self.refused_since.get_or_insert(now);
        self.refusals += 1;
        self.not_before = Some(now + pause(self.refusals));
        self.refusals == 1
    }
}

fn pause(times: usize) -> Duration {
    let doublings = u32::try_from(times.saturating_sub(1)).unwrap_or(u32::MAX).min(8);
    (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE)
}

/// A role that is given up for want of what should be on the host.
#[derive(Debug, Default)]
pub(super) struct Rest {
    until: Option<Instant>,
    length: Duration,
    ended: Option<Instant>,
}

/// A rest as an agent leaves it to the one that it becomes; its moments are of the boot-time clock, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestLeft {
    /// Why the role is given up, if it is.
    pub failure: Option<String>,
    until: Option<u64>,
    length: Duration,
    ended: Option<u64>,
}

impl RestLeft {
    pub fn is_on(&self) -> bool {
        self.until.is_some()
    }
}

/// The same moment by both clocks.
struct Clocks {
    ours: Instant,
    boot: u64,
}

impl Clocks {
    fn now() -> Self {
        Self { ours: Instant::now(), boot: clock::now().as_nanos() }
    }

    fn boot(&self, at: Instant) -> u64 {
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let later = nanos(at.saturating_duration_since(self.ours));
        self.boot.saturating_add(later).saturating_sub(nanos(self.ours.saturating_duration_since(at)))
    }

    fn ours(&self, boot: u64) -> Instant {
        let later = Duration::from_nanos(boot.saturating_sub(self.boot)).min(LONGEST_REST);
        let at = self.ours + later;
        at.checked_sub(Duration::from_nanos(self.boot.saturating_sub(boot))).unwrap_or(self.ours)
    }
}

impl Rest {
    /// What an agent that this process was has left of it.
    pub(super) fn inherited(left: &RestLeft) -> Self {
        let clocks = Clocks::now();
        Self {
            until: left.until.map(|until| clocks.ours(until)),
            length: left.length,
            ended: left.ended.map(|ended| clocks.ours(ended)),
        }
    }

    pub(super) fn left(&self, failure: Option<String>) -> RestLeft {
        let clocks = Clocks::now();
        RestLeft {
            failure,
            until: self.until.map(|until| clocks.boot(until)),
            length: self.length,
            ended: self.ended.map(|ended| clocks.boot(ended)),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Begins, and returns how long it lasts.
    pub(super) fn begin(&mut self, now: Instant) -> Duration {
        let lately = self.ended.is_some_and(|ended| now.duration_since(ended) < LONGEST_REST);
        self.length = if lately { (self.length * 2).min(LONGEST_REST) } else { FIRST_REST };
        self.until = Some(now + self.length);
        self.length
    }

    /// Whether it is over, which is said once.
    pub(super) fn ends(&mut self, now: Instant) -> bool {
        let ends = self.until.take_if(|until| *until <= now).is_some();
        if ends {
            self.ended = Some(now);
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_off_is_put_back_at_once_then_after_pauses_and_not_more_than_ten_times_in_ten_seconds() {
        let start = Instant::now();
        let (mut now, mut tolerance, mut pauses) = (start, Tolerance::default(), Vec::new());
        loop {
            match tolerance.permission(now) {
                Permission::Now => tolerance.restored(now),
                Permission::At(at) => {
                    pauses.push(at.duration_since(now).as_millis());
                    now = at;
                }
                Permission::Removed => break,
                Permission::Refused => unreachable!(),
            }
        }
        assert_eq!(pauses, [25, 50, 100, 100, 100, 100, 100, 100, 100], "the first time there is none");
        assert_eq!(tolerance.permission(start + WINDOW), Permission::Now, "the first one has been long ago");
    }

    #[test]
    fn what_is_taken_off_every_two_seconds_is_put_back_each_time_at_once() {
        let (mut now, mut tolerance) = (Instant::now(), Tolerance::default());
        for _ in 0..100 {
            assert_eq!(tolerance.permission(now), Permission::Now);
            tolerance.restored(now);
            now += Duration::from_secs(2);
        }
    }

    #[test]
    fn a_refusal_is_borne_for_a_second() {
        let start = Instant::now();
        let mut tolerance = Tolerance::default();
        assert!(tolerance.refused(start));
        assert_eq!(tolerance.permission(start), Permission::At(start + FIRST_PAUSE));
        assert!(!tolerance.refused(start + REFUSED / 2));
        assert_eq!(tolerance.permission(start + REFUSED), Permission::Refused);
        tolerance.present();
        assert_eq!(tolerance.permission(start + REFUSED), Permission::Now);
        assert!(tolerance.refused(start + REFUSED), "it is the first one again");
    }

    #[test]
    fn a_rest_is_twice_as_long_as_the_one_that_has_ended_lately() {
        let (mut now, mut rest, mut lengths) = (Instant::now(), Rest::default(), Vec::new());
        for _ in 0..9 {
            lengths.push(rest.begin(now).as_secs());
            assert!(!rest.ends(now) && rest.is_on());
            now = rest.until().unwrap();
            assert!(rest.ends(now) && !rest.is_on());
            now += Duration::from_secs(2);
        }
        assert_eq!(lengths, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
        assert_eq!(rest.begin(now + LONGEST_REST), FIRST_REST);
    }

    #[test]
    fn a_rest_that_is_handed_over_lasts_as_long_and_so_does_what_it_makes_of_the_next_one() {
        // The two clocks are read one after the other.
        let close = |one: Instant, other: Instant| one.max(other) - one.min(other) < Duration::from_secs(1);
        let (start, mut rest) = (Instant::now(), Rest::default());
        assert!(!rest.left(None).is_on());
        rest.begin(start);
        let left = rest.left(Some("gone".to_owned()));
        assert!(left.is_on());
        let text = serde_json::to_string(&left).unwrap();
        let mut rest = Rest::inherited(&serde_json::from_str(&text).unwrap());
        let until = rest.until().unwrap();
        assert!(close(until, start + FIRST_REST), "{:?}", until - start);

        assert!(rest.ends(until));
        let mut rest = Rest::inherited(&rest.left(None));
        assert!(!rest.is_on());
        assert_eq!(rest.begin(until), 2 * FIRST_REST);
    }
}
