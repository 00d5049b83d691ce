//! The resulting configuration: tables of keys, each with the line that it comes from.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use toml::Value as Toml;
use xvrrp_config::{Original, Text};

use super::input::printable;
use super::location::{Located, Location};
use super::report::{Counts, ImportReport, Kind, Notice};

/// Keys without which a table cannot exist. An error in one of them removes the whole table.
const REQUIRED: &[&str] = &["name", "interface", "vrid", "members"];
const ROUTER: &str = "[[virtual_router]]";
const CHECK: &str = "[[check]]";
const MAIL: &str = "[mail]";
/// Maximum number of consequences that a message lists.
const MAX_LISTED: usize = 3;

/// A table of the result.
#[derive(Debug)]
pub(super) struct Table {
    /// Header with its brackets: `[[virtual_router]]`.
    header: &'static str,
    location: Location,
    entries: Vec<KeyEntry>,
}

#[derive(Debug)]
struct KeyEntry {
    key: &'static str,
    value: Value,
    /// Comment lines above the key.
    notes: Vec<String>,
}

impl KeyEntry {
    /// Returns the line of the original that it comes from, or that an element of it comes from, unless the import
    /// chose it.
    fn location(&self, element: Option<usize>) -> Option<&Location> {
        match &self.value {
            Value::One(_, location) => location.as_ref(),
            Value::List(elements) => {
                let element = element.and_then(|element| elements.get(element)).or(elements.first());
                element.map(|element| &element.location)
            }
        }
    }
}

#[derive(Debug)]
enum Value {
    /// With the line that it comes from, unless the import chose it.
    One(Toml, Option<Location>),
    /// Elements, each with the line that it comes from.
    List(Vec<Located<Toml>>),
}

/// Part of the result that a line of its text shows: the header of a table, a key, or an element of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    table: usize,
    entry: Option<usize>,
    element: Option<usize>,
}

impl Table {
    /// Returns a table without keys.
    pub fn new(header: &'static str, location: &Location) -> Self {
        Self { header, location: location.clone(), entries: Vec::new() }
    }

    /// Adds a value that the original has.
    pub fn set(&mut self, key: &'static str, value: impl Into<Toml>, location: &Location) {
        self.push(key, Value::One(value.into(), Some(location.clone())), Vec::new());
    }

    /// Adds a value that the original has, with a comment above it.
    pub fn set_with_note(
        &mut self,
        key: &'static str,
        value: impl Into<Toml>,
        location: &Location,
        note: impl Into<String>,
    ) {
        self.push(key, Value::One(value.into(), Some(location.clone())), vec![note.into()]);
    }

    /// Adds a value that the original does not have, with the reason as a comment above it.
    pub fn choose(&mut self, key: &'static str, value: impl Into<Toml>, note: impl Into<String>) {
        self.push(key, Value::One(value.into(), None), vec![note.into()]);
    }

    /// Adds a value that the original does not have. The comment above the previous key gives the reason.
    pub fn choose_without_note(&mut self, key: &'static str, value: impl Into<Toml>) {
        self.push(key, Value::One(value.into(), None), Vec::new());
    }

    /// Adds a list that the original has, unless it is empty.
    pub fn set_list<T: Into<Toml>>(&mut self, key: &'static str, elements: Vec<Located<T>>) {
        self.set_list_with_note(key, elements, None);
    }

    /// Adds a list that the original has, unless it is empty, with a comment above it.
    pub fn set_list_with_note<T: Into<Toml>>(
        &mut self,
        key: &'static str,
        elements: Vec<Located<T>>,
        note: Option<&str>,
    ) {
        if !elements.is_empty() {
            let elements = elements.into_iter();
            let elements = elements.map(|Located { value, location }| Located { value: value.into(), location });
            self.push(key, Value::List(elements.collect()), note.into_iter().map(str::to_owned).collect());
        }
    }

