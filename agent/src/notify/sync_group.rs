//! Derives the state changes of a sync group from those of its members: the group has changed once its last member has.

use std::collections::BTreeMap;

use xvrrp_config::{Config, GroupIndex};
use xvrrp_vrrp::RouterState;

use crate::identity::Place;
use crate::notify::audience::StateChange;
use crate::plan::Plans;
use crate::plan::cause::Cause;

/// The states of all sync groups and their members.
#[derive(Debug)]
pub struct SyncGroups(Vec<GroupState>);

#[derive(Debug)]
struct GroupState {
    /// State of each member in each of its families, by place; `None` until it has entered one.
    states: BTreeMap<Place, Option<RouterState>>,
    /// The state of the group that was reported last.
    reported: Option<RouterState>,
    /// The reason of the first member that has changed since then.
    cause: Option<Cause>,
    /// Whether a member has entered a new state since then, rather than continued in one.
    is_new: bool,
}

impl SyncGroups {
    /// Creates the groups of the configuration, whose members have no state yet.
    pub fn new(config: &Config, plans: &Plans<'_>) -> Self {
        let group = |index| {
            let index = GroupIndex::new(index);
            let members = plans.all().filter(|(_, member)| member.sync_group == Some(index));
            GroupState::new(members.map(|(place, _)| place))
        };
        Self((0..config.sync_groups.len()).map(group).collect())
    }

    /// Records that the virtual router at `place` has entered a state, or continues in it if `is_new` is false. If its
    /// group as a whole is now in another state than was reported last, returns the group, its change, and
    /// whether that is new.
    pub fn record(
        &mut self,
        place: Place,
        change: &StateChange,
        is_new: bool,
    ) -> Option<(GroupIndex, StateChange, bool)> {
        let (index, group) = self.0.iter_mut().enumerate().find(|(_, group)| group.states.contains_key(&place))?;
        group.states.insert(place, Some(change.state));
        group.is_new |= is_new;
        let reason = group.cause.take().unwrap_or_else(|| change.reason.clone());
        if group.states.values().any(|state| *state != Some(change.state)) {
            group.cause = Some(reason);
            return None;
        }
        let is_new = std::mem::take(&mut group.is_new);
        let changed = group.reported.replace(change.state) != Some(change.state);
        changed.then(|| (GroupIndex::new(index), StateChange { reason, ..change.clone() }, is_new))
    }
}

impl GroupState {
    fn new(members: impl Iterator<Item = Place>) -> Self {
        Self { states: members.map(|place| (place, None)).collect(), reported: None, cause: None, is_new: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xvrrp_config::Occasion;
    use xvrrp_vrrp::Reason;

    fn change(state: RouterState, reason: Reason) -> StateChange {
        StateChange { on: Occasion::Any, state, reason: Cause::Election(reason), priority: 100 }
    }

    fn group(members: &[usize]) -> SyncGroups {
        SyncGroups(vec![GroupState::new(members.iter().copied().map(Place::new))])
    }

    fn record(groups: &mut SyncGroups, place: usize, state: RouterState, reason: Reason) -> Option<String> {
        groups
            .record(Place::new(place), &change(state, reason), true)
            .map(|(_, change, _)| format!("{} {}", change.state, change.reason))
    }

    #[test]
    fn a_group_changes_with_its_last_member_and_for_the_reason_of_its_first() {
        let mut groups = group(&[0, 2]);
        assert_eq!(record(&mut groups, 0, RouterState::Backup, Reason::Startup), None);
        assert_eq!(record(&mut groups, 1, RouterState::Active, Reason::ActiveDown), None, "no member");
        assert_eq!(record(&mut groups, 2, RouterState::Backup, Reason::Startup).as_deref(), Some("backup startup"));
        assert_eq!(record(&mut groups, 2, RouterState::Fault, Reason::InterfaceDown), None);
        let changed = record(&mut groups, 0, RouterState::Fault, Reason::PartnerFault);
        assert_eq!(changed.as_deref(), Some("fault interface_down"));
        assert_eq!(record(&mut groups, 0, RouterState::Fault, Reason::CheckFailed), None, "it has been reported");
    }

    #[test]
    fn a_group_that_resumes_its_state_has_no_news_to_report() {
        let mut groups = group(&[0, 1]);
        let mut resumed = |member| {
            groups
                .record(Place::new(member), &change(RouterState::Active, Reason::Resumed), false)
                .map(|(.., is_new)| is_new)
        };
        assert_eq!((resumed(0), resumed(1)), (None, Some(false)));
        assert_eq!(record(&mut groups, 1, RouterState::Backup, Reason::HigherPriority), None);
        assert_eq!(
            record(&mut groups, 0, RouterState::Backup, Reason::Partner).as_deref(),
            Some("backup higher_priority")
        );
    }
}
