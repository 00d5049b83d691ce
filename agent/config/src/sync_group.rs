//! Reads `[[sync_group]]`: virtual routers that change role together.

use toml::de::DeValue;
use xvrrp_common::units::Interval;

use super::error::{Reported, all};
use super::index::GroupIndex;
use super::model::{CheckConfig, SyncGroupConfig, Tracked, VirtualRouterConfig};
use super::quote::quote;
use super::section::Section;
use super::taken::Taken;
use super::values::name_or_number;
use super::{keys, notify};

/// A key that must have the same value for all members, and how to show its value.
type Common = (&'static str, fn(&VirtualRouterConfig) -> String);
/// The keys that must have the same value for all members. An interval that one member learns counts for all of them,
/// and with different priorities the hosts would disagree about who is better.
const COMMON: [Common; 4] = [
    (keys::PRIORITY.name, |router| router.priority.to_string()),
    (keys::ADVERT_INTERVAL.name, |router| in_quotes(router.advert_interval)),
    (keys::PREEMPT.name, |router| router.preempt.to_string()),
    (keys::PREEMPT_DELAY.name, |router| in_quotes(router.preempt_delay)),
];

fn in_quotes(interval: Interval) -> String {
    if interval == Interval::ZERO { "\"0s\"".to_owned() } else { format!("\"{interval}\"") }
}

/// Reads the groups. `routers` is `None` if any of them has an error; otherwise each member gets the position of its
/// group and everything that the members of the group track.
pub(super) fn read_all(
    root: &mut Section,
    mut routers: Option<&mut [VirtualRouterConfig]>,
    checks: &Result<Vec<CheckConfig>, Reported>,
    taken: &mut Taken,
) -> Result<Vec<SyncGroupConfig>, Reported> {
    let Some((elements, _)) = root.list(&keys::SYNC_GROUP)? else { return Ok(Vec::new()) };
    let groups = all(elements.into_iter().enumerate().map(|(index, element)| {
        let DeValue::Table(table) = element.value else { return Err(root.reject_type(&keys::SYNC_GROUP, element)) };
        let place = format!("sync_group {}", name_or_number(table, index + 1));
        let mut section = root.below(place, table, element.line);
        let name = taken.claim_group_name(&mut section);
        let members = read_members(&mut section);
        let notify = notify::read(&mut section, taken);
        section.report_unknown_keys(keys::SYNC_GROUP_KEYS);
        let (name, members, notify) = (name?, members?, notify?);
        let Some(routers) = routers.as_deref_mut() else { return Ok(None) };
        join(&mut section, GroupIndex::new(index), &members, routers, checks.as_deref().unwrap_or_default())?;
        let members = members.into_iter().map(|(name, _)| name).collect();
        Ok(Some(SyncGroupConfig { name, members, notify }))
    }))?;
    Ok(groups.into_iter().flatten().collect())
}

/// Reads the names of the members, with the line of each.
fn read_members(section: &mut Section) -> Result<Vec<(String, usize)>, Reported> {
    let list = section.list(&keys::MEMBERS)?;
    let (elements, line) = section.required(&keys::MEMBERS, list)?;
    let mut members: Vec<(String, usize)> = Vec::with_capacity(elements.len());
    for element in elements {
        let Some(name) = element.value.as_str() else { return Err(section.reject_type(&keys::MEMBERS, element)) };
        if let Some((_, first)) = members.iter().find(|(member, _)| member == name) {
            let message = format!("{} is listed twice, first on line {first}; remove one", quote(name));
            return Err(section.report(&keys::MEMBERS, element.line, message));
        }
        members.push((name.to_owned(), element.line));
    }
    if members.len() < 2 {
        let wrong = if members.is_empty() { "the list is empty" } else { "only one virtual router is listed" };
        return Err(section.reject(&keys::MEMBERS, line, wrong));
    }
    Ok(members)
}

/// Makes these virtual routers the members of a group.
fn join(
    section: &mut Section,
    group: GroupIndex,
    members: &[(String, usize)],
    routers: &mut [VirtualRouterConfig],
    checks: &[CheckConfig],
) -> Result<(), Reported> {
    let mut places = Vec::with_capacity(members.len());
    for (name, line) in members {
        let Some(place) = routers.iter().position(|router| router.name == *name) else {
            let names: Vec<_> = routers.iter().map(|router| router.name.as_str()).collect();
            let message = format!(
                "there is no virtual router {}; the virtual routers of this file are {}",
                quote(name),
                names.join(", ")
            );
            return Err(section.report(&keys::MEMBERS, *line, message));
        };
        check_member(section, *line, &routers[place], places.first().map(|first: &usize| &routers[*first]))?;
        places.push(place);
    }
    let mut track: Vec<Tracked> = Vec::new();
    for (place, (name, line)) in places.iter().zip(members) {
        for tracked in &routers[*place].track {
            match track.iter().find(|other| other.check == tracked.check) {
                None => track.push(*tracked),
                Some(other) if other.weight == tracked.weight => {}
                Some(other) => {
                    let check = tracked.check.of(checks).map_or("", |check| &check.name);
                    let message = format!(
                        "{} tracks {} with weight {}, and another member tracks it with weight {}; what one member \
                         tracks counts for all: give both the same weight, or remove one",
                        quote(name),
                        quote(check),
                        tracked.weight,
                        other.weight,
                    );
                    return Err(section.report(&keys::MEMBERS, *line, message));
                }
            }
        }
    }
    for place in &places {
        routers[*place].sync_group = Some(group);
        routers[*place].track.clone_from(&track);
    }
    Ok(())
}

/// Checks that this virtual router can be in a group with the first member.
fn check_member(
    section: &mut Section,
    line: usize,
    router: &VirtualRouterConfig,
    first: Option<&VirtualRouterConfig>,
) -> Result<(), Reported> {
    let name = quote(&router.name);
    if router.sync_group.is_some() {
        let message = format!("{name} is already a member of another sync_group; remove it from one of them");
        return Err(section.report(&keys::MEMBERS, line, message));
    }
    if router.priority.is_owner() {
        let message = format!(
            "{name} has priority = 255: the address owner does not wait for other routers (RFC 9568 6.4.1), so it \
             cannot change role together with others; lower the priority, or remove it from the group"
        );
        return Err(section.report(&keys::MEMBERS, line, message));
    }
    let Some(first) = first else { return Ok(()) };
    for (key, value) in COMMON {
        let (ours, theirs) = (value(router), value(first));
        if ours != theirs {
            let message = format!(
                "{name} has {key} = {ours}, and {} has {key} = {theirs}; members change role together, so set the same \
                 {key} for all of them",
                quote(&first.name)
            );
            return Err(section.report(&keys::MEMBERS, line, message));
        }
    }
    Ok(())
}
