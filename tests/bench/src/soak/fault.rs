//! Faults of a router.

use std::fmt;
use std::time::Duration;

use super::shim::Impairment;
use xvrrp_lab::Shortage;
use xvrrp_lab::random::Random;

/// A fault of a router, which is undone later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Kills the agent (SIGKILL), and starts it again later.
    Kill,
    /// Stops the agent (SIGSTOP), and continues it later (SIGCONT).
    Stop,
    /// Ends the agent gracefully, and starts it again later.
    Restart,
    /// Lets another agent take over from the agent (`xvrrp run --replace`). The first one must have ended later.
    Replace,
    /// Reloads the agent (SIGHUP).
    Reload,
    /// Pulls the cable, so that neither end has a carrier.
    Pull,
    /// Cuts the router off behind its switch port, without any change that it could notice.
    Isolate,
    /// Sets the router's interface down.
    InterfaceDown,
    /// Changes the MAC address of the interface.
    MacAddress,
    /// Moves the interface to another network namespace.
    InterfaceGone,
    /// Changes the primary address of the interface.
    PrimaryAddress,
    /// Detaches XDP by hand. The agent must attach it again.
    Detach,
    /// Deletes the virtual address from the router that has it. The agent must restore it.
    AddressDeleted,
    /// Deletes the virtual MAC from the unicast filter of the router that has the virtual address. The agent must
    /// restore it.
    FilterDeleted,
    /// Changes the primary address of a second interface, which only one virtual router uses.
    SideAddress,
    /// Fills the directory of the control socket.
    Full(Shortage),
    /// Impairs adverts on the cable, in both directions.
    Impair(Impairment),
    /// Steps the wall clock of the machine by this number of milliseconds.
    WallClock(i64),
}

/// All faults with their relative frequencies. A fault with frequency 0 is turned off.
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
/// Frequency of [`Fault::WallClock`] if it is turned on. It is off by default, because the clock is that of the whole
/// machine.
const WALL_CLOCK_FREQUENCY: u8 = 10;
/// Longest delay of an advert. If an advert was later, and the one before it was lost while the cable was changed, a
/// Backup would take over.
const LATEST: Duration = Duration::from_millis(80);

/// Part of the router that a fault affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Concern {
    Process,
    Network,
    /// Objects that the agent has installed on the host, or the place where it keeps its files.
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

    /// Returns whether only the agent can undo the fault. Two routers may serve until it has: a fence that was detached
    /// by hand stays detached while the agent is dead or stopped. That is not a bug in the agent.
    const fn needs_agent(self) -> bool {
        matches!(self, Self::Detach | Self::MacAddress)
    }

    /// Returns whether the fault includes the start of an agent as a new process, which depends on files.
    const fn needs_files(self) -> bool {
        matches!(self, Self::Kill | Self::Restart | Self::Replace)
    }

    /// Returns whether a router may have both faults at once, which is the case if they affect different parts of it.
    /// An agent that cannot create its control socket may refuse to start, so a full directory excludes a start.
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

    /// Returns whether the fault gives no router a reason to change its role.
    pub const fn keeps_roles(self) -> bool {
        matches!(self, Self::Reload | Self::Replace) || matches!(self.concern(), Concern::Host)
    }

    /// Returns the kinds of all faults, including those that are turned off by default.
    pub fn kinds() -> impl Iterator<Item = &'static str> {
        FREQUENCIES.iter().map(|(_, fault)| fault.kind())
    }

    /// Returns whether the fault impairs adverts on a cable.
    pub const fn is_impairment(self) -> bool {
        matches!(self, Self::Impair(_))
    }
}

impl Fault {
    /// Returns the name of the fault without its strength.
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
    /// Draws one of the faults that are turned on, by their frequencies.
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
                let by = i64::try_from(chance.up_to(Duration::from_hours(1)).as_millis()).unwrap_or_default();
                Self::WallClock(if chance.happens(50) { by } else { -by })
            }
            other => other,
        }
    }
}