    /// Returns the header and the name, which together identify the table.
    fn identity(&self) -> (&'static str, String) {
        let name = self.entries.iter().find(|entry| entry.key == "name").map(|entry| &entry.value);
        let name = match name {
            Some(Value::One(Toml::String(name), _)) => name.clone(),
            _ => String::new(),
        };
        (self.header, name)
    }

    fn push(&mut self, key: &'static str, value: Value, notes: Vec<String>) {
        self.entries.push(KeyEntry { key, value, notes });
    }

    /// Returns the line of the original that a part of this table comes from.
    fn part_location(&self, part: Part) -> &Location {
        let entry = part.entry.and_then(|entry| self.entries.get(entry));
        entry.and_then(|entry| entry.location(part.element)).unwrap_or(&self.location)
    }

    /// Returns the table as messages about the result name it, and what the original calls it, if that is known.
    fn names(&self) -> Option<(String, &str)> {
        let directive = self.location.directive()?;
        let (header, name) = self.identity();
        let kind = header.trim_matches(['[', ']']);
        // A directive of a table without a name says enough.
        Some(if name.is_empty() { (kind.to_owned(), "") } else { (format!("{kind} \"{name}\""), directive) })
    }

    /// Returns the key of a part, and its keyword in the original, if that is known.
    fn keyword(&self, part: Part) -> Option<(&str, &str)> {
        let entry = self.entries.get(part.entry?).filter(|entry| entry.key != "name")?;
        Some((entry.key, entry.location(part.element)?.directive()?))
    }
}

/// Text of the result, with what is known about the original.
#[derive(Debug)]
pub(super) struct Finished {
    text: String,
    original: Original,
}

/// Returns the result with a header that names the imported file, and with all that is known about the original.
/// `phrases` are parts of messages about the result, each with what replaces it in messages about the original.
pub(super) fn with_origin(path: &Path, finished: Finished, phrases: &[(&str, &str)], notices: &[Notice]) -> Text {
    let Finished { text, mut original } = finished;
    let of_kind = |kind| notices.iter().filter(|notice| notice.kind == kind).map(Notice::to_string).collect();
    original.left_out = of_kind(Kind::LeftOut);
    original.changed = of_kind(Kind::Changed);
    original.counts = Counts::of(notices).to_string();
    for (ours, theirs) in phrases {
        original.add_phrase(ours, theirs);
    }
    let header = format!("# Made by `xvrrp import {}`.\n\n", printable(path));
    original.insert(1, header.lines().map(|_| None));
    Text { toml: header + &text, original: Some(Arc::new(original)) }
}

/// Returns the text of the result. Removes and reports what the configuration's own reader refuses. Returns `None` if
/// no virtual router remains.
pub(super) fn finish(mut tables: Vec<Table>, report: &mut ImportReport) -> Option<Finished> {
    let mut causes = Causes::default();
    remove_too_many(&mut tables, &mut causes);
    let mut result = None;
    while tables.iter().any(|table| table.header == ROUTER) {
        let (text, parts) = render(&tables);
        let original = original(&tables, &parts);
        let Err(error) = xvrrp_config::parse(Path::new("result"), &text) else {
            result = Some(Finished { text, original });
            break;
        };
        let mut wrong = BTreeSet::new();
        for problem in error.problems() {
            let part = problem.line.and_then(|line| *parts.get(line.checked_sub(1)?)?);
            let Some((part, table)) = part.and_then(|part| Some((widen(&tables, part), tables.get(part.table)?)))
            else {
                continue;
            };
            if wrong.insert(part) {
                causes.add(table, part, |directive| {
                    let message = original.reword(problem.line, &problem.message);
                    without_directive(&at_original(&message, &tables, &parts), directive)
                });
            }
        }
        if wrong.is_empty() {
            break;
        }
        for part in wrong.into_iter().rev() {
            let Some(removed) = remove(&mut tables, part) else { continue };
            if let Some(cause) = causes.of(&removed) {
                let (header, name) = removed.identity();
                remove_references(&mut tables, header, &HashSet::from([name]), cause, &mut causes);
            }
        }
        causes.next_pass();
    }
    causes.report(report);
    result
}

