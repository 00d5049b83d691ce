//! Whatever has happened, and however the network has behaved: once it behaves again, one of those alive is Active, and
//! it is the best one.

use proptest::prelude::*;
use xvrrp_common::units::{Instant, Interval, Priority};
use xvrrp_vrrp::{Config, VirtualRouter};

use super::scenario::{Preempt, STORM, STORM_DELAY, faults, intervals, proptest_config, routers, storms};
use super::simulator::{Fault, Segment, Weather};

/// Once the network behaves, a frame takes at most this long.
const CALM_DELAY: Interval = Interval::from_millis(3);
/// An agent takes at most this long to get round to something.
const LATENESS: Interval = Interval::from_millis(2);
/// From one agent that sends to another one that acts on it.
const REACTION: Interval = Interval::from_millis(5);

/// The longest Active_Down_Interval that can be: any router may have learned the interval of any other.
fn longest_active_down_interval(configs: &[Config]) -> Interval {
    let longest_for = |priority| {
        configs.iter().map(move |config| {
            let config = Config { priority, ..config.clone() };
            VirtualRouter::new(config).active_down_interval()
        })
    };
    configs.iter().flat_map(|config| longest_for(config.priority)).max().unwrap_or_default()
}

/// How long routers that all preempt without delay take to settle, counted from the moment at which faults end and the
/// network behaves.
///
/// 1. After `STORM_DELAY` nothing of the storm is on its way any more.
/// 2. Among the routers with the best priority: one is Active, or their Active_Down_Timers run, and nothing restarts them
///    but an Active with that priority. So one is Active after one Active_Down_Interval, having sent its advert.
/// 3. It stays until one with the same priority and a higher address is heard, which then stays. Others with that
///    priority, if their timers end before they hear of it, become Active within one reaction.
/// 4. At the next advert of the one with the highest address among them, an interval later at most, every other Active
///    steps down, and each Backup has learned that interval, by which it waits from now on.
/// 5. A last advert of one that steps down may have taught a Backup too short an interval. The winner hears it as well and
///    answers at once, before the Backup's timer ends (30 ms at least). Had the timer been short before, a takeover
///    ends within two reactions: the intruder's advert and the winner's answer.
///
/// Each of the steps 2 to 5 costs a reaction more than said; step 5 two.
fn settling_time(configs: &[Config]) -> Interval {
    let longest_interval = configs.iter().map(|config| config.advert_interval).max().unwrap_or_default();
    STORM_DELAY + longest_active_down_interval(configs) + longest_interval + REACTION.saturating_mul(6)
}

/// The same with `preempt_delay`: one Active_Down_Interval until somebody is Active, whom a waiting router notices at once
/// or, having heard the same one before, when it next looks at what arrived, one Active_Down_Interval later. Then its
/// delay passes, and once more the Active_Down_Interval.
fn settling_time_with_delays(configs: &[Config]) -> Interval {
    let longest_delay = configs.iter().map(|config| config.preempt_delay).max().unwrap_or_default();
    settling_time(configs) + longest_active_down_interval(configs).saturating_mul(2) + longest_delay
}

fn segment(configs: &[Config], weather: Weather, seed: u64) -> Segment {
    Segment::new(configs.to_vec(), vec![LATENESS; configs.len()], weather, seed)
}

/// Faults and bad weather, and then a network that behaves. Some hosts may be down or cut off in the end.
fn weather_the_storm(segment: &mut Segment, faults: &[(Interval, usize, Fault)]) {
    let start = segment.now;
    for &(when, whom, fault) in faults {
        segment.run_until(start + when, |_| {});
        segment.befall(whom % segment.hosts.len(), fault);
    }
    segment.run_until(start + STORM, |_| {});
    segment.weather = Weather::calm(CALM_DELAY);
}

fn actives(segment: &Segment) -> Vec<usize> {
    (0..segment.hosts.len()).filter(|&n| segment.hosts[n].is_reachable() && segment.hosts[n].is_active()).collect()
}

/// From `settled_at` on, and for a few Active_Down_Intervals, one and the same router is Active; the one returned.
fn assert_settled(segment: &mut Segment, settled_at: Instant, configs: &[Config]) -> Option<usize> {
    segment.run_until(settled_at, |_| {});
    let settled = actives(segment);
    let anybody = segment.hosts.iter().any(|host| host.is_reachable());
    assert_eq!(settled.len(), usize::from(anybody), "Active: {settled:?}");

    let watch_until = settled_at + longest_active_down_interval(configs).saturating_mul(3);
    segment.run_until(watch_until, |segment| assert_eq!(actives(segment), settled, "at {:?}", segment.now));

    for host in segment.hosts.iter().filter(|host| !host.is_reachable()) {
        // Whoever is cut off is alone on its part of the segment; without a carrier, or without an agent, nobody serves.
        if host.is_running() {
            assert_eq!(host.is_active(), host.carrier);
        } else if host.config.lease {
            // What a killed agent leaves behind ends with its lease.
            assert!(!host.serves(segment.now));
        }
    }
    settled.first().copied()
}

