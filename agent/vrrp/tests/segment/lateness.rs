//! An agent that is late, by any amount, does not take over from an Active router whose adverts reach the host. No
//! other VRRP daemon promises this.

use proptest::prelude::*;
use xvrrp_common::units::{Interval, Priority};
use xvrrp_vrrp::RouterConfig;

use super::scenario::{Preempt, intervals, proptest_config, routers};
use super::simulator::{Fault, Segment, Weather};

const LONG: Interval = Interval::from_seconds(60);
/// With this priority, Skew_Time is at least half an interval, and half a second in version 2.
const HIGHEST_BACKUP_PRIORITY: u8 = 128;

proptest! {
    #![proptest_config(proptest_config())]

    /// RFC 9568 6.4.2: the timer restarts when an advert is received. Two adverts in a row may be lost, and the others
    /// may be late by almost Skew_Time, in any order. Active_Down_Interval allows for that (RFC 9568 6.1).
    #[test]
    fn late_backups_never_take_over_from_a_living_active_router(
        configs in routers(Preempt::Mixed),
        interval in intervals(),
        max_late in prop::collection::vec((0..=5_000_u64).prop_map(Interval::from_millis), 5),
        loss_percent in 0..=90_u8,
        seed: u64,
    ) {
        let mut configs = configs;
        for config in &mut configs {
            config.advert_interval = interval;
            config.priority = Priority::new(1 + config.priority.get() % HIGHEST_BACKUP_PRIORITY);
        }
        configs[0].priority = Priority::new(200);
        let mut lateness = max_late;
        lateness.truncate(configs.len());
        lateness.resize(configs.len(), Interval::ZERO);
        // The Active router advertises on time.
        lateness[0] = Interval::ZERO;
        let weather = Weather {
            loss_percent,
            max_losses_in_a_row: 2,
            duplicate_percent: 10,
            max_delay: Interval::from_nanos(interval.as_nanos() / 2 - 1),
            simultaneous: false,
        };
        let (segment, start) = with_an_active(configs, lateness, weather, seed);
        watch(segment, start);
    }
}

/// Returns a segment on which the first host is Active and the others have just started, with the first host's
/// takeovers.
fn with_an_active(configs: Vec<RouterConfig>, lateness: Vec<Interval>, weather: Weather, seed: u64) -> (Segment, u32) {
    let mut segment = Segment::new(configs, lateness, weather, seed);
    segment.inject(0, Fault::Start);
    segment.run_until(segment.now + Interval::from_seconds(5), |_| {});
    assert!(segment.hosts[0].is_active());
    for host in 1..segment.hosts.len() {
        segment.inject(host, Fault::Start);
    }
    let takeovers = segment.hosts[0].takeovers;
    (segment, takeovers)
}

fn watch(mut segment: Segment, takeovers: u32) {
    segment.run_until(segment.now + LONG, |segment| {
        for host in &segment.hosts[1..] {
            assert!(!host.is_active(), "{} took over from a living Active router", host.config.primary);
        }
    });
    assert!(segment.hosts[0].is_active());
    assert_eq!(segment.hosts[0].takeovers, takeovers);
}
