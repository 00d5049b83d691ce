//! Reads `[[check]]`, and `track` of a virtual router.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use toml::de::DeValue;
use xvrrp_common::units::{Interval, Priority};

use super::error::{Reported, all};
use super::index::CheckIndex;
use super::keys::{self, Key};
use super::model::{CheckConfig, CheckKind, InitialNumber, Program, Tracked};
use super::process;
use super::program::{read_command, read_user};
use super::quote::quote;
use super::section::{Found, Section};
use super::values::{MAX_PATH, name_or_number, read_interface};

const INTERVALS: RangeInclusive<Interval> = Interval::from_millis(10)..=Interval::from_millis(3_600_000);
const WEIGHTS: RangeInclusive<i16> = -253..=253;

/// Maximum number of checks of a configuration.
const MAX_CHECKS: usize = 1024;
/// Maximum number of addresses that a check pings.
const MAX_TARGETS: usize = 16;

/// The checks by name, including those with errors: a `track` that refers to one of them is not an error itself.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, NamedTable>);

#[derive(Clone, Copy, Debug)]
struct NamedTable {
    index: CheckIndex,
    line: usize,
    /// What an element of `track` has by default.
    weight: i16,
    reverse: bool,
}

pub(super) fn read_all(root: &mut Section, names: &mut Names) -> Result<Vec<CheckConfig>, Reported> {
    let Some((elements, _)) = root.list(&keys::CHECK)? else { return Ok(Vec::new()) };
    if let Some(first_too_many) = elements.get(MAX_CHECKS) {
        let message = format!("{} checks are too many; expected at most {MAX_CHECKS} in a file", elements.len());
        return Err(root.report(&keys::CHECK, first_too_many.line, message));
    }
    all(elements.into_iter().enumerate().map(|(index, element)| match element.value {
        DeValue::Table(table) => {
            let place = format!("check {}", name_or_number(table, index + 1));
            read_table(&mut root.below(place, table, element.line), CheckIndex::new(index), names)
        }
        _ => Err(root.reject_type(&keys::CHECK, element)),
    }))
}

fn read_table(section: &mut Section, index: CheckIndex, names: &mut Names) -> Result<CheckConfig, Reported> {
    let weight = section.integer(&keys::WEIGHT, WEIGHTS);
    let reverse = section.boolean(&keys::REVERSE, false);
    let defaults = (weight.unwrap_or_default().unwrap_or_default(), reverse.unwrap_or_default());
    let name = read_name(section, index, defaults, names);
    let kind = read_kind(section);
    let interval = section.duration(&keys::INTERVAL, INTERVALS, CheckConfig::DEFAULT_INTERVAL);
    let timeout = section.duration(&keys::TIMEOUT, INTERVALS, interval.unwrap_or(CheckConfig::DEFAULT_INTERVAL));
    let rise = section.integer(&keys::RISE, 1..=255);
    let fall = section.integer(&keys::FALL, 1..=255);
    let init_fail = section.boolean(&keys::INIT_FAIL, false);
    section.report_unknown_keys(keys::CHECK_KEYS);
    if let Ok((kind, key)) = &kind {
        report_meaningless_keys(section, kind, key);
    }
    let (kind, key) = kind?;
    weight?;
    reverse?;
    Ok(CheckConfig {
        name: name?,
        lines: (section.line, section.line_of(&key)),
        kind,
        interval: interval?,
        timeout: timeout?,
        rise: rise?.unwrap_or(1),
        fall: fall?.unwrap_or(1),
        init_fail: init_fail?,
    })
}

/// Reads the name of a check. `(weight, reverse)` are the defaults of the elements of `track` that name it.
fn read_name(
    section: &mut Section,
    index: CheckIndex,
    (weight, reverse): (i16, bool),
    names: &mut Names,
) -> Result<String, Reported> {
    let name = section.identifier(&keys::NAME)?;
    let name = section.required(&keys::NAME, name)?;
    let line = section.line_of(&keys::NAME);
    if let Some(NamedTable { line: first, .. }) = names.0.get(name) {
        let message = format!("{} is already taken on line {first}; choose another", quote(name));
        return Err(section.report(&keys::NAME, line, message));
    }
    names.0.insert(name.to_owned(), NamedTable { index, line, weight, reverse });
    Ok(name.to_owned())
}

