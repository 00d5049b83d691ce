//! What will go wrong, when and for how long: decided by the seed alone, before any of it happens.

use std::fmt;
use std::time::Duration;

use super::shim::Impairment;
use crate::random::Random;

/// Something that goes wrong with a router and is put right again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL to the agent; later it is started again.
    Kill,
    /// SIGSTOP; later SIGCONT.
    Stop,
    /// A graceful end; later it is started again.
    Restart,
    /// Another agent takes over from it (`xvrrp run --replace`); later the first one must have ended.
    Replace,
    /// No carrier on either end of the cable.
    Pull,
    /// Cut off behind the switch port.
    Isolate,
    /// Set down by the administrator of the router.
    InterfaceDown,
    /// Another MAC address; later the old one again.
    MacAddress,
    /// Gone to another network namespace; later it comes back.
    InterfaceGone,
    /// Another primary address; later the old one again.
    PrimaryAddress,
    /// XDP detached by hand; that the agent puts it right is what is expected of it.
    Detach,
    /// The cable does something to the adverts on it, both ways.
    Impair(Impairment),
    /// The machine's wall clock jumps by so many milliseconds; later back.
    WallClock(i64),
}

/// With the relative frequency of each. Those of frequency 0 are turned off.
const FREQUENCIES: &[(u8, Fault)] = &[
    (20, Fault::Kill),
    (16, Fault::Stop),
    (6, Fault::Restart),
    (8, Fault::Replace),
    (12, Fault::Pull),
    (12, Fault::Isolate),
    (8, Fault::InterfaceDown),
    (8, Fault::MacAddress),
    (6, Fault::InterfaceGone),
    (6, Fault::PrimaryAddress),
    (8, Fault::Detach),
    (6, Fault::Impair(Impairment::Delay { by: Duration::ZERO })),
    (6, Fault::Impair(Impairment::Loss { percent: 0 })),
    (4, Fault::Impair(Impairment::Duplicate { percent: 0, later: Duration::ZERO })),
    (6, Fault::Impair(Impairment::Reorder { within: Duration::ZERO })),
    (0, Fault::WallClock(0)),
];
/// Of [`Fault::WallClock`], where it is asked for: the clock is the whole machine's.
const WALL_CLOCK_FREQUENCY: u8 = 10;

impl Fault {
    /// Of the process, not of what it is connected to.
    const fn concerns_process(self) -> bool {
        matches!(self, Self::Kill | Self::Stop | Self::Restart | Self::Replace)
    }

    /// Who is to put it right is the agent itself.
    const fn needs_agent(self) -> bool {
        matches!(self, Self::Detach | Self::MacAddress)
    }

    /// Whether one may happen to a router with the other: one fault of its process and one of its network. A fence that
    /// somebody takes down by hand stays down while the agent is dead or stopped, and that is no fault of the agent.
    fn goes_with(self, other: Self) -> bool {
        self.concerns_process() != other.concerns_process() && !self.needs_agent() && !other.needs_agent()
    }

    const fn is_impairment(self) -> bool {
        matches!(self, Self::Impair(_))
    }
}

impl Fault {
    /// Without its strength.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Stop => "SIGSTOP",
            Self::Restart => "graceful stop",
            Self::Replace => "replace",
            Self::Pull => "pull the cable",
            Self::Isolate => "isolate",
            Self::InterfaceDown => "interface down",
            Self::MacAddress => "another MAC address",
            Self::InterfaceGone => "interface gone",
            Self::PrimaryAddress => "another primary address",
            Self::Detach => "detach XDP",
            Self::Impair(Impairment::Delay { .. }) => "delay",
            Self::Impair(Impairment::Loss { .. }) => "loss",
            Self::Impair(Impairment::Duplicate { .. }) => "duplicate",
            Self::Impair(Impairment::Reorder { .. }) => "reorder",
            Self::WallClock(_) => "wall clock",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::Impair(Impairment::Delay { by }) => write!(f, " by {by:?}"),
            Self::Impair(Impairment::Loss { percent }) => write!(f, " of {percent} %"),
            Self::Impair(Impairment::Duplicate { percent, later }) => write!(f, " of {percent} % {later:?} later"),
            Self::Impair(Impairment::Reorder { within }) => write!(f, " within {within:?}"),
            Self::WallClock(by) => write!(f, " by {by} ms"),
            _ => Ok(()),
        }
    }
}

/// A fault of one router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// After the start of the episode.
    pub after: Duration,
    pub lasting: Duration,
    /// Its index in the lab.
    pub router: usize,
    pub fault: Fault,
}

/// Faults that happen together or soon after each other; then the routers are left alone until one of them serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    pub faults: Vec<Planned>,
    /// Before the next episode.
    pub rest: Duration,
}

