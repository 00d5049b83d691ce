//! The states of RFC 9568 6.3, each with the timers that run in it.

use core::net::IpAddr;

use xvrrp_common::units::{Instant, Interval, Priority};

use super::action::{Reason, State};
use super::config::RouterConfig;
use super::preempt::Preemption;
use super::timers::Periodic;

#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Phase {
    Initialize,
    Backup(Backup),
    Active(Active),
}

#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Backup {
    pub(super) active_down_timer: Instant,
    /// Reason for the takeover if the timer expires.
    pub(super) outlook: Reason,
    /// The arrival from which the timer counts.
    pub(super) timed_from: Instant,
    /// Arrival of the newest advert that was reported, whether it set the timer or not.
    pub(super) heard_at: Instant,
    /// Sender of that advert and its priority, or `None` if the advert gave up the role.
    pub(super) active: Option<(IpAddr, Priority)>,
    pub(super) preemption: Preemption,
}

#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Active {
    pub(super) adver_timer: Periodic,
    pub(super) advert_sent_at: Instant,
    /// End of the time in which no other router can have taken over. `None` without a lease.
    pub(super) lease_until: Option<Instant>,
    announce_timer: Periodic,
    announcements_left: u8,
    announce_refresh: Interval,
}

impl Phase {
    pub(super) fn state(&self) -> State {
        match self {
            Self::Initialize => State::Initialize,
            Self::Backup(_) => State::Backup,
            Self::Active(_) => State::Active,
        }
    }

    /// The earliest deadline of its timers.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Initialize => None,
            Self::Backup(backup) => {
                [Some(backup.active_down_timer), backup.preemption.ends_at()].into_iter().flatten().min()
            }
            Self::Active(active) => {
                [Some(active.adver_timer.next()), active.next_announcement()].into_iter().flatten().min()
            }
        }
    }
}

impl Active {
    /// The first advert and the first announcement leave now.
    pub(super) fn new(config: &RouterConfig, lease_until: Instant, now: Instant) -> Self {
        Self {
            adver_timer: Periodic::starting(now, config.advert_interval),
            advert_sent_at: now,
            lease_until: config.lease.then_some(lease_until),
            announce_timer: Periodic::starting(now, config.announce_interval),
            announcements_left: config.announce_count.saturating_sub(1),
            announce_refresh: config.announce_refresh,
        }
    }

    pub(super) fn lease_has_ended(&self, now: Instant) -> bool {
        self.lease_until.is_some_and(|until| until <= now)
    }

    /// Returns whether the virtual addresses are to be announced again.
    pub(super) fn announces(&mut self, now: Instant) -> bool {
        if self.announcements_left > 0 {
            let announces = self.announce_timer.fires(now);
            self.announcements_left -= u8::from(announces);
            return announces;
        }
        let refreshes = self.next_announcement().is_some_and(|at| at <= now);
        if refreshes {
            self.announce_timer.restart(now);
        }
        refreshes
    }

    /// Begins the announcements again, as after a takeover. Does nothing within an interval of the last one, because
    /// any host in the segment can cause this. Returns whether the first one leaves now.
    pub(super) fn announces_again(&mut self, config: &RouterConfig, now: Instant) -> bool {
        if now < self.announce_timer.begun() + config.advert_interval {
            return false;
        }
        self.announce_timer.restart(now);
        self.announcements_left = config.announce_count.saturating_sub(1);
        true
    }

    /// Repeats an announcement that could not be sent.
    pub(super) fn announcement_failed(&mut self) {
        self.announcements_left = self.announcements_left.saturating_add(1);
    }

    fn next_announcement(&self) -> Option<Instant> {
        if self.announcements_left > 0 {
            return Some(self.announce_timer.next());
        }
        (self.announce_refresh > Interval::ZERO).then(|| self.announce_timer.begun() + self.announce_refresh)
    }
}
