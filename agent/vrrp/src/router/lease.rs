//! The lease, which is no matter of the RFC: an Active router that cannot make itself heard is given up by the others after
//! Active_Down_Interval, and has to know that by itself.

use xvrrp_common::units::Instant;

use super::VirtualRouter;
use crate::action::{Action, Reason};
use crate::phase::{Active, Phase};

impl VirtualRouter {
    /// Another router may be Active by now: before anything else is done, we are not. Then we listen like any Backup.
    pub(super) fn end_lapsed_lease(&mut self, now: Instant) {
        if self.lease_has_ended(now) {
            self.intervals = self.own_intervals();
            let Phase::Active(Active { advert_sent_at, .. }) = self.phase else { return };
            self.become_backup(now, None, Reason::LeaseExpired, now, &[Action::RemoveAddresses]);
            // Its adverts may have been waiting for us. Whatever came after our own last one counts.
            if let Phase::Backup(backup) = &mut self.phase {
                backup.heard_at = advert_sent_at;
                backup.timed_from = advert_sent_at;
            }
        }
    }

    /// Whether we must not send an advert as Active any more: the lease ended while the agent was not looking. The next
    /// event or timeout makes us Backup.
    pub fn lease_has_ended(&self, now: Instant) -> bool {
        matches!(&self.phase, Phase::Active(active) if active.lease_has_ended(now))
    }

    /// When the lease of an Active router ends.
    pub fn lease_until(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Active(active) => active.lease_until,
            Phase::Initialize | Phase::Backup(_) => None,
        }
    }

    /// An advert of [`Action::SendAdvert`] was handed to the network at this moment or later. Returns until when we may
    /// serve on account of it, if we are Active and have a lease: no other router gives us up before, as each waits for
    /// its Skew_Time longer (RFC 9568 6.1).
    pub fn advert_sent(&mut self, at: Instant) -> Option<Instant> {
        let lease = self.own_intervals().lease();
        let Phase::Active(active) = &mut self.phase else { return None };
        let until = active.lease_until.as_mut()?;
        *until = at + lease;
        Some(*until)
    }
}
