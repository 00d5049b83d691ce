//! At most one host serves the virtual addresses, except while the first advert of a new Active router is under way.

use proptest::prelude::*;
use xvrrp_common::units::{Instant, Interval, Priority};

use super::scenario::{Preempt, intervals, proptest_config, routers};
use super::simulator::{Fault, Segment, Weather};

const DELAY: Interval = Interval::from_millis(1);
const LATENESS: Interval = Interval::from_millis(2);
const LONG: Interval = Interval::from_seconds(20);

/// Faults of the agent only. Its kernel half keeps working.
fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::Start),
        2 => Just(Fault::Kill),
        1 => Just(Fault::Stop),
    ]
}

/// Times in which two hosts serve together.
struct Together {
    /// Since when each pair of hosts has served together, if it does now.
    since: Vec<Option<Instant>>,
}

impl Together {
    /// Fails if a pair has served together for longer than one delay.
    fn watch(&mut self, segment: &Segment) {
        let (now, count) = (segment.now, segment.hosts.len());
        for (pair, since) in self.since.iter_mut().enumerate() {
            let (one, other) = (pair / count, pair % count);
            let both = one < other && segment.hosts[one].serves(now) && segment.hosts[other].serves(now);
            *since = both.then(|| since.unwrap_or(now));
            if let Some(since) = *since {
                let overlap = now.since(since);
                assert!(overlap <= DELAY, "{one} and {other} have served together for {overlap}");
            }
        }
    }
}

proptest! {
    #![proptest_config(proptest_config())]

    /// All routers have the same interval. Until a router hears its first advert, it waits according to its own
    /// interval (RFC 9568 6.4.1), which could be shorter than that of the Active router.
    #[test]
    fn whatever_happens_to_agents_two_hosts_serve_together_for_one_delay_at_most(
        configs in routers(Preempt::Mixed),
        interval in intervals(),
        faults in prop::collection::vec((0..LONG.as_nanos(), 0..60_usize, fault()), 5..40),
        seed: u64,
    ) {
        let mut configs = configs;
        for config in &mut configs {
            (config.lease, config.advert_interval) = (true, interval);
            // An owner takes over without listening first (RFC 9568 6.4.1), so there is none.
            config.priority = config.priority.min(Priority::new(254));
        }
        let count = configs.len();
        let mut segment = Segment::new(configs, vec![LATENESS; count], Weather::calm(DELAY), seed);
        let mut together = Together { since: vec![None; count * count] };
        let start = segment.now;
        let mut faults = faults;
        faults.sort_by_key(|(when, ..)| *when);
        for host in 0..count {
            segment.inject(host, Fault::Start);
        }
        for (when, host, fault) in faults {
            segment.run_until(start + Interval::from_nanos(when), |segment| together.watch(segment));
            segment.inject(host % count, fault);
            together.watch(&segment);
        }
        segment.run_until(start + LONG, |segment| together.watch(segment));
    }
}
