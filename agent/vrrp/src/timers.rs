//! The intervals of RFC 9568 6.1 and a timer that repeats.

use xvrrp_common::units::{Instant, Interval, Priority, Version};

use super::config::RouterConfig;

/// How many Active_Adver_Intervals, besides Skew_Time, make Active_Down_Interval in RFC 9568 6.1.
const RFC_ADVERTS: u8 = 3;

/// Returns how long the sender of an advert may serve: three intervals, or fewer if its own
/// [`RouterConfig::down_timer_adverts`](super::RouterConfig::down_timer_adverts) is less.
///
/// A router that waits longer itself cannot know that the others do, too. By the RFC, Active_Down_Interval is longer
/// than three intervals, by Skew_Time.
pub fn lease(active_adver: Interval, down_timer_adverts: u8) -> Interval {
    active_adver.saturating_mul(down_timer_adverts.min(RFC_ADVERTS).into())
}

/// Active_Adver_Interval and what follows from it.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Intervals {
    version: Version,
    priority: Priority,
    active_adver: Interval,
    down_timer_adverts: u8,
}

impl Intervals {
    /// Until another Active is heard, its interval is taken to be ours (RFC 9568 6.4.1).
    pub(super) fn new(config: &RouterConfig, priority: Priority) -> Self {
        let RouterConfig { version, advert_interval, down_timer_adverts, .. } = *config;
        Self { version, priority, active_adver: advert_interval, down_timer_adverts }
    }

    /// Adopts the interval of an advert. RFC 9568 6.4.2, 6.4.3 (conformance 23): "Set the Active_Adver_Interval to the
    /// Max Advertise Interval contained in the ADVERTISEMENT". Version 2 learns nothing: there all routers must agree,
    /// and an advert that does not is discarded (RFC 3768 7.1).
    #[must_use]
    pub(super) fn learned(self, interval: Interval) -> Self {
        match self.version {
            Version::V2 => self,
            Version::V3 => Self { active_adver: interval, ..self },
        }
    }

    /// Adopts another priority of ours.
    #[must_use]
    pub(super) fn with_priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    pub(super) fn active_adver(self) -> Interval {
        self.active_adver
    }

    /// Returns Skew_Time: the lower the priority, the longer the wait (RFC 9568 6.1, RFC 3768 6.1).
    pub(super) fn skew(self) -> Interval {
        match self.version {
            Version::V2 => Interval::skew_v2(self.priority),
            Version::V3 => self.active_adver.skew(self.priority),
        }
    }

    pub(super) fn lease(self) -> Interval {
        lease(self.active_adver, self.down_timer_adverts)
    }

    /// Returns Active_Down_Interval, by the formula of RFC 9568 6.1 (conformance 21):
    /// `(3 * Active_Adver_Interval) + Skew_Time`. In RFC 3768 6.1, it is called Master_Down_Interval.
    pub(super) fn active_down(self) -> Interval {
        self.active_adver.saturating_mul(self.down_timer_adverts.into()) + self.skew()
    }
}

/// A timer that repeats, counted from its last deadline so that it does not drift.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Periodic {
    next: Instant,
    interval: Interval,
}

impl Periodic {
    pub(super) fn starting(now: Instant, interval: Interval) -> Self {
        Self { next: now + interval, interval }
    }

    pub(super) fn next(self) -> Instant {
        self.next
    }

    /// Returns when it fired last or was started.
    pub(super) fn begun(self) -> Instant {
        self.next - self.interval
    }

    pub(super) fn restart(&mut self, now: Instant) {
        self.next = now + self.interval;
    }

    /// Returns whether it fires now. One that is late by more than its interval (a starved agent, a machine that slept)
    /// fires once and starts afresh, instead of making up for every deadline that it missed.
    pub(super) fn fires(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.next = self.next + self.interval;
        if self.next <= now {
            self.restart(now);
        }
        true
    }
}
