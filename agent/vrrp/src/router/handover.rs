//! Standing by: an operator hands the role over, and it stays with the others. This is not part of the RFC, in whose
//! terms it is priority 0 first (RFC 9568 6.4.3) and Preempt_Mode off from then on (6.1).

use xvrrp_common::units::{Instant, Priority};

use super::VirtualRouter;
use crate::action::{Action, Reason};
use crate::phase::Phase;
use crate::preempt::Preemption;

impl VirtualRouter {
    /// Stands by, or ends that. A router that stands by is a Backup that leaves an Active of a lower priority alone. So
    /// it takes over again, and stays Active, if no router takes the role or the one that has it fails or gives it up.
    pub(super) fn stand_by(&mut self, stands_by: bool, now: Instant) {
        if self.config.priority.is_owner() {
            return;
        }
        self.end_lapsed_lease(now);
        match (&self.phase, stands_by) {
            (Phase::Initialize, _) => self.set_stand_by(stands_by),
            (Phase::Backup(_), _) => self.stand_by_in_backup(stands_by),
            (Phase::Active(_), true) => {
                self.stands_by = true;
                self.intervals = self.own_intervals();
                let release = [
                    Action::SendAdvert { priority: Priority::RELEASE },
                    Action::RemoveAddresses,
                    Action::SetStandBy(true),
                ];
                self.become_backup(now, None, Reason::HandedOver, now, &release);
            }
            (Phase::Active(_), false) => {}
        }
    }

    fn stand_by_in_backup(&mut self, stands_by: bool) {
        if self.stands_by == stands_by {
            return;
        }
        self.set_stand_by(stands_by);
        // An operator who wants the role back does not wait for preempt_delay.
        let preemption = if self.config.preempt && !stands_by { Preemption::On } else { Preemption::Off };
        let Phase::Backup(backup) = &mut self.phase else { return };
        backup.preemption = preemption;
        let lower = backup.active.is_some_and(|(_, theirs)| theirs < self.priority);
        if lower {
            backup.outlook = if preemption.disregards_lower() { Reason::Preempted } else { Reason::ActiveDown };
        }
        self.report_preempt();
    }

    pub(super) fn set_stand_by(&mut self, stands_by: bool) {
        if self.stands_by != stands_by {
            self.stands_by = stands_by;
            self.actions.push_back(Action::SetStandBy(stands_by));
        }
    }
}