fn assert_best(segment: &Segment, active: Option<usize>) {
    let best = segment.hosts.iter().filter(|host| host.is_reachable()).map(|host| host.config.priority).max();
    // Equal priorities do not preempt each other (RFC 9568 6.4.2): any of the best will do.
    assert_eq!(active.map(|active| segment.hosts[active].config.priority), best);
}

/// A network that never gets better: it loses up to two of one sender's adverts in a row, duplicates others, and delays
/// them, each by its own time, for less than what Active_Down_Interval leaves beyond three intervals to a priority of 128
/// or less. A third advert in a row that is lost is a dead Active to the protocol (RFC 9568 6.1).
fn lasting_storm(interval: Interval, loss_percent: u8) -> Weather {
    let slack = Interval::from_nanos(interval.as_nanos() / 2);
    Weather {
        loss_percent,
        most_losses_in_a_row: 2,
        duplicate_percent: 10,
        most_delay: slack.saturating_sub(LATENESS.saturating_mul(2)),
        simultaneous: false,
    }
}

/// Of routers that share an interval and preempt without delay, in a lasting storm.
///
/// 1. The best one hears nothing that restarts its timer, and is Active after one Active_Down_Interval.
/// 2. Every other Active hears it at its third advert at the latest, and steps down.
/// 3. A Backup may miss two adverts of one that stepped down and two of the best one in a row, and so take over once; it
///    hears the best one again within three adverts, whose gaps Active_Down_Interval bounds.
fn settling_time_in_a_storm(configs: &[Config]) -> Interval {
    longest_active_down_interval(configs).saturating_mul(4) + REACTION.saturating_mul(6)
}

proptest! {
    #![proptest_config(proptest_config())]

    /// RFC 9568 6.1, 6.4.
    #[test]
    fn in_a_storm_that_lasts_the_best_router_is_the_only_active_all_the_same(
        configs in routers(Preempt::Always),
        interval in intervals(),
        starts in prop::collection::vec(0..2_000_u64, 5),
        loss_percent in 0..=90_u8,
        seed: u64,
    ) {
        let mut configs = configs;
        for (config, rank) in configs.iter_mut().zip(1..) {
            config.advert_interval = interval;
            // All different, and low enough for the slack.
            config.priority = Priority::new(config.priority.get() % 25 * 5 + rank);
        }
        let mut segment = segment(&configs, lasting_storm(interval, loss_percent), seed);
        let start = segment.now;
        let mut starts: Vec<_> = starts.into_iter().map(Interval::from_millis).zip(0..configs.len()).collect();
        starts.sort();
        for (when, host) in starts {
            segment.run_until(start + when, |_| {});
            segment.befall(host, Fault::Start);
        }
        let settled_at = segment.now + settling_time_in_a_storm(&configs);
        let active = assert_settled(&mut segment, settled_at, &configs);
        assert_best(&segment, active);
    }

    /// RFC 9568 6.4.
    #[test]
    fn after_any_storm_the_best_router_alive_is_the_only_active(
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

    /// RFC 9568 6.1 Preempt_Mode: who is Active then depends on what was before.
    #[test]
    fn after_any_storm_there_is_one_active_however_the_routers_preempt(
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

    /// RFC 9568 6.1 Preempt_Mode: `preempt_delay` delays, it does not prevent.
    #[test]
    fn after_the_longest_preempt_delay_the_best_router_alive_is_the_only_active(
        configs in routers(Preempt::Always),
        delays in prop::collection::vec((1..=2_000_u64).prop_map(Interval::from_millis), 5),
        storm in storms(),
        faults in faults(),
        seed: u64,
    ) {
        let configs: Vec<_> =
            configs.into_iter().zip(delays).map(|(config, preempt_delay)| Config { preempt_delay, ..config }).collect();
        let mut segment = segment(&configs, storm, seed);
        weather_the_storm(&mut segment, &faults);
        let settled_at = segment.now + settling_time_with_delays(&configs);
        let active = assert_settled(&mut segment, settled_at, &configs);
        assert_best(&segment, active);
    }

    /// RFC 9568 6.4: on a network that behaves, with hosts that start one after the other and stay.
    #[test]
    fn without_faults_the_best_router_is_the_only_active(
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
            segment.befall(host, Fault::Start);
        }
        let settled_at = segment.now + settling_time(&configs);
        let active = assert_settled(&mut segment, settled_at, &configs);
        assert_best(&segment, active);
    }
}
