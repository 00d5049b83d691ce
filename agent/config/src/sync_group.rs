//! `[[sync_group]]`: virtual routers that change role together.

use toml::de::DeValue;
use xvrrp_common::units::Interval;

use super::error::{Reported, all};
use super::section::{Section, quote};
use super::taken::Taken;
use super::values::name_or_number;
use super::{CheckConfig, GroupIndex, SyncGroupConfig, Tracked, VirtualRouterConfig, keys, notify};

/// What members must have in common: a learned interval counts for all, and with different priorities hosts would disagree.
type Common = (&'static str, fn(&VirtualRouterConfig) -> String);
const COMMON: [Common; 4] = [
    (keys::PRIORITY.name, |router| router.priority.to_string()),
    (keys::ADVERT_INTERVAL.name, |router| in_quotes(router.advert_interval)),
    (keys::PREEMPT.name, |router| router.preempt.to_string()),
    (keys::PREEMPT_DELAY.name, |router| in_quotes(router.preempt_delay)),
];

fn in_quotes(interval: Interval) -> String {
    if interval == Interval::ZERO { "\"0s\"".to_owned() } else { format!("\"{interval}\"") }
}

/// `routers` are there if nothing is wrong with any of them; they get to know their group, and what its members track.
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

/// With the line of each.
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
        let wrong = if members.is_empty() { "the list is empty" } else { "one alone has nobody to follow" };
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
            let there: Vec<_> = routers.iter().map(|router| router.name.as_str()).collect();
            let message = format!("there is no virtual router {}; this file has {}", quote(name), there.join(", "));
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
                        "{} tracks {} with the weight {}, and another member with {}; what one tracks counts for all: give \
                         both the same, or remove one",
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

fn check_member(
    section: &mut Section,
    line: usize,
    router: &VirtualRouterConfig,
    first: Option<&VirtualRouterConfig>,
) -> Result<(), Reported> {
    let name = quote(&router.name);
    if router.sync_group.is_some() {
        let message = format!("{name} is a member of another sync_group already; remove it from one of them");
        return Err(section.report(&keys::MEMBERS, line, message));
    }
    if router.priority.is_owner() {
        let message = format!(
            "{name} has priority = 255: the address owner waits for nobody (RFC 9568 6.4.1), so it cannot change role with \
             others; lower the priority, or remove it from the group"
        );
        return Err(section.report(&keys::MEMBERS, line, message));
    }
    let Some(first) = first else { return Ok(()) };
    for (key, value) in COMMON {
        let (ours, theirs) = (value(router), value(first));
        if ours != theirs {
            let message = format!(
                "{name} has {key} = {ours}, and {} has {key} = {theirs}; members change role together, give all the same",
                quote(&first.name)
            );
            return Err(section.report(&keys::MEMBERS, line, message));
        }
    }
    Ok(())
}
