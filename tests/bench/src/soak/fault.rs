//! What can go wrong with a router.

use std::fmt;
use std::time::Duration;

use super::shim::Impairment;
use xvrrp_lab::Shortage;
use xvrrp_lab::random::Random;

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
    /// SIGHUP to the agent.
    Reload,
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
    /// The virtual address is taken off whichever router has it, by somebody else; the agent puts it back.
    AddressDeleted,
    /// The virtual MAC is taken out of the unicast filter of whichever router has the virtual address; the agent puts it back.
    FilterDeleted,
    /// Another primary address on an interface that the virtual routers of the others are not on.
    SideAddress,
    /// The directory of the control socket is full; later it is not.
    Full(Shortage),
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
    (8, Fault::Reload),
    (12, Fault::Pull),
    (12, Fault::Isolate),
    (8, Fault::InterfaceDown),
    (8, Fault::MacAddress),
    (6, Fault::InterfaceGone),
    (6, Fault::PrimaryAddress),
    (8, Fault::Detach),
    (8, Fault::AddressDeleted),
    (6, Fault::FilterDeleted),
    (8, Fault::SideAddress),
    (4, Fault::Full(Shortage::Inodes)),
    (2, Fault::Full(Shortage::Space)),
    (6, Fault::Impair(Impairment::Delay { by: Duration::ZERO })),
    (6, Fault::Impair(Impairment::Loss { percent: 0 })),
    (4, Fault::Impair(Impairment::Duplicate { percent: 0, later: Duration::ZERO })),
    (6, Fault::Impair(Impairment::Reorder { within: Duration::ZERO })),
    (0, Fault::WallClock(0)),
];
/// Of [`Fault::WallClock`], where it is asked for: the clock is the whole machine's.
const WALL_CLOCK_FREQUENCY: u8 = 10;
/// An advert late by more, after one that was lost while the cable was changed, would let a Backup take over.
const LATEST: Duration = Duration::from_millis(80);

/// What a fault is a fault of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Concern {
    Process,
    Network,
    /// What the agent has put on the host, or where it keeps its files.
    Host,
}

impl Fault {
    const fn concern(self) -> Concern {
        match self {
            Self::Kill | Self::Stop | Self::Restart | Self::Replace | Self::Reload => Concern::Process,
            Self::AddressDeleted | Self::FilterDeleted | Self::SideAddress | Self::Full(_) => Concern::Host,
            _ => Concern::Network,
        }
    }

    /// Who is to put it right is the agent itself, and until it has, two may serve: a fence that somebody takes down
    /// by hand stays down while the agent is dead or stopped, and that is no fault of the agent.
    const fn needs_agent(self) -> bool {
        matches!(self, Self::Detach | Self::MacAddress)
    }

    /// An agent has nothing to go on with but files.
    const fn needs_files(self) -> bool {
        matches!(self, Self::Kill | Self::Restart | Self::Replace)
    }

    /// Whether one may happen to a router with the other: one fault of each concern. An agent that is started where it
    /// cannot make its control socket may refuse to: whoever starts it sees that.
    pub const fn goes_with(self, other: Self) -> bool {
        let same = matches!(
            (self.concern(), other.concern()),
            (Concern::Process, Concern::Process)
                | (Concern::Network, Concern::Network)
                | (Concern::Host, Concern::Host)
        );
        let full = matches!(self, Self::Full(_)) && other.needs_files()
            || matches!(other, Self::Full(_)) && self.needs_files();
        !same && !full && !self.needs_agent() && !other.needs_agent()
    }

    /// Whether no router has a reason to change its role.
    pub const fn keeps_roles(self) -> bool {
        matches!(self, Self::Reload | Self::Replace) || matches!(self.concern(), Concern::Host)
    }

    /// All that are turned on, or can be.
    pub fn kinds() -> impl Iterator<Item = &'static str> {
        FREQUENCIES.iter().map(|(_, fault)| fault.kind())
    }

    pub const fn is_impairment(self) -> bool {
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
            Self::Reload => "reload",
            Self::Pull => "pull the cable",
            Self::Isolate => "isolate",
            Self::InterfaceDown => "interface down",
            Self::MacAddress => "another MAC address",
            Self::InterfaceGone => "interface gone",
            Self::PrimaryAddress => "another primary address",
            Self::Detach => "detach XDP",
            Self::AddressDeleted => "delete the address",
            Self::FilterDeleted => "delete the filter entry",
            Self::SideAddress => "another address elsewhere",
            Self::Full(Shortage::Inodes) => "no inodes in /run",
            Self::Full(Shortage::Space) => "no space in /run",
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

impl Fault {
    /// One of those that are turned on, each as often as it should be.
    pub fn any(chance: &mut Random, with_wall_clock: bool) -> Self {
        let frequency = |&(frequency, fault): &(u8, Self)| match fault {
            Self::WallClock(_) if with_wall_clock => usize::from(WALL_CLOCK_FREQUENCY),
            _ => usize::from(frequency),
        };
        let mut left = chance.below(FREQUENCIES.iter().map(frequency).sum());
        let drawn = FREQUENCIES.iter().find(|entry| {
            let here = left < frequency(entry);
            left = left.saturating_sub(frequency(entry));
            here
        });
        drawn.map_or(Self::Kill, |&(_, fault)| fault).with_any_strength(chance)
    }

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
