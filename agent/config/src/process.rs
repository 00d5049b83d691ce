//! Reads the keys of a `[[check]]` of processes.

use std::ops::RangeInclusive;

use toml::de::DeValue;
use xvrrp_common::units::Interval;

use super::error::Reported;
use super::keys::{self, Key};
use super::model::{ArgumentRule, ProcessCheck, ProcessMatch};
use super::quote::quote;
use super::section::{Found, Section};
use super::values::MAX_PATH;

const DELAYS: RangeInclusive<Interval> = Interval::ZERO..=Interval::from_millis(3_600_000);
/// Maximum number of words of a command line that are compared.
const MAX_WORDS: usize = 64;

/// The keys that only a check of processes has, besides the one that names them.
pub(super) const KEYS: [Key; 5] =
    [keys::ARGUMENTS, keys::QUORUM, keys::QUORUM_MAX, keys::FORK_DELAY, keys::TERMINATE_DELAY];

/// Reads which processes count, how many of them there must be, and for how long a change does not count.
pub(super) fn read(section: &mut Section) -> Result<ProcessCheck, Reported> {
    let processes = read_match(section);
    let limits = read_limits(section);
    let fork_delay = section.duration(&keys::FORK_DELAY, DELAYS, Interval::ZERO);
    let terminate_delay = section.duration(&keys::TERMINATE_DELAY, DELAYS, Interval::ZERO);
    let (quorum, quorum_max) = limits?;
    Ok(ProcessCheck {
        processes: processes?,
        quorum,
        quorum_max,
        fork_delay: fork_delay?,
        terminate_delay: terminate_delay?,
    })
}

fn read_limits(section: &mut Section) -> Result<(u16, Option<u16>), Reported> {
    let min = section.integer(&keys::QUORUM, 0..=u16::MAX);
    let max = section.integer(&keys::QUORUM_MAX, 0..=u16::MAX);
    let (min, max) = (min?, max?);
    let quorum = min.unwrap_or(u16::from(max != Some(0)));
    if let Some(max) = max.filter(|max| *max < quorum) {
        let message =
            format!("{max} is less than quorum = {quorum}, so the check could never pass; change one of them");
        return Err(section.report(&keys::QUORUM_MAX, section.line_of(&keys::QUORUM_MAX), message));
    }
    Ok((quorum, max))
}

fn read_match(section: &mut Section) -> Result<ProcessMatch, Reported> {
    let found = section.get(&keys::PROCESS);
    let Found { value, line } = section.required(&keys::PROCESS, found)?;
    match value {
        DeValue::String(name) => {
            if section.get(&keys::ARGUMENTS).is_some() {
                let message =
                    "has no effect with the name of a process; write the command line as a list, or remove it";
                return Err(section.report(&keys::ARGUMENTS, section.line_of(&keys::ARGUMENTS), message));
            }
            // A name that `/proc/PID/comm` can have (proc(5)). The kernel cuts longer names.
            if (1..=15).contains(&name.len()) && !name.contains(['/', '\n', '\0']) {
                return Ok(ProcessMatch::Name(name.to_string()));
            }
            let wrong = format!("{} cannot be the name of a process", quote(name));
            Err(section.reject(&keys::PROCESS, line, wrong))
        }
        DeValue::Array(_) => {
            let mut words = read_words(section)?.into_iter();
            let program = section.required(&keys::PROCESS, words.next())?;
            let rule = read_rule(section)?;
            let arguments: Vec<String> = words.collect();
            let default = if arguments.is_empty() { ArgumentRule::Any } else { ArgumentRule::Exact };
            Ok(ProcessMatch::Command { program, arguments, rule: rule.unwrap_or(default) })
        }
        _ => Err(section.reject_type(&keys::PROCESS, Found { value, line })),
    }
}

fn read_words(section: &mut Section) -> Result<Vec<String>, Reported> {
    let list = section.list(&keys::PROCESS)?;
    let (elements, line) = section.required(&keys::PROCESS, list)?;
    if elements.len() > MAX_WORDS {
        return Err(section.reject(&keys::PROCESS, line, format_args!("{} words are too many", elements.len())));
    }
    let mut words = Vec::with_capacity(elements.len());
    for element in elements {
        match element.value.as_str() {
            Some(word) if !word.contains('\0') && word.len() <= MAX_PATH => words.push(word.to_owned()),
            _ => return Err(section.reject_type(&keys::PROCESS, element)),
        }
    }
    if words.first().is_none_or(String::is_empty) {
        return Err(section.reject(&keys::PROCESS, line, "the list names no program"));
    }
    Ok(words)
}

fn read_rule(section: &mut Section) -> Result<Option<ArgumentRule>, Reported> {
    match section.string(&keys::ARGUMENTS)? {
        None => Ok(None),
        Some("any") => Ok(Some(ArgumentRule::Any)),
        Some("exact") => Ok(Some(ArgumentRule::Exact)),
        Some("leading") => Ok(Some(ArgumentRule::Leading)),
        Some("prefix") => Ok(Some(ArgumentRule::Prefix)),
        Some(other) => {
            let wrong = format!("{} is not a rule", quote(other));
            Err(section.reject(&keys::ARGUMENTS, section.line_of(&keys::ARGUMENTS), wrong))
        }
    }
}
