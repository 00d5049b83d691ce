//! Who answers for the virtual addresses: one host, but while a new Active's first advert is on its way.

use proptest::prelude::*;
use xvrrp_common::units::{Instant, Interval, Priority};

use super::scenario::{Preempt, intervals, proptest_config, routers};
use super::simulator::{Fault, Segment, Weather};

const DELAY: Interval = Interval::from_millis(1);
const LATENESS: Interval = Interval::from_millis(2);
const LONG: Interval = Interval::from_seconds(20);

/// Only the agent, whose kernel half stays.
fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::Start),
        2 => Just(Fault::Kill),
        1 => Just(Fault::Stop),
    ]
}

/// For how long each pair has served at once.
struct Together {
    since: Vec<Option<Instant>>,
}

impl Together {
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

    /// With one interval for all: what one with another interval makes of the first advert that it has not heard yet is
    /// a matter of RFC 9568 6.4.1.
    #[test]
    fn whatever_befalls_agents_two_serve_for_one_delay_at_most(
        configs in routers(Preempt::Mixed),
        interval in intervals(),
        faults in prop::collection::vec((0..LONG.as_nanos(), 0..60_usize, fault()), 5..40),
        seed: u64,
    ) {
        let mut configs = configs;
        for config in &mut configs {
            (config.lease, config.advert_interval) = (true, interval);
            // An owner listens to nobody before it takes over (RFC 9568 6.4.1).
            config.priority = config.priority.min(Priority::new(254));
        }
        let count = configs.len();
        let mut segment = Segment::new(configs, vec![LATENESS; count], Weather::calm(DELAY), seed);
        let mut together = Together { since: vec![None; count * count] };
        let start = segment.now;
        let mut faults = faults;
        faults.sort_by_key(|(when, ..)| *when);
        for host in 0..count {
            segment.befall(host, Fault::Start);
        }
        for (when, host, fault) in faults {
            segment.run_until(start + Interval::from_nanos(when), |segment| together.watch(segment));
            segment.befall(host % count, fault);
            together.watch(&segment);
        }
        segment.run_until(start + LONG, |segment| together.watch(segment));
    }
}
