//! Once the network behaves again, whatever has happened before, exactly one of the living routers is Active, and it is
//! the best one.

use proptest::prelude::*;
use xvrrp_common::units::{Instant, Interval, Priority};
use xvrrp_vrrp::{RouterConfig, VirtualRouter};

use super::scenario::{Preempt, STORM, STORM_DELAY, faults, intervals, proptest_config, routers, storms};
use super::simulator::{Fault, Segment, Weather};

/// Longest delay of a frame once the network behaves.
const CALM_DELAY: Interval = Interval::from_millis(3);
/// Longest time until an agent handles an event or a timer.
const LATENESS: Interval = Interval::from_millis(2);
/// Longest time from the sending of an advert until another agent has handled it.
const REACTION: Interval = Interval::from_millis(5);

/// Returns the longest possible Active_Down_Interval. Any router may have learned the interval of any other.
fn longest_active_down_interval(configs: &[RouterConfig]) -> Interval {
    let longest_for = |priority| {
        configs.iter().map(move |config| {
            let config = RouterConfig { priority, ..config.clone() };
            VirtualRouter::new(config, Instant::default()).active_down_interval()
        })
    };
    configs.iter().flat_map(|config| longest_for(config.priority)).max().unwrap_or_default()
}

/// Returns how long routers that all preempt without a delay take to settle, from the moment at which faults end and
/// the network behaves.
///
/// 1. After `STORM_DELAY`, all frames of the storm have arrived.
/// 2. Consider the routers with the highest priority. Either one of them is Active, or their Active_Down_Timers run and
///    only an Active router with that priority restarts them. So one of them is Active, and has advertised, after one
///    Active_Down_Interval.
/// 3. It stays Active until it hears a router with the same priority and a higher address, which then stays Active.
///    Others with that priority whose timers expire before they hear it become Active within one reaction.
/// 4. The next advert of the one with the highest address among them follows at most one interval later. Every other
///    Active router then becomes Backup, and each Backup has learned that interval, for which it waits from now on.
/// 5. The last advert of a router that becomes Backup may have taught another Backup an interval that is too short. The
///    winner hears that advert too and answers at once, before the timer of that Backup expires (at least 30 ms). If
///    the timer was short before, a takeover ends within two reactions: the advert of that Backup and the winner's
///    answer.
///
/// Each of the steps 2 to 4 takes one more reaction, and step 5 takes two more.
fn settling_time(configs: &[RouterConfig]) -> Interval {
    let longest_interval = configs.iter().map(|config| config.advert_interval).max().unwrap_or_default();
    STORM_DELAY + longest_active_down_interval(configs) + longest_interval + REACTION.saturating_mul(6)
}

/// Returns the same with `preempt_delay`. After one Active_Down_Interval, a router is Active. A router with a delay
/// notices that at once or, if it has heard the same router before, when it next reads the stamps, one
/// Active_Down_Interval later. Then its delay passes, and another Active_Down_Interval.
fn settling_time_with_delays(configs: &[RouterConfig]) -> Interval {
    let longest_delay = configs.iter().map(|config| config.preempt_delay).max().unwrap_or_default();
    settling_time(configs) + longest_active_down_interval(configs).saturating_mul(2) + longest_delay
}

fn segment(configs: &[RouterConfig], weather: Weather, seed: u64) -> Segment {
    Segment::new(configs.to_vec(), vec![LATENESS; configs.len()], weather, seed)
}

/// Runs the storm with its faults, after which the network behaves. Some hosts may be down or cut off in the end.
fn weather_the_storm(segment: &mut Segment, faults: &[(Interval, usize, Fault)]) {
    let start = segment.now;
    for &(when, whom, fault) in faults {
        segment.run_until(start + when, |_| {});
        segment.inject(whom % segment.hosts.len(), fault);
    }
    segment.run_until(start + STORM, |_| {});
    segment.weather = Weather::calm(CALM_DELAY);
}

fn actives(segment: &Segment) -> Vec<usize> {
    (0..segment.hosts.len()).filter(|&n| segment.hosts[n].is_reachable() && segment.hosts[n].is_active()).collect()
}

/// Fails unless exactly one reachable router, always the same, is Active from `settled_at` on for a few
/// Active_Down_Intervals. Returns that router, or none if no router is reachable.
fn assert_settled(segment: &mut Segment, settled_at: Instant, configs: &[RouterConfig]) -> Option<usize> {
    segment.run_until(settled_at, |_| {});
    let settled = actives(segment);
    let anybody = segment.hosts.iter().any(super::host::Host::is_reachable);
    assert_eq!(settled.len(), usize::from(anybody), "Active: {settled:?}");

    let watch_until = settled_at + longest_active_down_interval(configs).saturating_mul(3);
    segment.run_until(watch_until, |segment| assert_eq!(actives(segment), settled, "at {:?}", segment.now));

    for host in segment.hosts.iter().filter(|host| !host.is_reachable()) {
        // A router that is cut off is alone on its part of the segment, so it is Active. One without a carrier is not.
        if host.is_running() {
            assert_eq!(host.is_active(), host.carrier);
        } else if host.config.lease {
            // The role that a killed agent has left ends with its lease.
            assert!(!host.serves(segment.now));
        }
    }
    settled.first().copied()
}

fn assert_best(segment: &Segment, active: Option<usize>) {
    let best = segment.hosts.iter().filter(|host| host.is_reachable()).map(|host| host.config.priority).max();
    // Routers with equal priorities do not preempt each other (RFC 9568 6.4.2), so any of the best may be Active.
    assert_eq!(active.map(|active| segment.hosts[active].config.priority), best);
}