/// Reads what is checked. Returns it with the key that says so.
fn read_kind(section: &mut Section) -> Result<(CheckKind, Key), Reported> {
    let given: Vec<Key> = keys::KINDS.iter().copied().filter(|key| section.get(key).is_some()).collect();
    let all = || keys::KINDS.iter().map(|key| key.name).collect::<Vec<_>>().join(", ");
    let key = match given[..] {
        [key] => key,
        [] => {
            let message = format!("does not say what to check; expected one of {}", all());
            return Err(section.report(&keys::CHECK, section.line, message));
        }
        [first, second, ..] => {
            let message = format!(
                "this check already has {}, and a check has only one of {}; write two checks",
                first.name,
                all()
            );
            return Err(section.report(&second, section.line_of(&second), message));
        }
    };
    let kind = match key {
        keys::SCRIPT => CheckKind::Script(read_script(section)?),
        keys::INTERFACE => CheckKind::Interface(read_interface(section)?),
        keys::PROCESS => CheckKind::Process(process::read(section)?),
        keys::PING => CheckKind::Ping(read_targets(section)?),
        _ => {
            let path = section.absolute_path(&key, MAX_PATH)?;
            let path = section.required(&key, path)?;
            if key == keys::PID_FILE {
                CheckKind::PidFile(path)
            } else {
                CheckKind::File { path, initial: read_initial(section)? }
            }
        }
    };
    Ok((kind, key))
}

fn read_script(section: &mut Section) -> Result<Program, Reported> {
    let (command, user) = (read_command(section, &keys::SCRIPT), read_user(section, &keys::USER));
    Ok(Program { command: section.required(&keys::SCRIPT, command?)?, user: user? })
}

/// Reads one address or several, of which each may occur once.
fn read_targets(section: &mut Section) -> Result<Vec<IpAddr>, Reported> {
    let found = section.get(&keys::PING);
    let Found { value, line } = section.required(&keys::PING, found)?;
    let DeValue::Array(_) = value else { return Ok(vec![read_target(section, Found { value, line })?]) };
    let elements = section.list(&keys::PING)?.map(|(elements, _)| elements).unwrap_or_default();
    if !(1..=MAX_TARGETS).contains(&elements.len()) {
        let wrong = format!("{} addresses are listed", elements.len());
        return Err(section.reject(&keys::PING, line, wrong));
    }
    let mut first_lines = HashMap::new();
    all(elements.into_iter().map(|element| {
        let target = read_target(section, element)?;
        match first_lines.insert(target, element.line) {
            None => Ok(target),
            Some(first) => {
                let message = format!("{target} is listed twice, first on line {first}; remove one");
                Err(section.report(&keys::PING, element.line, message))
            }
        }
    }))
}

fn read_target(section: &mut Section, found: Found) -> Result<IpAddr, Reported> {
    let Some(text) = found.value.as_str() else { return Err(section.reject_type(&keys::PING, found)) };
    let line = found.line;
    match text.parse::<IpAddr>() {
        Ok(target) if target.is_unspecified() || target.is_multicast() => {
            Err(section.reject(&keys::PING, line, format_args!("{} is not the address of a host", quote(text))))
        }
        Ok(target) => Ok(target),
        Err(_) => Err(section.reject(&keys::PING, line, format_args!("{} is not an IP address", quote(text)))),
    }
}

fn read_initial(section: &mut Section) -> Result<Option<InitialNumber>, Reported> {
    let value = section.integer(&keys::INITIAL_VALUE, i32::MIN..=i32::MAX);
    let overwrite = section.boolean(&keys::OVERWRITE, false);
    let (value, overwrite) = (value?, overwrite?);
    if value.is_none() && section.get(&keys::OVERWRITE).is_some() {
        let message = "has no effect without initial_value; add that, or remove overwrite";
        return Err(section.report(&keys::OVERWRITE, section.line_of(&keys::OVERWRITE), message));
    }
    Ok(value.map(|value| InitialNumber { value, overwrite }))
}

