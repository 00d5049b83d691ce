//! What must never be seen, and what is put up with.
//!
//! There are two clients: one on the segment of the virtual routers, and one behind the second interface of each host, which
//! asks for the virtual address there. For each by itself, at most one router serves in any sample, except:
//!
//! - **Apart.** While a router is cut off behind its switch port, or its cable is being changed, it is a segment of its own,
//!   where it may serve: among the others, one at most.
//! - **Reunion.** When it is back, both may serve for [`Judge::reunion`]: until each had time for an advert; and if the router
//!   dies at that very moment, for as long as the lease lasts that it got for adverts that nobody heard.
//! - **Impaired.** While adverts are late or lost on a cable, and for a lease's length after that, two may serve for
//!   [`Judge::overlap`] at most. A router that takes over by its priority serves beside one that hears of it late. And a
//!   lease counts from the last advert that was sent, Active_Down_Interval from the last one that was heard: if the Active
//!   router dies right after one that was lost, both overlap by an advertisement interval less Skew_Time. No advert is so
//!   late, and no two of a router in a row are lost, that a Backup might take a living Active router for dead.
//! - **Deaf.** From the moment that XDP is detached by hand until the agent has put it back, which it does within an
//!   advertisement interval, a router hears nothing: an advert that comes then is a lost one, as above.
//!
//! A fault of an agent, of an interface, or a pulled cable excuses nothing; nor does an address or a filter entry that
//! somebody deletes, another address of another interface, or a full /run.
//!
//! In an episode of which no fault is a reason for it ([`keeps_roles`](super::fault::Fault::keeps_roles)) no virtual
//! router changes its role, unless the machine itself stood still for so long that a lease may have ended: see
//! [`may_end_a_lease`].

use std::fmt;
use std::time::{Duration, Instant};

use xvrrp_lab::probe::{Hosts, Sample};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// On the segment of the virtual routers.
    Segment,
    /// Behind the second interface of each host.
    Behind,
}

/// Whether an agent that is held up for so long may lose its lease of three intervals: it may have been about to send its
/// next advert, and then needs time to do so.
pub fn may_end_a_lease(delay: Duration, interval: Duration) -> bool {
    delay > interval * 3 / 2
}

/// Why two may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excuse {
    Apart {
        router: usize,
    },
    Impaired {
        /// How late adverts may be.
        latest: Duration,
    },
}

#[derive(Clone, Copy, Debug)]
struct Window {
    excuse: Excuse,
    from: Instant,
    until: Instant,
}

/// Two served, and there is no excuse.
#[derive(Clone, Debug)]
pub struct Violation {
    pub client: Client,
    pub sample: Sample,
    /// Since when, without a break.
    pub since: Instant,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, sample, since } = self;
        let whom = match client {
            Client::Segment => "the client on the segment",
            Client::Behind => "the client behind the second interfaces",
        };
        let (number, long) = (sample.number, sample.at - *since);
        write!(f, "two served {whom} in sample {number} (for {long:?} already): {sample:?}")
    }
}

#[derive(Debug)]
pub struct Judge {
    /// Between adverts.
    interval: Duration,
    /// For what the machine may be late.
    pub slack: Duration,
    windows: Vec<Window>,
    /// Since when two have served each client without a break.
    twice_since: [Option<Instant>; 2],
    pub excused: u32,
}

impl Judge {
    pub fn new(interval: Duration, slack: Duration) -> Self {
        Self { interval, slack, windows: Vec::new(), twice_since: [None; 2], excused: 0 }
    }

    /// There was an excuse in this time.
    pub fn excuse(&mut self, excuse: Excuse, from: Instant, until: Instant) {
        self.windows.push(Window { excuse, from, until });
    }

    /// XDP was detached from a router at this moment.
    pub fn excuse_deafness(&mut self, from: Instant) {
        self.excuse(Excuse::Impaired { latest: Duration::ZERO }, from, from + self.interval + self.slack);
    }

    /// How long after a router is back two may serve: a lease's length.
    pub fn reunion(&self) -> Duration {
        self.interval * 3 + self.slack
    }

    /// How long two may serve if adverts are late by so much, one is lost on the cable, and one more while it is changed.
    pub fn overlap(&self, latest: Duration) -> Duration {
        self.interval * 2 + latest * 2 + self.slack
    }

