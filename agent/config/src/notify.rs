//! Reads the notify programs and services of a virtual router or a sync group.

use std::ops::RangeInclusive;

use xvrrp_common::units::Interval;

use super::error::Reported;
use super::keys::{self, Key};
use super::model::{NotifyConfig, NotifyProgram, Occasion};
use super::program::read_program;
use super::quote::quote;
use super::section::Section;
use super::taken::Taken;

const TIMEOUTS: RangeInclusive<Interval> = Interval::from_millis(100)..=Interval::from_millis(3_600_000);
const MAX_SERVICES: usize = 64;

/// Keys of programs, in the order in which the programs are run. keepalived has the same order.
const PROGRAMS: [(Key, Occasion); 7] = [
    (keys::NOTIFY_ACTIVE, Occasion::Active),
    (keys::NOTIFY_BACKUP, Occasion::Backup),
    (keys::NOTIFY_FAULT, Occasion::Fault),
    (keys::NOTIFY_STOP, Occasion::Stop),
    (keys::NOTIFY_DELETED, Occasion::Deleted),
    (keys::NOTIFY_ACTIVE_LOWER_PRIORITY, Occasion::LowerPriority),
    (keys::NOTIFY, Occasion::Any),
];

/// Returns the key of the program for an occasion.
pub(super) fn key_of(on: Occasion) -> Key {
    PROGRAMS.into_iter().find(|(_, occasion)| *occasion == on).map_or(keys::NOTIFY, |(key, _)| key)
}

pub(super) fn read(section: &mut Section, taken: &mut Taken) -> Result<NotifyConfig, Reported> {
    // Instead of a program it may be true or false.
    let deleted = section.get(&keys::NOTIFY_DELETED).map(|found| found.value.as_bool().unwrap_or(true));
    let is_switch = section.get(&keys::NOTIFY_DELETED).is_some_and(|found| found.value.is_bool());
    let mut programs = Ok(Vec::new());
    for (key, on) in PROGRAMS.into_iter().filter(|(_, on)| !is_switch || *on != Occasion::Deleted) {
        match (read_program(section, &key), &mut programs) {
            (Ok(Some(program)), Ok(list)) => list.push(NotifyProgram { on, program, line: section.line_of(&key) }),
            (Ok(_), _) => {}
            (Err(reported), _) => programs = Err(reported),
        }
    }
    let timeout = section.duration(&keys::NOTIFY_TIMEOUT, TIMEOUTS, NotifyConfig::DEFAULT_TIMEOUT);
    let services = read_services(section, taken);
    let deleted = deleted.unwrap_or(false);
    Ok(NotifyConfig { programs: programs?, timeout: timeout?, services: services?, deleted })
}

fn read_services(section: &mut Section, taken: &mut Taken) -> Result<Vec<String>, Reported> {
    let Some((elements, line)) = section.list(&keys::SERVICES)? else { return Ok(Vec::new()) };
    if elements.len() > MAX_SERVICES {
        return Err(section.reject(&keys::SERVICES, line, format_args!("{} units are too many", elements.len())));
    }
    let mut services = Vec::with_capacity(elements.len());
    for element in elements {
        let Some(unit) = element.value.as_str() else { return Err(section.reject_type(&keys::SERVICES, element)) };
        if !is_unit(unit) {
            let wrong = format!("{} is not a valid unit name", quote(unit));
            return Err(section.reject(&keys::SERVICES, element.line, wrong));
        }
        taken.claim_service(section, unit, element.line)?;
        services.push(unit.to_owned());
    }
    Ok(services)
}

/// Returns whether this is a valid name of a unit (systemd.unit(5)).
fn is_unit(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@');
    let (stem, suffix) = name.rsplit_once('.').unwrap_or_default();
    name.len() <= 255
        && name.chars().all(allowed)
        && !stem.is_empty()
        && !stem.starts_with('-')
        && matches!(suffix, "service" | "socket" | "target" | "timer" | "path" | "mount" | "slice")
}
