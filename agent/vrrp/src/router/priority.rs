//! The priority. In the RFC it never changes; here tracked checks change it.

use xvrrp_common::units::{Instant, Interval, Priority};

use super::VirtualRouter;
use crate::action::{Action, Reason};
use crate::phase::Phase;

impl VirtualRouter {
    /// Treats the priority as if it had always been this one, except for adverts already received: the latest advert
    /// that the kernel half has recorded is handled before any takeover.
    pub(super) fn change_priority(&mut self, priority: Priority, now: Instant) {
        let valid = !priority.is_release() && priority.is_owner() == self.config.priority.is_owner();
        if !valid || priority == self.priority {
            return;
        }
        self.end_lapsed_lease(now);
        let skew = self.intervals.skew();
        self.priority = priority;
        self.intervals = self.intervals.with_priority(priority);
        self.actions.push_back(Action::SetPriority(priority));
        match self.phase {
            Phase::Initialize => {}
            Phase::Backup(_) => self.change_priority_in_backup(skew, now),
            // A router that has a higher one now learns that without waiting for our next advert.
            Phase::Active(_) => self.send_advert(now),
        }
    }

    fn change_priority_in_backup(&mut self, former_skew: Interval, now: Instant) {
        let (priority, skew, preemption) = (self.priority, self.intervals.skew(), self.preemption());
        let Phase::Backup(backup) = &mut self.phase else { return };
        // Active_Down_Interval changes by what Skew_Time does.
        backup.active_down_timer =
            backup.active_down_timer - former_skew.saturating_sub(skew) + skew.saturating_sub(former_skew);
        match backup.active {
            Some((_, theirs)) if theirs >= priority => {
                backup.preemption = preemption;
                backup.outlook = Reason::ActiveDown;
            }
            Some(_) if backup.preemption.disregards_lower() => backup.outlook = Reason::Preempted,
            Some(_) => backup.preemption.lower_heard(now),
            None => {}
        }
        self.report_preempt();
    }
}
