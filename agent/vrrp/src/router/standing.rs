//! The state of a virtual router for status and log.

use core::net::IpAddr;

use xvrrp_common::units::{Instant, Interval, Priority};

use super::VirtualRouter;
use crate::action::{Reason, State};
use crate::config::RouterConfig;
use crate::phase::Phase;

/// What the sender of an advert is to us, in the state that the advert left us in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// We are not Backup.
    Ignored,
    /// It gives up its role.
    Releases,
    /// It does not keep us from taking over.
    Lower,
    /// It is the Active router to us.
    Followed,
}

impl VirtualRouter {
    /// Returns the standing of a router with this priority.
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

    /// Returns the configuration that it was created with.
    pub fn config(&self) -> &RouterConfig {
        &self.config
    }

    /// Returns the state that the virtual router is in.
    pub fn state(&self) -> State {
        self.phase.state()
    }

    /// Returns when it entered its [`RouterState`](crate::RouterState), or was created in it.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Returns when a Backup heard the first advert after it became Backup, not counting adverts with priority 0. The
    /// advert that made it Backup counts.
    pub fn first_heard_at(&self) -> Option<Instant> {
        self.first_heard_at
    }

    /// Returns why it is in its state.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns whether it leaves the role to others ([`Event::StandBy`](crate::Event::StandBy)).
    pub fn stands_by(&self) -> bool {
        self.stands_by
    }

    /// Returns the priority that our adverts carry: as configured, or as tracked checks have changed it.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Returns the Active router: ourselves, or the one last heard; `None` if none was heard or the last one has given
    /// up its role.
    pub fn active(&self) -> Option<(IpAddr, Priority)> {
        match &self.phase {
            Phase::Initialize => None,
            Phase::Backup(backup) => backup.active,
            Phase::Active(_) => Some((self.config.primary, self.priority)),
        }
    }

    /// Returns Active_Adver_Interval: learned while Backup, our own while Active.
    pub fn active_adver_interval(&self) -> Interval {
        self.intervals.active_adver()
    }

    /// Returns Skew_Time.
    pub fn skew(&self) -> Interval {
        self.intervals.skew()
    }

    /// Returns Active_Down_Interval.
    pub fn active_down_interval(&self) -> Interval {
        self.intervals.active_down()
    }

    /// Returns when a Backup takes over unless it hears an Active router before.
    pub fn active_down_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Backup(backup) => Some(backup.active_down_timer),
            Phase::Initialize | Phase::Active(_) => None,
        }
    }
}
