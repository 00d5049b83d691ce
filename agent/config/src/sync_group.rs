//! Reads `[[sync_group]]`: virtual routers that change role together.

use toml::de::DeValue;

use super::check::{Names, read_track};
use super::error::{Reported, all};
use super::index::GroupIndex;
use super::mail::read_occasions;
use super::model::{SyncGroupConfig, Tracked, VirtualRouterConfig};
use super::quote::quote;
use super::section::Section;
use super::taken::Taken;
use super::values::name_or_number;
use super::{keys, notify};

/// Reads the groups. `routers` is `None` if any of them has an error; otherwise each member gets the position of its
/// group and what the group tracks. `has_mail` says whether the file has a `[mail]`.
pub(super) fn read_all(
    root: &mut Section,
    mut routers: Option<&mut [VirtualRouterConfig]>,
    checks: &Names,
    has_mail: bool,
    taken: &mut Taken,
) -> Result<Vec<SyncGroupConfig>, Reported> {
    let Some((elements, _)) = root.list(&keys::SYNC_GROUP)? else { return Ok(Vec::new()) };
    let groups = all(elements.into_iter().enumerate().map(|(index, element)| {
        let DeValue::Table(table) = element.value else { return Err(root.reject_type(&keys::SYNC_GROUP, element)) };
        let place = format!("sync_group {}", name_or_number(table, index + 1));
        let mut section = root.below(place, table, element.line);
        let name = taken.claim_group_name(&mut section);
        let members = read_members(&mut section);
        let track = read_track(&mut section, checks, None);
        let notify = notify::read(&mut section, taken);
        // The members send mail of their own.
        let mail = read_occasions(&mut section, has_mail, false);
        section.report_unknown_keys(keys::SYNC_GROUP_KEYS);
        let (name, members, track, notify, mail) = (name?, members?, track?, notify?, mail?);
        let Some(routers) = routers.as_deref_mut() else { return Ok(None) };
        join(&mut section, GroupIndex::new(index), &members, routers, &track)?;
        let members = members.into_iter().map(|(name, _)| name).collect();
        Ok(Some(SyncGroupConfig { name, members, notify, mail }))
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
    if members.is_empty() {
        return Err(section.reject(&keys::MEMBERS, line, "the list is empty"));
    }
    Ok(members)
}

/// Makes these virtual routers the members of a group that tracks these checks.
fn join(
    section: &mut Section,
    group: GroupIndex,
    members: &[(String, usize)],
    routers: &mut [VirtualRouterConfig],
    track: &[Tracked],
) -> Result<(), Reported> {
    for (name, line) in members {
        let Some(router) = routers.iter().find(|router| router.name == *name) else {
            let names: Vec<_> = routers.iter().map(|router| router.name.as_str()).collect();
            let message = format!(
                "there is no virtual router {}; the virtual routers of this file are {}",
                quote(name),
                names.join(", ")
            );
            return Err(section.report(&keys::MEMBERS, *line, message));
        };
        check_member(section, *line, router)?;
    }
    for router in routers.iter_mut().filter(|router| members.iter().any(|(name, _)| *name == router.name)) {
        router.sync_group = Some(group);
        track_with_group(&mut router.track, track);
    }
    Ok(())
}

/// Adds what its group tracks to what a member tracks. If both track a check, the group's weight counts, unless the
/// failure of the check is a fault for the member anyway. That is keepalived's rule.
fn track_with_group(own: &mut Vec<Tracked>, group: &[Tracked]) {
    for tracked in group {
        match own.iter_mut().find(|own| own.check == tracked.check) {
            None => own.push(*tracked),
            Some(own) if own.weight == 0 => {}
            Some(own) => *own = *tracked,
        }
    }
}

/// Checks that this virtual router can be in a group.
fn check_member(section: &mut Section, line: usize, router: &VirtualRouterConfig) -> Result<(), Reported> {
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
    Ok(())
}