/// A storm that lasts. It loses up to two adverts in a row, duplicates others, and delays each of them for less than
/// the Skew_Time of a priority of 128 or less. To the protocol, an Active router is dead if a third advert in a row is
/// lost (RFC 9568 6.1).
fn lasting_storm(interval: Interval, loss_percent: u8) -> Weather {
    let slack = Interval::from_nanos(interval.as_nanos() / 2);
    Weather {
        loss_percent,
        max_losses_in_a_row: 2,
        duplicate_percent: 10,
        max_delay: slack.saturating_sub(LATENESS.saturating_mul(2)),
        simultaneous: false,
    }
}

/// Returns how long routers that share an interval and preempt without a delay take to settle in a storm that lasts.
///
/// 1. The best one hears nothing that restarts its timer, and is Active after one Active_Down_Interval.
/// 2. Every other Active router receives at least one of its first three adverts, and becomes Backup.
/// 3. A Backup may miss in a row two adverts of a router that became Backup and two of the best one, and so take over
///    once. It receives one of the next three adverts of the best one, which arrive within an Active_Down_Interval.
fn settling_time_in_a_storm(configs: &[RouterConfig]) -> Interval {
    longest_active_down_interval(configs).saturating_mul(4) + REACTION.saturating_mul(6)
}

proptest! {
    #![proptest_config(proptest_config())]

    /// RFC 9568 6.1, 6.4.
    #[test]
    fn even_in_a_storm_that_lasts_the_best_router_is_the_only_active_one(
        configs in routers(Preempt::Always),
        interval in intervals(),
        starts in prop::collection::vec(0..2_000_u64, 5),
        loss_percent in 0..=90_u8,
        seed: u64,
    ) {
        let mut configs = configs;
        for (config, rank) in configs.iter_mut().zip(1..) {
            config.advert_interval = interval;
            // All priorities are different, and so low that Skew_Time exceeds the delays.
            config.priority = Priority::new(config.priority.get() % 25 * 5 + rank);
        }
        let mut segment = segment(&configs, lasting_storm(interval, loss_percent), seed);
        let start = segment.now;
        let mut starts: Vec<_> = starts.into_iter().map(Interval::from_millis).zip(0..configs.len()).collect();
        starts.sort();
        for (when, host) in starts {
            segment.run_until(start + when, |_| {});
            segment.inject(host, Fault::Start);
        }
        let settled_at = segment.now + settling_time_in_a_storm(&configs);
        let active = assert_settled(&mut segment, settled_at, &configs);
        assert_best(&segment, active);
    }

    /// RFC 9568 6.4.
    #[test]
    fn after_any_storm_the_best_living_router_is_the_only_active_one(
        configs in routers(Preempt::Always),
        storm in storms(),
        faults in faults(),
        seed: u64,
    ) {
        let mut segment = segment(&configs, storm, seed);
        weather_the_storm(&mut segment, &faults);
        let settled_at = segment.now + settling_time(&configs);
        let active = assert_settled(&mut segment, settled_at, &configs);
        assert_best(&segment, active);
    }

    /// RFC 9568 6.1 Preempt_Mode: which router is Active depends on what happened in the storm.
    #[test]
    fn after_any_storm_exactly_one_router_is_active_however_the_routers_preempt(
        configs in routers(Preempt::Mixed),
        storm in storms(),
        faults in faults(),
        seed: u64,
    ) {
        let mut segment = segment(&configs, storm, seed);
        weather_the_storm(&mut segment, &faults);
        let settled_at = segment.now + settling_time_with_delays(&configs);
        assert_settled(&mut segment, settled_at, &configs);
    }

    /// RFC 9568 6.1 Preempt_Mode: `preempt_delay` only postpones preemption.
    #[test]
    fn after_the_longest_preempt_delay_the_best_living_router_is_the_only_active_one(
        configs in routers(Preempt::Always),
        delays in prop::collection::vec((1..=2_000_u64).prop_map(Interval::from_millis), 5),
        storm in storms(),
        faults in faults(),
        seed: u64,
    ) {
        let configs: Vec<_> =
            configs.into_iter().zip(delays).map(|(config, preempt_delay)| RouterConfig { preempt_delay, ..config }).collect();
        let mut segment = segment(&configs, storm, seed);
        weather_the_storm(&mut segment, &faults);
        let settled_at = segment.now + settling_time_with_delays(&configs);
        let active = assert_settled(&mut segment, settled_at, &configs);
        assert_best(&segment, active);
    }

    /// RFC 9568 6.4: the network behaves, and no host that has started fails.
    #[test]
    fn without_faults_the_best_router_is_the_only_active_one(
        configs in routers(Preempt::Always),
        starts in prop::collection::vec(0..2_000_u64, 5),
        seed: u64,
    ) {
        let mut segment = segment(&configs, Weather::calm(CALM_DELAY), seed);
        let start = segment.now;
        let mut starts: Vec<_> = starts.into_iter().map(Interval::from_millis).zip(0..configs.len()).collect();
        starts.sort();
        for (when, host) in starts {
            segment.run_until(start + when, |_| {});
            segment.inject(host, Fault::Start);
        }
        let settled_at = segment.now + settling_time(&configs);
        let active = assert_settled(&mut segment, settled_at, &configs);
        assert_best(&segment, active);
    }
}
