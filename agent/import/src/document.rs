//! The resulting configuration: tables of keys, each with the line that it comes from.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use toml::Value as Toml;

use super::location::{Located, Location};
use super::report::ImportReport;

/// Keys without which a virtual router cannot exist. An error in one of them removes the whole table.
const REQUIRED: &[&str] = &["name", "interface", "vrid"];

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

#[derive(Debug)]
enum Value {
    /// In TOML, with the line that it comes from, unless the import chose it.
    One(String, Option<Location>),
    /// Elements in TOML, each with the line that it comes from.
    List(Vec<Located<String>>),
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
        self.push(key, Value::One(inline(&value.into()), Some(location.clone())), Vec::new());
    }

    /// Adds a value that the original has, with a comment above it.
    pub fn set_with_note(
        &mut self,
        key: &'static str,
        value: impl Into<Toml>,
        location: &Location,
        note: impl Into<String>,
    ) {
        self.push(key, Value::One(inline(&value.into()), Some(location.clone())), vec![note.into()]);
    }

    /// Adds a value that the original does not have, with the reason as a comment above it.
    pub fn choose(&mut self, key: &'static str, value: impl Into<Toml>, note: impl Into<String>) {
        self.push(key, Value::One(inline(&value.into()), None), vec![note.into()]);
    }

    /// Adds a value that the original does not have. The comment above the previous key gives the reason.
    pub fn choose_without_note(&mut self, key: &'static str, value: impl Into<Toml>) {
        self.push(key, Value::One(inline(&value.into()), None), Vec::new());
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
            let elements =
                elements.map(|Located { value, location }| Located { value: inline(&value.into()), location });
            self.push(key, Value::List(elements.collect()), note.into_iter().map(str::to_owned).collect());
        }
    }

    fn push(&mut self, key: &'static str, value: Value, notes: Vec<String>) {
        self.entries.push(KeyEntry { key, value, notes });
    }

    /// Returns the line of the original that a part of this table comes from.
    fn part_location(&self, part: Part) -> &Location {
        let entry = part.entry.and_then(|entry| self.entries.get(entry));
        let location = entry.and_then(|entry| match &entry.value {
            Value::One(_, location) => location.as_ref(),
            Value::List(elements) => {
                let element = part.element.and_then(|element| elements.get(element)).or(elements.first());
                element.map(|element| &element.location)
            }
        });
        location.unwrap_or(&self.location)
    }
}

/// Returns the text of the result. Removes and reports what the configuration's own reader refuses. Returns `None` if
/// no virtual router remains.
pub(super) fn finish(mut tables: Vec<Table>, report: &mut ImportReport) -> Option<String> {
    while tables.iter().any(|table| table.header == "[[virtual_router]]") {
        let (text, parts) = render(&tables);
        let Err(error) = xvrrp_config::parse(Path::new("result"), &text) else {
            return Some(text);
        };
        let mut wrong = BTreeSet::new();
        for problem in error.problems() {
            let part = problem.line.and_then(|line| *parts.get(line.checked_sub(1)?)?);
            let Some((part, table)) = part.and_then(|part| Some((widen(&tables, part), tables.get(part.table)?)))
            else {
                continue;
            };
            if wrong.insert(part) {
                report.add(
                    table.part_location(part),
                    &label(table, part),
                    format!("is left out: {}", without_line(&problem.message)),
                );
            }
        }
        if wrong.is_empty() {
            return None;
        }
        for part in wrong.into_iter().rev() {
            remove(&mut tables, part);
        }
    }
    None
}

/// Removes the line number from a message, because it is a line of the result, not of the original.
fn without_line(message: &str) -> String {
    match message.split_once(" (line ") {
        Some((before, after)) => format!("{before}{}", after.split_once(')').map_or("", |(_, rest)| rest)),
        None => message.to_owned(),
    }
}

/// Returns the whole table instead of a key that it cannot exist without.
fn widen(tables: &[Table], part: Part) -> Part {
    let key = tables.get(part.table).and_then(|table| table.entries.get(part.entry?)).map(|entry| entry.key);
    if key.is_some_and(|key| REQUIRED.contains(&key)) { Part { entry: None, element: None, ..part } } else { part }
}

/// Returns the name of a part in a notice.
fn label(table: &Table, part: Part) -> String {
    let key = part.entry.and_then(|entry| table.entries.get(entry)).map(|entry| entry.key);
    key.unwrap_or(table.header).to_owned()
}

/// Removes a part from the result. A list that becomes empty goes with its last element.
fn remove(tables: &mut Vec<Table>, part: Part) {
    match (part.entry, part.element) {
        (None, _) => {
            tables.remove(part.table);
        }
        (Some(entry), element) => {
            let Some(table) = tables.get_mut(part.table) else { return };
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
                    text.line(&commented(&format!("{} = {value}", entry.key), location.as_ref()), Some(part));
                }
                Value::List(elements) => {
                    text.line(&format!("{} = [", entry.key), Some(part));
                    for (index, element) in elements.iter().enumerate() {
                        let line = commented(&format!("    {},", element.value), Some(&element.location));
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