const MOST_FAULTS: usize = 6;
const SPREAD: Duration = Duration::from_millis(1500);
const SHORTEST: Duration = Duration::from_millis(4);
const LONGEST: Duration = Duration::from_millis(2500);
/// About as long as a lease lasts and a Backup waits: where a little more or less makes a difference.
const CRITICAL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(420));
/// Long enough for some adverts to be concerned.
const SHORTEST_IMPAIRMENT: Duration = Duration::from_millis(600);
/// An advert late by more, after one that was lost while the cable was changed, would let a Backup take over.
const LATEST: Duration = Duration::from_millis(80);

impl Episode {
    /// The episode with this number under this seed.
    pub fn new(seed: u64, number: u64, routers: usize, with_wall_clock: bool) -> Self {
        // Each by its own, so that one can be repeated without those before it.
        let mut chance = Random::new(Random::new(seed).next().wrapping_add(number));
        let mut faults: Vec<Planned> = Vec::new();
        for _ in 0..=chance.below(MOST_FAULTS) {
            let planned = Planned::any(&mut chance, routers, with_wall_clock);
            let mut beside = faults.iter().filter(|other| other.router == planned.router);
            let goes = beside.all(|other| other.fault.goes_with(planned.fault));
            // What two cables do to adverts would add up to a partition.
            let impaired = planned.fault.is_impairment() && faults.iter().any(|other| other.fault.is_impairment());
            if goes && !impaired {
                faults.push(planned);
            }
        }
        Self { faults, rest: chance.up_to(Duration::from_millis(400)) }
    }
}

impl Planned {
    fn any(chance: &mut Random, routers: usize, with_wall_clock: bool) -> Self {
        let after = chance.up_to(SPREAD);
        // The router that is Active when all are well gets half of it.
        let router = if chance.happens(30) { 0 } else { chance.below(routers) };
        let frequency = |&(frequency, fault): &(u8, Fault)| match fault {
            Fault::WallClock(_) if with_wall_clock => usize::from(WALL_CLOCK_FREQUENCY),
            _ => usize::from(frequency),
        };
        let mut left = chance.below(FREQUENCIES.iter().map(frequency).sum());
        let drawn = FREQUENCIES.iter().find(|entry| {
            let here = left < frequency(entry);
            left = left.saturating_sub(frequency(entry));
            here
        });
        let fault = drawn.map_or(Fault::Kill, |&(_, fault)| fault).with_any_strength(chance);
        let (least, most) = match fault {
            Fault::Impair(_) => (SHORTEST_IMPAIRMENT, LONGEST),
            _ if chance.happens(25) => CRITICAL,
            _ => (SHORTEST, LONGEST),
        };
        Self { after, lasting: chance.any_length(least, most), router, fault }
    }
}

impl Fault {
    fn with_any_strength(self, chance: &mut Random) -> Self {
        let percent = 10 + u8::try_from(chance.below(81)).unwrap_or_default();
        let time = chance.up_to(LATEST);
        match self {
            Self::Impair(Impairment::Delay { .. }) => Self::Impair(Impairment::Delay { by: time }),
            Self::Impair(Impairment::Loss { .. }) => Self::Impair(Impairment::Loss { percent }),
            Self::Impair(Impairment::Duplicate { .. }) => Self::Impair(Impairment::Duplicate { percent, later: time }),
            Self::Impair(Impairment::Reorder { .. }) => Self::Impair(Impairment::Reorder { within: time }),
            Self::WallClock(_) => {
                let by = i64::try_from(chance.up_to(Duration::from_secs(3600)).as_millis()).unwrap_or_default();
                Self::WallClock(if chance.happens(50) { by } else { -by })
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_brings_the_same_faults_and_another_seed_others() {
        let plan = |seed| (0..50).map(|number| Episode::new(seed, number, 3, false)).collect::<Vec<_>>();
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
    }

    #[test]
    fn every_fault_that_is_turned_on_happens() {
        let faults: Vec<_> = (0..500).flat_map(|number| Episode::new(7, number, 3, true).faults).collect();
        for (_, fault) in FREQUENCIES {
            let kind = std::mem::discriminant(fault);
            assert!(faults.iter().any(|planned| std::mem::discriminant(&planned.fault) == kind), "{fault}");
        }
        assert!((0..3).all(|router| faults.iter().any(|planned| planned.router == router)));
    }

    #[test]
    fn a_fence_is_not_taken_down_while_its_agent_may_be_dead() {
        for number in 0..2000 {
            let faults = Episode::new(3, number, 3, false).faults;
            for (index, one) in faults.iter().enumerate() {
                let others = faults[index + 1..].iter().filter(|other| other.router == one.router);
                assert!(others.clone().all(|other| other.fault.goes_with(one.fault)), "{faults:?}");
            }
            assert!(faults.iter().filter(|planned| planned.fault.is_impairment()).count() <= 1, "{faults:?}");
        }
    }
}
