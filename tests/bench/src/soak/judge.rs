//! The rules of the soak, and their exceptions.
//!
//! There are two clients: one on the segment of the virtual routers, and one behind the second interface of each host,
//! which asks for the virtual address there. For each client, at most one router may serve in any sample, with these
//! exceptions:
//!
//! - **Apart.** While a router is cut off behind its switch port, or its cable is being changed, it is on a segment of
//!   its own and may serve there. Of the other routers, at most one may serve.
//! - **Reunion.** When the router is connected again, both may serve for [`Judge::reunion`]. They need time for an
//!   advert. If the router dies at that moment, it serves until the end of the lease that it has from adverts which no
//!   other router received.
//! - **Impaired.** While adverts are late or lost on a cable, and for the length of a lease after that, two routers may
//!   serve for at most [`Judge::overlap`]. A router that takes over by its priority serves beside one that receives its
//!   adverts late. In addition, a lease counts from the last advert that was sent, but Active_Down_Interval from the
//!   last one that was received. If the Active router dies right after an advert that was lost, both overlap by one
//!   advertisement interval minus Skew_Time. Adverts are never so late that a Backup would take a living Active router
//!   for dead, and no two in a row from one router are lost.
//! - **Deaf.** A router hears nothing from the moment at which XDP is detached by hand until the agent has attached it
//!   again, which takes at most an advertisement interval. An advert that arrives in this time counts as lost, as
//!   above.
//!
//! Nothing else is an excuse: not a fault of an agent or an interface, a pulled cable, an address or filter entry that
//! somebody deletes, a change of address on another interface, or a full /run.
//!
//! In an episode whose faults give no reason for it ([`keeps_roles`](super::fault::Fault::keeps_roles)), no virtual
//! router may change its role, unless the machine itself stood still for so long that a lease may have ended
//! ([`may_end_a_lease`]).

use std::fmt;
use std::time::{Duration, Instant};

use xvrrp_lab::probe::{Hosts, Sample};

/// A client that asks for the virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// The client on the segment of the virtual routers.
    Segment,
    /// The client behind the second interface of each host.
    Behind,
}

/// Returns whether an agent that was held up for this long may have lost its lease of three intervals. It may have been
/// about to send its next advert, and needs time to do so afterwards.
pub fn may_end_a_lease(delay: Duration, interval: Duration) -> bool {
    delay > interval * 3 / 2
}

/// Reason why two routers may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excuse {
    /// This router and the others do not hear each other.
    Apart {
        /// Index of the router in the lab.
        router: usize,
    },
    /// Adverts are late or lost.
    Impaired {
        /// Longest delay of an advert.
        latest: Duration,
    },
}

#[derive(Clone, Copy, Debug)]
struct Window {
    excuse: Excuse,
    from: Instant,
    until: Instant,
}

/// A sample in which two routers served without an excuse.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Client that the routers served.
    pub client: Client,
    /// The first sample that is not excused.
    pub sample: Sample,
    /// Time since which two routers have served without interruption.
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
        write!(f, "two routers served {whom} in sample {number} (for {long:?} so far): {sample:?}")
    }
}

/// Decides whether two routers may serve in a sample.
#[derive(Debug)]
pub struct Judge {
    /// Advertisement interval.
    interval: Duration,
    /// Time by which the machine may delay anything.
    pub slack: Duration,
    windows: Vec<Window>,
    /// Times since which two routers have served each client without interruption.
    twice_since: [Option<Instant>; 2],
    /// Number of samples in which two routers served with an excuse.
    pub excused: u32,
}

impl Judge {
    /// Creates a judge without excuses, for virtual routers with this advertisement interval.
    pub fn new(interval: Duration, slack: Duration) -> Self {
        Self { interval, slack, windows: Vec::new(), twice_since: [None; 2], excused: 0 }
    }

    /// Adds an excuse for this time.
    pub fn excuse(&mut self, excuse: Excuse, from: Instant, until: Instant) {
        self.windows.push(Window { excuse, from, until });
    }

