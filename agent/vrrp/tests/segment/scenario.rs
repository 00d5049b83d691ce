//! Random scenarios: the routers on a segment, their configuration, and their faults.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use proptest::test_runner::{Config as ProptestConfig, RngSeed};
use xvrrp_common::units::{Instant, Interval, Priority, Version, Vrid};
use xvrrp_vrrp::RouterConfig;

use super::simulator::{Fault, Weather};

/// Configures the same cases for each run, unless `PROPTEST_RNG_SEED` or `PROPTEST_CASES` asks for others.
pub fn proptest_config() -> ProptestConfig {
    let mut config = ProptestConfig::default();
    config.failure_persistence = None;
    config.cases = config.cases.max(1_000);
    if matches!(config.rng_seed, RngSeed::Random) {
        config.rng_seed = RngSeed::Fixed(9568);
    }
    config
}

/// Whether the routers of a segment preempt an Active router with a lower priority.
#[derive(Clone, Copy, Debug)]
pub enum Preempt {
    Always,
    /// Some do, some do not, and some do after a delay.
    Mixed,
}

pub fn priorities() -> impl Strategy<Value = Priority> {
    prop_oneof![
        4 => (1..=254_u8).prop_map(Priority::new),
        // Ties, and sometimes an owner.
        2 => (100..=101_u8).prop_map(Priority::new),
        1 => Just(Priority::OWNER),
    ]
}

/// 10 ms to 1 s.
pub fn intervals() -> impl Strategy<Value = Interval> {
    prop_oneof![(1..=10_u16), (1..=100_u16)].prop_map(Interval::from_centiseconds)
}

/// Two to five routers. Version 2 requires one interval for all (RFC 3768 7.1).
pub fn routers(preempt: Preempt) -> impl Strategy<Value = Vec<RouterConfig>> {
    let versions = prop_oneof![Just(Version::V2), Just(Version::V3)];
    (
        versions,
        intervals(),
        any::<bool>(),
        prop::collection::vec((priorities(), intervals(), preemption(preempt)), 2..=5),
    )
        .prop_map(|(version, common_interval, lease, routers)| {
            (1..)
                .zip(routers)
                .map(|(number, (priority, interval, (preempt, preempt_delay)))| RouterConfig {
                    vrid: Vrid::new(51).unwrap(),
                    version,
                    priority,
                    advert_interval: if version == Version::V2 { common_interval } else { interval },
                    preempt,
                    preempt_delay,
                    primary: IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)),
                    announce_count: 3,
                    lease,
                    announce_interval: Interval::from_millis(100),
                    announce_refresh: Interval::ZERO,
                    down_timer_adverts: 3,
                    answers_lower: true,
                    answers_higher: false,
                    delayed_until: Instant::default(),
                })
                .collect()
        })
}

fn preemption(preempt: Preempt) -> BoxedStrategy<(bool, Interval)> {
    match preempt {
        Preempt::Always => Just((true, Interval::ZERO)).boxed(),
        Preempt::Mixed => prop_oneof![
            Just((false, Interval::ZERO)),
            Just((true, Interval::ZERO)),
            (1..=2_000_u64).prop_map(|delay| (true, Interval::from_millis(delay))),
        ]
        .boxed(),
    }
}

/// How long a storm lasts.
pub const STORM: Interval = Interval::from_seconds(10);
/// Longest time that a fault lasts if it ends within the storm.
const LONGEST_FAULT: Interval = Interval::from_seconds(3);
/// Longest delay of a frame in a storm.
pub const STORM_DELAY: Interval = Interval::from_millis(1_500);

pub fn storms() -> impl Strategy<Value = Weather> {
    (0..=90_u8, 0..=30_u8, 0..=STORM_DELAY.as_nanos()).prop_map(|(loss_percent, duplicate_percent, delay)| Weather {
        loss_percent,
        max_losses_in_a_row: u32::MAX,
        duplicate_percent,
        max_delay: Interval::from_nanos(delay),
        simultaneous: false,
    })
}

/// Random faults with their times and hosts, in the order of time. Hosts are counted modulo their number. Every host
/// starts first. Some of the faults last longer than the storm.
pub fn faults() -> impl Strategy<Value = Vec<(Interval, usize, Fault)>> {
    let within = |max: Interval| (0..max.as_nanos()).prop_map(Interval::from_nanos);
    let fault = prop_oneof![
        Just((Fault::Stop, Fault::Start)),
        Just((Fault::Crash, Fault::Start)),
        Just((Fault::Kill, Fault::Start)),
        Just((Fault::Cut, Fault::Mend)),
        Just((Fault::Unplug, Fault::Plug)),
        Just((Fault::HandOver, Fault::TakeBack)),
    ];
    let start = |host| (0..2_000_u64).prop_map(move |when| (Interval::from_millis(when), host, Fault::Start));
    let starts = [start(0), start(1), start(2), start(3), start(4)];
    (starts, prop::collection::vec((0..60_usize, fault, within(STORM), within(LONGEST_FAULT)), 0..=15)).prop_map(
        |(starts, pairs)| {
            let mut faults = Vec::from(starts);
            for (host, (begin, end), begins_at, lasts) in pairs {
                faults.push((begins_at, host, begin));
                // Every handover ends within the storm. Otherwise the best router would not be Active after it.
                let ends_at = match end {
                    Fault::TakeBack => (begins_at + lasts).min(STORM.saturating_sub(Interval::from_nanos(1))),
                    _ => begins_at + lasts,
                };
                if ends_at < STORM {
                    faults.push((ends_at, host, end));
                }
            }
            faults.sort_by_key(|(when, _, _)| *when);
            faults
        },
    )
}