    /// Looks at the samples that followed the last ones. Every excuse for them must have been told.
    pub fn look_at(&mut self, client: Client, samples: &[Sample]) -> Option<Violation> {
        samples.iter().find_map(|sample| self.judge(client, sample))
    }

    fn judge(&mut self, client: Client, sample: &Sample) -> Option<Violation> {
        let serving = sample.serving();
        let together = (0..Hosts::MOST).filter(|&host| serving.contains(host) && !self.is_apart(host, sample.at));
        if together.count() < 2 {
            self.twice_since[client as usize] = None;
            return None;
        }
        let since = *self.twice_since[client as usize].get_or_insert(sample.at);
        let excused = self.patience(sample.at).is_some_and(|patience| sample.at - since <= patience);
        self.excused += u32::from(excused);
        (!excused).then_some(Violation { client, sample: *sample, since })
    }

    fn is_apart(&self, host: usize, at: Instant) -> bool {
        let excuse = Excuse::Apart { router: host };
        self.windows.iter().any(|window| window.excuse == excuse && (window.from..window.until).contains(&at))
    }

    /// How long two may serve at that moment.
    fn patience(&self, at: Instant) -> Option<Duration> {
        let excused = self.windows.iter().filter_map(|window| {
            let (from, long) = match window.excuse {
                Excuse::Apart { .. } => (window.until, self.reunion()),
                Excuse::Impaired { latest } => (window.from, self.overlap(latest)),
            };
            (from..window.until + self.reunion()).contains(&at).then_some(long)
        });
        excused.max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xvrrp_lab::probe::Kind;

    const INTERVAL: Duration = Duration::from_millis(100);

    struct Court {
        judge: Judge,
        start: Instant,
    }

    impl Court {
        fn new() -> Self {
            Self { judge: Judge::new(INTERVAL, Duration::ZERO), start: Instant::now() }
        }

        fn at(&self, milliseconds: u64) -> Instant {
            self.start + Duration::from_millis(milliseconds)
        }

        /// When the first violation is if these serve all the time.
        fn verdict(&mut self, hosts: &[usize], from: u64, until: u64) -> Option<u64> {
            let samples = (from..until).map(|number| {
                let mut sample = Sample::unanswered(u32::try_from(number).expect("small"), self.at(number));
                hosts.iter().for_each(|&host| sample.answered(host, Kind::Udp, true));
                sample
            });
            let samples: Vec<_> = samples.collect();
            self.judge.look_at(Client::Segment, &samples).map(|violation| u64::from(violation.sample.number))
        }
    }

    #[test]
    fn two_that_serve_at_once_are_a_violation_in_the_first_sample() {
        let mut court = Court::new();
        assert_eq!(court.verdict(&[1], 0, 10), None);
        assert_eq!(court.verdict(&[0, 1], 10, 20), Some(10));
    }

    #[test]
    fn both_clients_are_judged_alike() {
        let mut court = Court::new();
        let mut twice = Sample::unanswered(0, court.at(0));
        [0, 1].into_iter().for_each(|host| twice.answered(host, Kind::Udp, true));
        for client in [Client::Segment, Client::Behind] {
            assert!(court.judge.look_at(client, &[twice]).is_some());
        }
    }

    #[test]
    fn one_that_is_apart_may_serve_and_a_little_longer_but_two_others_may_not() {
        let mut court = Court::new();
        court.judge.excuse(Excuse::Apart { router: 0 }, court.at(0), court.at(1000));
        assert_eq!(court.verdict(&[0, 1], 0, 1000), None);
        assert_eq!(court.verdict(&[0, 1], 1000, 1500), Some(1300));
        let mut court = Court::new();
        court.judge.excuse(Excuse::Apart { router: 0 }, court.at(0), court.at(1000));
        assert_eq!(court.verdict(&[1, 2], 500, 1000), Some(500));
    }

    #[test]
    fn late_adverts_excuse_a_short_overlap_and_no_long_one() {
        let mut court = Court::new();
        let latest = Duration::from_millis(50);
        court.judge.excuse(Excuse::Impaired { latest }, court.at(0), court.at(1000));
        assert_eq!(court.verdict(&[0, 1], 100, 250), None);
        assert_eq!(court.verdict(&[0], 250, 300), None);
        assert_eq!(court.verdict(&[0, 1], 300, 900), Some(601));
    }
}