    /// Adds the excuse that XDP was detached from a router at this time.
    pub fn excuse_deafness(&mut self, from: Instant) {
        self.excuse(Excuse::Impaired { latest: Duration::ZERO }, from, from + self.interval + self.slack);
    }

    /// Returns how long two routers may serve after a router is connected again: the length of a lease.
    pub fn reunion(&self) -> Duration {
        self.interval * 3 + self.slack
    }

    /// Returns how long two routers may serve if adverts have this delay, one is lost on the cable, and another one
    /// while the cable is being changed.
    pub fn overlap(&self, latest: Duration) -> Duration {
        self.interval * 2 + latest * 2 + self.slack
    }

    /// Judges the samples that follow the last ones. Every excuse for them must have been added before.
    pub fn judge_samples(&mut self, client: Client, samples: &[Sample]) -> Option<Violation> {
        samples.iter().find_map(|sample| self.judge(client, sample))
    }

    fn judge(&mut self, client: Client, sample: &Sample) -> Option<Violation> {
        let serving = sample.serving();
        let together = (0..Hosts::MAX).filter(|&host| serving.contains(host) && !self.is_apart(host, sample.at));
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

    /// Returns how long two routers may serve at that time.
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

    struct Trial {
        judge: Judge,
        start: Instant,
    }

    impl Trial {
        fn new() -> Self {
            Self { judge: Judge::new(INTERVAL, Duration::ZERO), start: Instant::now() }
        }

        fn at(&self, milliseconds: u64) -> Instant {
            self.start + Duration::from_millis(milliseconds)
        }

        /// Returns the number of the sample with the first violation if these hosts serve all the time.
        fn verdict(&mut self, hosts: &[usize], from: u64, until: u64) -> Option<u64> {
            let samples = (from..until).map(|number| {
                let mut sample = Sample::unanswered(u32::try_from(number).expect("small"), self.at(number));
                for &host in hosts {
                    sample.answered(host, Kind::Udp, true);
                }
                sample
            });
            let samples: Vec<_> = samples.collect();
            self.judge.judge_samples(Client::Segment, &samples).map(|violation| u64::from(violation.sample.number))
        }
    }

    #[test]
    fn two_routers_that_serve_at_once_are_a_violation_in_the_first_sample() {
        let mut trial = Trial::new();
        assert_eq!(trial.verdict(&[1], 0, 10), None);
        assert_eq!(trial.verdict(&[0, 1], 10, 20), Some(10));
    }

    #[test]
    fn both_clients_are_judged_alike() {
        let mut trial = Trial::new();
        let mut twice = Sample::unanswered(0, trial.at(0));
        for host in [0, 1] {
            twice.answered(host, Kind::Udp, true);
        }
        for client in [Client::Segment, Client::Behind] {
            assert!(trial.judge.judge_samples(client, &[twice]).is_some());
        }
    }

    #[test]
    fn an_isolated_router_may_serve_until_shortly_after_its_return_but_two_others_may_not_serve_together() {
        let mut trial = Trial::new();
        trial.judge.excuse(Excuse::Apart { router: 0 }, trial.at(0), trial.at(1000));
        assert_eq!(trial.verdict(&[0, 1], 0, 1000), None);
        assert_eq!(trial.verdict(&[0, 1], 1000, 1500), Some(1300));
        let mut trial = Trial::new();
        trial.judge.excuse(Excuse::Apart { router: 0 }, trial.at(0), trial.at(1000));
        assert_eq!(trial.verdict(&[1, 2], 500, 1000), Some(500));
    }

    #[test]
    fn late_adverts_excuse_a_short_overlap_but_not_a_long_one() {
        let mut trial = Trial::new();
        let latest = Duration::from_millis(50);
        trial.judge.excuse(Excuse::Impaired { latest }, trial.at(0), trial.at(1000));
        assert_eq!(trial.verdict(&[0, 1], 100, 250), None);
        assert_eq!(trial.verdict(&[0], 250, 300), None);
        assert_eq!(trial.verdict(&[0, 1], 300, 900), Some(601));
    }
}