/// Removes the virtual routers above the limit of a configuration, with one message for all of them.
fn remove_too_many(tables: &mut Vec<Table>, causes: &mut Causes) {
    let routers = tables.iter().enumerate().filter(|(_, table)| table.header == ROUTER).map(|(index, _)| index);
    let excess: Vec<usize> = routers.skip(xvrrp_config::MAX_VIRTUAL_ROUTERS).collect();
    let Some(first) = excess.first().and_then(|first| tables.get(*first)) else { return };
    causes.causes.push(Cause {
        location: first.location.clone(),
        directive: label(first, Part { table: 0, entry: None, element: None }),
        advice: format!(
            "at most {} virtual routers are possible, so this one and all after it, {} in all, are left out",
            xvrrp_config::MAX_VIRTUAL_ROUTERS,
            excess.len()
        ),
        consequences: Vec::new(),
    });
    let removed: Vec<Table> = excess.into_iter().rev().map(|index| tables.remove(index)).collect();
    let names = removed.iter().map(|table| table.identity().1).collect();
    remove_references(tables, ROUTER, &names, 0, causes);
    causes.next_pass();
}

/// What the configuration's own reader refuses, each with what is left out as a consequence.
#[derive(Debug, Default)]
struct Causes {
    causes: Vec<Cause>,
    /// Tables that lost something in an earlier pass, by header and name, with the position of the cause.
    affected: HashMap<(&'static str, String), usize>,
    /// The same for this pass.
    newly_affected: HashMap<(&'static str, String), usize>,
}

#[derive(Debug)]
struct Cause {
    location: Location,
    directive: String,
    advice: String,
    /// What is left out with it: a directive and its line.
    consequences: Vec<(String, Location)>,
}

impl Causes {
    /// Adds a problem, as a consequence if the table has a problem only because of an earlier one.
    fn add(&mut self, table: &Table, part: Part, advice: impl FnOnce(&str) -> String) {
        let (directive, location) = (label(table, part), table.part_location(part).clone());
        let earlier = self.affected.get(&table.identity()).and_then(|cause| self.causes.get_mut(*cause));
        if let Some(cause) = earlier.filter(|_| part.entry.is_none()) {
            cause.consequences.push((directive, location));
            return;
        }
        self.newly_affected.entry(table.identity()).or_insert(self.causes.len());
        let advice = advice(&directive);
        self.causes.push(Cause { location, directive, advice, consequences: Vec::new() });
    }

    /// Returns the position of the cause for which a table was removed.
    fn of(&self, removed: &Table) -> Option<usize> {
        let identity = removed.identity();
        self.affected.get(&identity).or(self.newly_affected.get(&identity)).copied()
    }

    /// Begins the next pass, in which problems of the tables that lost something are consequences.
    fn next_pass(&mut self) {
        for (identity, cause) in self.newly_affected.drain() {
            self.affected.entry(identity).or_insert(cause);
        }
    }

    fn report(self, report: &mut ImportReport) {
        for Cause { location, directive, mut advice, consequences } in self.causes {
            let listed = consequences.iter().take(MAX_LISTED).map(|(directive, at)| format!("{directive} ({at})"));
            let listed: Vec<_> = listed.collect();
            if !listed.is_empty() {
                let _ = write!(advice, "; with it goes {}", listed.join(", "));
            }
            if let Some(more @ 1..) = consequences.len().checked_sub(MAX_LISTED) {
                let _ = write!(advice, ", and {more} more");
            }
            report.add(&location, &directive, advice);
        }
    }
}

/// Removes references to tables that were removed: of virtual routers to a check or to the mail, of sync groups to a
/// virtual router.
fn remove_references(tables: &mut [Table], header: &str, names: &HashSet<String>, cause: usize, causes: &mut Causes) {
    let key = match header {
        CHECK => "track",
        ROUTER => "members",
        MAIL => "mail",
        _ => return,
    };
    for table in tables.iter_mut() {
        let identity = table.identity();
        let mut lost = Vec::new();
        for entry in table.entries.iter_mut().filter(|entry| entry.key == key) {
            match &mut entry.value {
                Value::List(elements) => elements.retain(|element| {
                    let keep = !referenced(&element.value).is_some_and(|name| names.contains(name));
                    if !keep {
                        let directive = element.location.directive().unwrap_or(key);
                        lost.push((directive.to_owned(), element.location.clone()));
                    }
                    keep
                }),
                Value::One(_, location) => {
                    let directive = location.as_ref().and_then(Location::directive).unwrap_or(key);
                    lost.push((directive.to_owned(), location.as_ref().unwrap_or(&table.location).clone()));
                }
            }
        }
        if !lost.is_empty() {
            causes.newly_affected.entry(identity).or_insert(cause);
            if let Some(cause) = causes.causes.get_mut(cause) {
                cause.consequences.extend(lost);
            }
        }
        table.entries.retain(|entry| match &entry.value {
            Value::List(elements) => !elements.is_empty(),
            Value::One(..) => entry.key != key,
        });
    }
}

/// Returns the name in an element of `track` or `members`.
fn referenced(element: &Toml) -> Option<&str> {
    match element {
        Toml::String(name) => Some(name),
        Toml::Table(table) => table.get("check")?.as_str(),
        _ => None,
    }
}

/// Returns the message with lines of the original in place of lines of the result.
fn at_original(message: &str, tables: &[Table], parts: &[Option<Part>]) -> String {
    let location = |line: usize| {
        let part = (*parts.get(line.checked_sub(1)?)?)?;
        Some(tables.get(part.table)?.part_location(part))
    };
    let mut result = String::new();
    let mut rest = message;
    while let Some((before, after)) = rest.split_once("line ") {
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(end);
        match number.parse().ok().and_then(location) {
            Some(location) => {
                let before =
                    before.strip_suffix("on ").map_or_else(|| before.to_owned(), |before| format!("{before}at "));
                let _ = write!(result, "{before}{location}");
            }
            None => {
                let _ = write!(result, "{before}line {number}");
            }
        }
        rest = after;
    }
    result + rest
}

/// Returns the whole table instead of a key that it cannot exist without.
fn widen(tables: &[Table], part: Part) -> Part {
    let key = tables.get(part.table).and_then(|table| table.entries.get(part.entry?)).map(|entry| entry.key);
    let required = part.element.is_none() && key.is_some_and(|key| REQUIRED.contains(&key));
    if required { Part { entry: None, ..part } } else { part }
}

/// Returns the name of a part in a notice: its keyword in the original, if that is known.
fn label(table: &Table, part: Part) -> String {
    let label = match part.entry.and_then(|entry| table.entries.get(entry)) {
        Some(entry) => table.keyword(part).map_or(entry.key, |(_, keyword)| keyword),
        None => match table.names() {
            Some((_, directive)) if !directive.is_empty() => {
                directive.split_once(" \"").map_or(directive, |(directive, _)| directive)
            }
            _ => table.header,
        },
    };
    label.to_owned()
}

/// Returns a message without the directive, which a notice names before it.
fn without_directive(message: &str, directive: &str) -> String {
    let of_table = message.strip_prefix(directive).and_then(|rest| rest.strip_prefix(": ").or(rest.strip_prefix(' ')));
    let of_key = || message.split_once(&format!("{directive}: ")).filter(|(before, _)| before.ends_with(": "));
    of_table.or_else(|| of_key().map(|(_, rest)| rest)).unwrap_or(message).to_owned()
}

/// Returns what the original says about each line of a text, whose parts are these.
fn original(tables: &[Table], parts: &[Option<Part>]) -> Original {
    let of_part = |part: &Option<Part>| part.and_then(|part| Some((tables.get(part.table)?, part)));
    let mut locations: Vec<_> =
        parts.iter().filter_map(of_part).map(|(table, part)| table.part_location(part)).collect();
    locations.sort();
    let mut original = Original::default();
    let mut files = HashMap::new();
    for location in locations {
        files.entry(location.file()).or_insert_with(|| original.add_file(location.file()));
    }
    for part in parts {
        let (place, keyword) = of_part(part).map_or((None, None), |(table, part)| {
            let location = table.part_location(part);
            (files.get(location.file()).map(|file| (*file, location.line())), table.keyword(part))
        });
        original.push(place, keyword);
    }
    for (ours, theirs) in tables.iter().filter_map(Table::names) {
        original.name_table(ours, theirs);
    }
    original
}

/// Removes a part from the result, and returns it if it is a whole table. A list that becomes empty goes with its last
/// element.
fn remove(tables: &mut Vec<Table>, part: Part) -> Option<Table> {
    match (part.entry, part.element) {
        (None, _) => Some(tables.remove(part.table)),
        (Some(entry), element) => {
            let table = tables.get_mut(part.table)?;
            let emptied = match (table.entries.get_mut(entry).map(|entry| &mut entry.value), element) {
                (Some(Value::List(elements)), Some(element)) => {
                    elements.remove(element);
                    elements.is_empty()
                }
                _ => true,
            };
            if emptied {
                table.entries.remove(entry);
            }
            None
        }
    }
}

/// Returns the text of the result, and the part that each line shows.
fn render(tables: &[Table]) -> (String, Vec<Option<Part>>) {
    let mut text = AnnotatedText::default();
    for (index, table) in tables.iter().enumerate() {
        if index > 0 {
            text.line("", None);
        }
        let part = Part { table: index, entry: None, element: None };
        text.line(&format!("{}  # {}", table.header, table.location), Some(part));
        for (index, entry) in table.entries.iter().enumerate() {
            let part = Part { entry: Some(index), ..part };
            for note in &entry.notes {
                text.line(&format!("# {note}"), None);
            }
            match &entry.value {
                Value::One(value, location) => {
                    let line = format!("{} = {}", entry.key, inline(value));
                    text.line(&commented(&line, location.as_ref()), Some(part));
                }
                Value::List(elements) => {
                    text.line(&format!("{} = [", entry.key), Some(part));
                    for (index, element) in elements.iter().enumerate() {
                        let line = commented(&format!("    {},", inline(&element.value)), Some(&element.location));
                        text.line(&line, Some(Part { element: Some(index), ..part }));
                    }
                    text.line("]", Some(part));
                }
            }
        }
    }
    (text.text, text.parts)
}

/// Formats a value on one line, whatever it contains.
fn inline(value: &Toml) -> String {
    match value {
        Toml::String(text) => quoted(text),
        Toml::Array(elements) => format!("[{}]", elements.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Toml::Table(table) => {
            let pairs: Vec<_> = table.iter().map(|(key, value)| format!("{key} = {}", inline(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Adds the original line to a line of the result, as a comment.
fn commented(line: &str, location: Option<&Location>) -> String {
    location.map_or_else(|| line.to_owned(), |location| format!("{line}  # {location}"))
}

#[derive(Default)]
struct AnnotatedText {
    text: String,
    parts: Vec<Option<Part>>,
}

impl AnnotatedText {
    /// Adds a line. Escapes control characters, which would end the comment or the line.
    fn line(&mut self, line: &str, part: Option<Part>) {
        for c in line.chars() {
            if c.is_control() {
                let _ = write!(self.text, "{}", c.escape_default());
            } else {
                self.text.push(c);
            }
        }
        self.text.push('\n');
        self.parts.push(part);
    }
}
