//! Limits how often something may be removed from the host, and how long the kernel may refuse it, before a virtual
//! router gives up its role.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::process::clock;

/// Largest number of times that one address or filter entry is put back within [`WINDOW`].
const MAX_RESTORATIONS: usize = 10;
/// Time over which restorations are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// How long the kernel may refuse one address or filter entry.
const REFUSED: Duration = Duration::from_secs(1);
/// Pause after the first restoration. It is doubled each time, up to [`LONGEST_PAUSE`].
///
/// The first restoration happens at once. The later ones are delayed, because a program that empties an interface
/// (`ip address flush`) checks it again a moment later and should find it empty.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Length of the first rest. It is doubled each time, up to [`LONGEST_REST`], if the last rest ended less than
/// [`LONGEST_REST`] ago.
const FIRST_REST: Duration = Duration::from_secs(10);
const LONGEST_REST: Duration = Duration::from_mins(10);

/// Recent history of one address or filter entry that belongs on the host.
#[derive(Debug, Default)]
pub(super) struct Tolerance {
    /// Times at which it was put back within [`WINDOW`], the oldest first.
    restored: VecDeque<Instant>,
    /// Time of the first refusal in a row.
    refused_since: Option<Instant>,
    /// Number of refusals in a row.
    refusals: usize,
    /// Earliest time of the next attempt.
    not_before: Option<Instant>,
}

/// Whether something may be installed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    Now,
    At(Instant),
    /// No, because it was removed too often.
    Removed,
    /// No, because the kernel has refused it for too long.
    Refused,
}

impl Tolerance {
    /// Returns whether it may be installed now.
    pub(super) fn permission(&mut self, now: Instant) -> Permission {
        while self.restored.front().is_some_and(|at| now.duration_since(*at) >= WINDOW) {
            self.restored.pop_front();
        }
        if self.restored.len() >= MAX_RESTORATIONS {
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

    /// Records that it is in place.
    pub(super) fn present(&mut self) {
        (self.refused_since, self.refusals) = (None, 0);
    }

    /// Records that it was missing and has been put back.
    pub(super) fn restored(&mut self, now: Instant) {
        self.present();
        self.restored.push_back(now);
        self.not_before = Some(now + pause(self.restored.len()));
    }

    /// Records that the kernel has refused it. Returns whether this is the first refusal in a row.
    pub(super) fn refused(&mut self, now: Instant) -> bool {
        self.refused_since.get_or_insert(now);
        self.refusals += 1;
        self.not_before = Some(now + pause(self.refusals));
        self.refusals == 1
    }
}

/// Returns the pause after this many attempts.
fn pause(times: usize) -> Duration {
    let doublings = u32::try_from(times.saturating_sub(1)).unwrap_or(u32::MAX).min(8);
    (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE)
}

/// Rest of a virtual router: the time for which it gives up its role because something that it needs does not stay on
/// the host.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// End of the rest, while it lasts.
    until: Option<Instant>,
    /// Length of the current rest, or of the last one.
    length: Duration,
    /// Time at which the last rest ended.
    ended: Option<Instant>,
}

/// A `Rest` as an agent leaves it to the agent that this process becomes. Times are those of the boot-time clock, in
/// nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestLeft {
    /// The reason why the role is given up; `None` if it is not.
    pub failure: Option<String>,
    until: Option<u64>,
    length: Duration,
    ended: Option<u64>,
}

impl RestLeft {
    /// Returns whether the role is given up.
    pub fn is_on(&self) -> bool {
        self.until.is_some()
    }
}

/// The same moment on both clocks.
struct Clocks {
    /// Time on the clock of the timers.
    timer: Instant,
    /// Time on the boot-time clock, in nanoseconds.
    boot: u64,
}

impl Clocks {
    fn now() -> Self {
        Self { timer: Instant::now(), boot: clock::now().as_nanos() }
    }

    /// Converts a time to the boot-time clock.
    fn boot(&self, at: Instant) -> u64 {
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let later = nanos(at.saturating_duration_since(self.timer));
        self.boot.saturating_add(later).saturating_sub(nanos(self.timer.saturating_duration_since(at)))
    }

    /// Converts a time of the boot-time clock. A time in the future is limited to [`LONGEST_REST`] from now.
    fn timer(&self, boot: u64) -> Instant {
        let later = Duration::from_nanos(boot.saturating_sub(self.boot)).min(LONGEST_REST);
        let at = self.timer + later;
        at.checked_sub(Duration::from_nanos(self.boot.saturating_sub(boot))).unwrap_or(self.timer)
    }
}

impl Rest {
    /// Restores the rest that this process had begun before a reload.
    pub(super) fn inherited(left: &RestLeft) -> Self {
        let clocks = Clocks::now();
        Self {
            until: left.until.map(|until| clocks.timer(until)),
            length: left.length,
            ended: left.ended.map(|ended| clocks.timer(ended)),
        }
    }

    /// Returns the rest in the form in which it is left to the next agent. `failure` is its reason.
    pub(super) fn left(&self, failure: Option<String>) -> RestLeft {
        let clocks = Clocks::now();
        RestLeft {
            failure,
            until: self.until.map(|until| clocks.boot(until)),
            length: self.length,
            ended: self.ended.map(|ended| clocks.boot(ended)),
        }
    }

    /// Returns whether the role is given up.
    pub(super) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// Returns the end of the rest, if there is one.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Begins a rest and returns its length.
    pub(super) fn begin(&mut self, now: Instant) -> Duration {
        let lately = self.ended.is_some_and(|ended| now.duration_since(ended) < LONGEST_REST);
        self.length = if lately { (self.length * 2).min(LONGEST_REST) } else { FIRST_REST };
        self.until = Some(now + self.length);
        self.length
    }

    /// Ends the rest if its time has come. Returns true only in the call that ends it.
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
    fn what_is_removed_is_put_back_at_once_then_after_pauses_and_at_most_ten_times_in_ten_seconds() {
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
        assert_eq!(pauses, [25, 50, 100, 100, 100, 100, 100, 100, 100], "the first restoration has no pause");
        assert_eq!(tolerance.permission(start + WINDOW), Permission::Now, "the first restoration no longer counts");
    }

    #[test]
    fn what_is_removed_every_two_seconds_is_put_back_at_once_each_time() {
        let (mut now, mut tolerance) = (Instant::now(), Tolerance::default());
        for _ in 0..100 {
            assert_eq!(tolerance.permission(now), Permission::Now);
            tolerance.restored(now);
            now += Duration::from_secs(2);
        }
    }

    #[test]
    fn refusals_are_tolerated_for_a_second() {
        let start = Instant::now();
        let mut tolerance = Tolerance::default();
        assert!(tolerance.refused(start));
        assert_eq!(tolerance.permission(start), Permission::At(start + FIRST_PAUSE));
        assert!(!tolerance.refused(start + REFUSED / 2));
        assert_eq!(tolerance.permission(start + REFUSED), Permission::Refused);
        tolerance.present();
        assert_eq!(tolerance.permission(start + REFUSED), Permission::Now);
        assert!(tolerance.refused(start + REFUSED), "the next refusal is the first in a row again");
    }

    #[test]
    fn a_rest_is_twice_as_long_as_one_that_ended_recently() {
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
    fn a_rest_and_the_length_of_the_next_one_stay_the_same_over_a_reload() {
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
