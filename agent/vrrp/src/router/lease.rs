//! The lease, which is not part of the RFC. The others give up an Active router whose adverts do not arrive after
//! Active_Down_Interval; the lease makes it stop by itself before that.

use xvrrp_common::units::Instant;

use super::VirtualRouter;
use crate::action::{Action, Reason};
use crate::phase::{Active, Phase};

impl VirtualRouter {
    /// Makes the router a Backup once its lease has ended, before anything else: another router may be Active by now.
    pub(super) fn end_lapsed_lease(&mut self, now: Instant) {
        if self.lease_has_ended(now) {
            self.intervals = self.own_intervals();
            let Phase::Active(Active { advert_sent_at, .. }) = self.phase else { return };
            self.become_backup(now, None, Reason::LeaseExpired, now, &[Action::RemoveAddresses]);
            // Adverts of that router may be waiting. All that came after our own last one count.
            if let Phase::Backup(backup) = &mut self.phase {
                backup.heard_at = advert_sent_at;
                backup.timed_from = advert_sent_at;
            }
        }
    }

    /// Returns whether we must not send an advert as Active any more: the lease ended while the agent was not looking.
    /// The next event or timeout makes us Backup.
    pub fn lease_has_ended(&self, now: Instant) -> bool {
        matches!(&self.phase, Phase::Active(active) if active.lease_has_ended(now))
    }

    /// Returns when the lease of an Active router ends.
    pub fn lease_until(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Active(active) => active.lease_until,
            Phase::Initialize | Phase::Backup(_) => None,
        }
    }

    /// Renews the lease: an advert of [`Action::SendAdvert`] was handed to the network at this moment or later. Returns
    /// the new end, if the router is Active and has a lease. No other router takes over before it, as each waits for
    /// its Skew_Time longer (RFC 9568 6.1).
    pub fn advert_sent(&mut self, at: Instant) -> Option<Instant> {
        let lease = self.own_intervals().lease();
        let Phase::Active(active) = &mut self.phase else { return None };
        let until = active.lease_until.as_mut()?;
        *until = at + lease;
        Some(*until)
    }
}
