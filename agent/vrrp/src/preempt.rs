//! Preempt_Mode (RFC 9568 6.1), and keepalived's `preempt_delay` on top of it.

use xvrrp_common::units::{Instant, Interval};

/// What a Backup makes of an Active whose priority is lower than ours.
///
/// The delay is no matter of the RFC. It gives a router that has come back time to get ready (routes, sessions, state)
/// while somebody else serves. It counts from the first advert of a lower priority. It never holds up the takeover
/// from an Active that has died: all it does is to let lower-priority adverts restart the Active_Down_Timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Preemption {
    /// Let it be Active.
    Off,
    /// Disregard it once it has been there for `delay`.
    Pending { delay: Interval },
    /// Disregard it from this moment on.
    Delayed { until: Instant },
    /// Disregard it: its adverts leave the Active_Down_Timer alone, which then ends by itself.
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

    /// Whether the delay ends now.
    pub(super) fn fires(&mut self, now: Instant) -> bool {
        let fires = self.ends_at().is_some_and(|until| until <= now);
        if fires {
            *self = Self::On;
        }
        fires
    }
}
