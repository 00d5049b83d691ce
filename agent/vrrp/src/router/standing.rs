//! How things stand, for whoever asks.

use core::net::IpAddr;

use xvrrp_common::units::{Instant, Interval, Priority};

use super::VirtualRouter;
use crate::action::{Reason, State};
use crate::phase::Phase;

/// What a router's advert makes of its sender, while we are in the state that it left us in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// We are not Backup.
    Ignored,
    /// It gives up its role.
    Releases,
    /// It does not keep us from taking over.
    Lower,
    /// It is the Active router as far as we are concerned.
    Followed,
}

impl VirtualRouter {
    /// The standing of a router with this priority.
    pub fn standing(&self, priority: Priority) -> Standing {
        match &self.phase {
            Phase::Initialize | Phase::Active(_) => Standing::Ignored,
            Phase::Backup(_) if priority.is_release() => Standing::Releases,
            Phase::Backup(backup) if priority < self.priority && backup.preemption.disregards_lower() => {
                Standing::Lower
            }
            Phase::Backup(_) => Standing::Followed,
        }
    }

    pub fn state(&self) -> State {
        self.phase.state()
    }

    /// When it came into its state.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Why it is in its state.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Whether it leaves the role to others ([`Event::StandBy`](crate::Event::StandBy)).
    pub fn stands_by(&self) -> bool {
        self.stands_by
    }

    /// The one that our adverts carry: as configured, or as tracked checks have changed it.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Who is Active: ourselves, or as last heard; `None` if nobody was heard or the last one has given up its role.
    pub fn active(&self) -> Option<(IpAddr, Priority)> {
        match &self.phase {
            Phase::Initialize => None,
            Phase::Backup(backup) => backup.active,
            Phase::Active(_) => Some((self.config.primary, self.priority)),
        }
    }

    /// Active_Adver_Interval: learned while Backup, our own while Active.
    pub fn active_adver_interval(&self) -> Interval {
        self.intervals.active_adver()
    }

    /// Skew_Time.
    pub fn skew(&self) -> Interval {
        self.intervals.skew()
    }

    /// Active_Down_Interval.
    pub fn active_down_interval(&self) -> Interval {
        self.intervals.active_down()
    }

    /// When a Backup takes over, unless it hears of an Active before.
    pub fn active_down_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Backup(backup) => Some(backup.active_down_timer),
            Phase::Initialize | Phase::Active(_) => None,
        }
    }
}
