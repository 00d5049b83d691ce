//! When a sync group as a whole has changed its state: once the last of its members has.

use std::collections::BTreeMap;

use xvrrp_config::Config;
use xvrrp_vrrp::RouterState;

use crate::notify::audience::Change;
use crate::plan::Plans;

/// See the module.
#[derive(Debug)]
pub struct SyncGroups(Vec<Group>);

#[derive(Debug)]
struct Group {
    /// Of its members, each in each of its families, by their place; `None` before it has come into one.
    states: BTreeMap<usize, Option<RouterState>>,
    /// The last one that was told of the group.
    told: Option<RouterState>,
    /// Why its first member has changed since.
    cause: Option<String>,
    /// Whether that is news of one of them.
    news: bool,
}

impl SyncGroups {
    pub fn new(config: &Config, plans: &Plans<'_>) -> Self {
        let ready = plans.ready.iter().map(|plan| (plan.place, plan.config));
        let members: Vec<_> =
            ready.chain(plans.waiting.iter().map(|waiting| (waiting.place, waiting.config))).collect();
        let group = |index| {
            let members = members.iter().filter(|(_, member)| member.sync_group == Some(index));
            Group { states: members.map(|(place, _)| (*place, None)).collect(), told: None, cause: None, news: false }
        };
        Self((0..config.sync_groups.len()).map(group).collect())
    }

    /// A virtual router has come into a state, which is `news` unless it goes on from before. The number of the group that is in this
    /// state as a whole now, if that is news, and what is to be told of it.
    pub fn note(&mut self, place: usize, change: &Change, news: bool) -> Option<(usize, Change, bool)> {
        let (index, group) = self.0.iter_mut().enumerate().find(|(_, group)| group.states.contains_key(&place))?;
        group.states.insert(place, Some(change.state));
        group.news |= news;
        group.cause.get_or_insert_with(|| change.reason.clone());
        if group.states.values().any(|state| *state != Some(change.state)) {
            return None;
        }
        let reason = group.cause.take().unwrap_or_default();
        let news = std::mem::take(&mut group.news);
        let changed = group.told.replace(change.state) != Some(change.state);
        changed.then(|| (index, Change { reason, ..change.clone() }, news))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xvrrp_config::Occasion;

    fn change(state: RouterState, reason: &str) -> Change {
        Change { on: Occasion::Any, state, reason: reason.to_owned(), priority: 100 }
    }

    fn group(members: &[usize]) -> SyncGroups {
        let states = members.iter().map(|member| (*member, None)).collect();
        SyncGroups(vec![Group { states, told: None, cause: None, news: false }])
    }

    fn note(groups: &mut SyncGroups, place: usize, state: RouterState, reason: &str) -> Option<String> {
        groups
            .note(place, &change(state, reason), true)
            .map(|(_, change, _)| format!("{} {}", change.state, change.reason))
    }

    #[test]
    fn a_group_has_changed_once_its_last_member_has_and_for_the_first_ones_reason() {
        let mut groups = group(&[0, 2]);
        assert_eq!(note(&mut groups, 0, RouterState::Backup, "startup"), None);
        assert_eq!(note(&mut groups, 1, RouterState::Active, "active_down"), None, "no member");
        assert_eq!(note(&mut groups, 2, RouterState::Backup, "startup").as_deref(), Some("backup startup"));
        assert_eq!(note(&mut groups, 2, RouterState::Fault, "interface_down"), None);
        assert_eq!(note(&mut groups, 0, RouterState::Fault, "partner_fault").as_deref(), Some("fault interface_down"));
        assert_eq!(note(&mut groups, 0, RouterState::Fault, "check_failed"), None, "it is so already");
    }

    #[test]
    fn who_goes_on_where_another_agent_was_has_nothing_new_to_tell() {
        let mut groups = group(&[0, 1]);
        let mut resumed =
            |member| groups.note(member, &change(RouterState::Active, "resumed"), false).map(|(.., news)| news);
        assert_eq!((resumed(0), resumed(1)), (None, Some(false)));
        assert_eq!(note(&mut groups, 1, RouterState::Backup, "higher_priority"), None);
        assert_eq!(note(&mut groups, 0, RouterState::Backup, "partner").as_deref(), Some("backup higher_priority"));
    }
}
