//! Preempt_Mode (RFC 9568 6.1), and keepalived's `preempt_delay` on top of it.

use xvrrp_common::units::{Instant, Interval};

/// How a Backup treats an Active whose priority is lower than its own.
///
/// The delay is not part of the RFC. It gives a router that has come back time to get ready (routes, sessions, state)
/// while another one serves. It counts from the first advert of a lower priority. It never delays the takeover from an
/// Active that has died, because it only lets lower-priority adverts restart the Active_Down_Timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Preemption {
    /// Leave it alone.
    Off,
    /// Ignore it once it has been there for `delay`.
    Pending { delay: Interval },
    /// Ignore it from this moment on.
    Delayed { until: Instant },
    /// Ignore it: its adverts leave the Active_Down_Timer alone, which then ends by itself.
    On,
}

impl Preemption {
    pub(super) fn new(preempt: bool, delay: Interval) -> Self {
        match (preempt, delay) {
            (false, _) => Self::Off,
            (true, Interval::ZERO) => Self::On,
            (true, delay) => Self::Pending { delay },
        }
    }

    pub(super) fn disregards_lower(self) -> bool {
        self == Self::On
    }

    pub(super) fn ends_at(self) -> Option<Instant> {
        match self {
            Self::Delayed { until } => Some(until),
            Self::Off | Self::Pending { .. } | Self::On => None,
        }
    }

    /// An Active with a lower priority was heard.
    pub(super) fn lower_heard(&mut self, at: Instant) {
        if let Self::Pending { delay } = *self {
            *self = Self::Delayed { until: at + delay };
        }
    }

    /// Returns whether the delay ends now.
    pub(super) fn fires(&mut self, now: Instant) -> bool {
        let fires = self.ends_at().is_some_and(|until| until <= now);
        if fires {
            *self = Self::On;
        }
        fires
    }
}
