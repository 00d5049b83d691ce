//! The elections that are recorded.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use xvrrp_common::units::{Instant, Interval, Priority, Version, Vrid};
use xvrrp_vrrp::RouterConfig;

use crate::segment::simulator::Fault;

pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub routers: Vec<RouterConfig>,
    /// Time, router and incident, in the order of time.
    pub incidents: Vec<(Interval, usize, Incident)>,
    pub lasts: Interval,
}

#[derive(Clone, Copy)]
pub enum Incident {
    Fault(Fault),
    /// From now on, the agent handles everything up to this much late.
    Late(Interval),
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => write!(f, "{fault:?}"),
            Self::Late(max) => write!(f, "late by up to {} ms", max.as_nanos() / 1_000_000),
        }
    }
}

use Fault::{Crash, Cut, HandOver, Kill, Mend, Plug, Start, Stop, TakeBack, Unplug};

/// The routers, in ascending order of their addresses.
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

#[expect(clippy::too_many_lines, reason = "a table")]
pub fn all() -> Vec<Scenario> {
    vec![
        scenario("start", "three routers start at once: the best one is Active", three(), 6)
            .at(0, A, Start)
            .at(0, B, Start)
            .at(0, C, Start),
        started("takeover", "the Active router dies", vec![router(1, 200), router(2, 100)], 14).at(8_000, A, Crash),
        scenario("preempt", "a better router comes", vec![router(1, 100), router(2, 200)], 10)
            .at(0, A, Start)
            .at(5_250, B, Start),
        scenario(
            "no-preempt",
            "a better router comes, which does not preempt",
            vec![router(1, 100), RouterConfig { preempt: false, ..router(2, 200) }],
            14,
        )
        .at(0, A, Start)
        .at(5_250, B, Start)
        .at(10_000, A, Crash),
        scenario(
            "preempt-delay",
            "a better router comes, and lets the Active one be for three seconds",
            vec![router(1, 100), RouterConfig { preempt_delay: Interval::from_seconds(3), ..router(2, 200) }],
            13,
        )
        .at(0, A, Start)
        .at(5_250, B, Start),
        started("shutdown", "the Active router stops, and says so with priority 0", three(), 9).at(6_500, C, Stop),
        started(
            "handover",
            "the Active router hands over, and takes the role back later",
            vec![router(1, 100), router(2, 200)],
            16,
        )
        .at(6_500, B, HandOver)
        .at(11_250, B, TakeBack),
        started(
            "handover-end",
            "the Active router hands over, and has to take the role back from one that dies",
            vec![router(1, 100), router(2, 200)],
            14,
        )
        .at(6_500, B, HandOver)
        .at(9_250, A, Crash),
        scenario("owner", "the owner of the addresses comes, and goes", vec![router(1, 100), router(2, 255)], 10)
            .at(0, A, Start)
            .at(5_250, B, Start)
            .at(7_500, B, Stop),
        scenario(
            "equal-priorities",
            "two Active routers of one priority meet: the higher address wins",
            vec![router(1, 100), router(2, 100)],
            10,
        )
        .at(0, A, Start)
        .at(0, B, Cut)
        .at(0, B, Start)
        .at(5_250, B, Mend),
        scenario(
            "lease-end",
            "the agent of the Active router stands still: it serves no longer, and steps down when it wakes",
            vec![RouterConfig { lease: true, ..router(1, 200) }, RouterConfig { lease: true, ..router(2, 100) }],
            20,
        )
        .at(0, A, Start)
        .at(0, B, Start)
        .at(6_000, A, Incident::Late(Interval::from_seconds(13)))
        .at(9_000, A, Incident::Late(Interval::ZERO)),
        scenario(
            "resume",
            "the agent of the Active router is killed, and another goes on from its lease",
            vec![RouterConfig { lease: true, ..router(1, 200) }, RouterConfig { lease: true, ..router(2, 100) }],
            10,
        )
        .at(0, A, Start)
        .at(0, B, Start)
        .at(6_000, A, Kill)
        .at(7_500, A, Start),
        scenario(
            "late-agent",
            "the agent of a Backup is late by far more than its timer, and takes nothing from a living Active",
            vec![router(1, 200), router(2, 100)],
            20,
        )
        .at(0, A, Start)
        .at(0, B, Start)
        .at(6_000, B, Incident::Late(Interval::from_seconds(9))),
        started(
            "version-2",
            "the Active router dies, in version 2",
            vec![
                RouterConfig { version: Version::V2, ..router(1, 200) },
                RouterConfig { version: Version::V2, ..router(2, 100) },
            ],
            14,
        )
        .at(8_000, A, Crash),
        started(
            "interface-down",
            "the Active router loses its carrier, and gets it back",
            vec![router(1, 200), router(2, 100)],
            18,
        )
        .at(6_500, A, Unplug)
        .at(12_250, A, Plug),
        started(
            "learned-interval",
            "a Backup waits by the interval of the Active router, not by its own",
            vec![
                RouterConfig { advert_interval: Interval::from_millis(100), ..router(1, 200) },
                RouterConfig { advert_interval: Interval::from_seconds(2), ..router(2, 100) },
            ],
            4,
        )
        .at(1_050, A, Crash),
    ]
}

/// A router of version 3 that preempts and advertises every second. Its address ends in `number`.
fn router(number: u8, priority: u8) -> RouterConfig {
    RouterConfig {
        vrid: Vrid::new(51).unwrap(),
        version: Version::V3,
        priority: Priority::new(priority),
        advert_interval: Interval::from_seconds(1),
        preempt: true,
        preempt_delay: Interval::ZERO,
        primary: IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)),
        lease: false,
        announce_count: 2,
        announce_interval: Interval::from_millis(500),
        announce_refresh: Interval::ZERO,
        down_timer_adverts: 3,
        answers_lower: true,
        answers_higher: false,
        delayed_until: Instant::default(),
    }
}

fn three() -> Vec<RouterConfig> {
    vec![router(1, 100), router(2, 150), router(3, 200)]
}

fn scenario(name: &'static str, about: &'static str, routers: Vec<RouterConfig>, seconds: u8) -> Scenario {
    Scenario { name, about, routers, incidents: Vec::new(), lasts: Interval::from_seconds(seconds) }
}

/// A scenario in which all routers start at the same time.
fn started(name: &'static str, about: &'static str, routers: Vec<RouterConfig>, seconds: u8) -> Scenario {
    let count = routers.len();
    (0..count).fold(scenario(name, about, routers, seconds), |scenario, router| scenario.at(0, router, Start))
}

impl Scenario {
    fn at(mut self, millis: u64, router: usize, incident: impl Into<Incident>) -> Self {
        self.incidents.push((Interval::from_millis(millis), router, incident.into()));
        self
    }
}

impl From<Fault> for Incident {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