fn report_meaningless_keys(section: &mut Section, kind: &CheckKind, kind_key: &Key) {
    let meaningless: &[Key] = match kind {
        CheckKind::Script(_) => &[],
        CheckKind::Ping(_) => &[keys::USER],
        CheckKind::Interface(_) | CheckKind::Process(_) | CheckKind::PidFile(_) => &[keys::USER, keys::TIMEOUT],
        CheckKind::File { .. } => &[keys::USER, keys::TIMEOUT, keys::RISE, keys::FALL, keys::INIT_FAIL],
    };
    let of_file = [keys::INITIAL_VALUE, keys::OVERWRITE];
    let of_file = of_file.iter().filter(|_| !matches!(kind, CheckKind::File { .. }));
    let of_process = process::KEYS.iter().filter(|_| !matches!(kind, CheckKind::Process(_)));
    for key in meaningless.iter().chain(of_process).chain(of_file) {
        if let Some(Found { line, .. }) = section.get(key) {
            section.report(key, line, format_args!("has no effect with {}; remove it", kind_key.name));
        }
    }
}

/// Reads `track` of a virtual router, whose priority is given if it is known.
pub(super) fn read_track(
    section: &mut Section,
    names: &Names,
    priority: Option<Priority>,
) -> Result<Vec<Tracked>, Reported> {
    let Some((elements, _)) = section.list(&keys::TRACK)? else { return Ok(Vec::new()) };
    let mut first_lines = HashMap::new();
    all(elements.into_iter().map(|element| {
        let line = element.line;
        read_tracked(section, names, element).and_then(|tracked| {
            let name = names.0.iter().find(|(_, named)| named.index == tracked.check).map_or("", |(name, _)| name);
            if let Some(first) = first_lines.insert(tracked.check, line) {
                let message = format!("{} is listed twice, first on line {first}; remove one", quote(name));
                return Err(section.report(&keys::TRACK, line, message));
            }
            if tracked.weight != 0 && priority.is_some_and(Priority::is_owner) {
                let message = format!(
                    "{} has weight {}, but priority = 255 never changes (RFC 9568 5.2.4); write \
                     {{ check = {}, weight = 0 }}, or lower the priority",
                    quote(name),
                    tracked.weight,
                    quote(name),
                );
                return Err(section.report(&keys::TRACK, line, message));
            }
            Ok(tracked)
        })
    }))
}

fn read_tracked<'i>(section: &mut Section<'_, 'i>, names: &Names, element: Found<'_, 'i>) -> Result<Tracked, Reported> {
    let (name, line, (weight, reverse)) = match element.value {
        DeValue::String(name) => (name.to_string(), element.line, (None, None)),
        DeValue::Table(table) => {
            let place = format!("{}: {}", section.place, keys::TRACK.name);
            let mut below = section.below(place, table, element.line);
            let name = below.string(&keys::TRACKED_CHECK).and_then(|name| below.required(&keys::TRACKED_CHECK, name));
            let weight = below.integer(&keys::WEIGHT, WEIGHTS);
            let reverse = below.optional_boolean(&keys::REVERSE);
            below.report_unknown_keys(keys::TRACK_KEYS);
            (name?.to_owned(), below.line_of(&keys::TRACKED_CHECK), (weight?, reverse?))
        }
        _ => return Err(section.reject_type(&keys::TRACK, element)),
    };
    let Some(named) = names.0.get(&name) else {
        let mut all: Vec<&str> = names.0.keys().map(String::as_str).collect();
        all.sort_unstable();
        let known = if all.is_empty() {
            "this file has no checks".to_owned()
        } else {
            format!("the checks of this file are {}", all.join(", "))
        };
        return Err(section.report(&keys::TRACK, line, format!("there is no check {}; {known}", quote(&name))));
    };
    Ok(Tracked {
        check: named.index,
        weight: weight.unwrap_or(named.weight),
        reverse: reverse.unwrap_or(named.reverse),
    })
}
