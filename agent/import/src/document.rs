//! The configuration that comes out: tables of keys, each with where it comes from.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use toml::Value as Toml;

use super::place::{Located, SourceLine};
use super::report::Report;

/// Without these a virtual router is none.
const REQUIRED: &[&str] = &["name", "interface", "vrid"];

/// A table of the configuration.
#[derive(Debug)]
pub(super) struct Table {
    /// With its brackets: `[[virtual_router]]`.
    header: &'static str,
    place: SourceLine,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: &'static str,
    value: Value,
    /// Comment lines above it.
    notes: Vec<String>,
}

#[derive(Debug)]
enum Value {
    /// In TOML, with the places that it comes from.
    One(String, Option<SourceLine>),
    /// The same for each element of a list.
    List(Vec<Located<String>>),
}

/// What stands on a line of the text: a table's header, or one of its keys, or an element of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    table: usize,
    entry: Option<usize>,
    element: Option<usize>,
}

impl Table {
    pub fn new(header: &'static str, place: &SourceLine) -> Self {
        Self { header, place: place.clone(), entries: Vec::new() }
    }

    /// A string, integer or boolean.
    pub fn set(&mut self, key: &'static str, value: impl Into<Toml>, place: &SourceLine) {
        self.push(key, Value::One(inline(&value.into()), Some(place.clone())), Vec::new());
    }

    /// The same with a comment of its own.
    pub fn set_with_note(
        &mut self,
        key: &'static str,
        value: impl Into<Toml>,
        place: &SourceLine,
        note: impl Into<String>,
    ) {
        self.push(key, Value::One(inline(&value.into()), Some(place.clone())), vec![note.into()]);
    }

    /// What stands in no file: with the reason.
    pub fn choose(&mut self, key: &'static str, value: impl Into<Toml>, note: impl Into<String>) {
        self.push(key, Value::One(inline(&value.into()), None), vec![note.into()]);
    }

    /// What stands in no file, where the note of the key before it says the reason.
    pub fn unplaced(&mut self, key: &'static str, value: impl Into<Toml>) {
        self.push(key, Value::One(inline(&value.into()), None), Vec::new());
    }

    /// A list, unless it is empty.
    pub fn set_list<T: Into<Toml>>(&mut self, key: &'static str, elements: Vec<Located<T>>) {
        self.set_list_with_note(key, elements, None);
    }

    /// The same with a comment above it.
    pub fn set_list_with_note<T: Into<Toml>>(
        &mut self,
        key: &'static str,
        elements: Vec<Located<T>>,
        note: Option<&str>,
    ) {
        if !elements.is_empty() {
            let elements = elements.into_iter();
            let elements = elements.map(|Located { value, place }| Located { value: inline(&value.into()), place });
            self.push(key, Value::List(elements.collect()), note.into_iter().map(str::to_owned).collect());
        }
    }

    fn push(&mut self, key: &'static str, value: Value, notes: Vec<String>) {
        self.entries.push(Entry { key, value, notes });
    }

    fn spot_place(&self, spot: Spot) -> &SourceLine {
        let entry = spot.entry.and_then(|entry| self.entries.get(entry));
        let place = entry.and_then(|entry| match &entry.value {
            Value::One(_, place) => place.as_ref(),
            Value::List(elements) => {
                let element = spot.element.and_then(|element| elements.get(element)).or(elements.first());
                element.map(|element| &element.place)
            }
        });
        place.unwrap_or(&self.place)
    }
}

/// The text. What the configuration's own reader will not have is taken out, and reported. `None`: nothing is left.
pub(super) fn finish(mut tables: Vec<Table>, report: &mut Report) -> Option<String> {
    while tables.iter().any(|table| table.header == "[[virtual_router]]") {
        let (text, spots) = render(&tables);
        let Err(error) = xvrrp_config::parse(Path::new("result"), &text) else {
            return Some(text);
        };
        let mut wrong = BTreeSet::new();
        for problem in error.problems() {
            let spot = problem.line.and_then(|line| *spots.get(line.checked_sub(1)?)?);
            let Some((spot, table)) = spot.and_then(|spot| Some((widen(&tables, spot), tables.get(spot.table)?)))
            else {
                continue;
            };
            if wrong.insert(spot) {
                report.left(
                    table.spot_place(spot),
                    &label(table, spot),
                    format!("left out: {}", without_line(&problem.message)),
                );
            }
        }
        if wrong.is_empty() {
            return None;
        }
        for spot in wrong.into_iter().rev() {
            remove(&mut tables, spot);
        }
    }
    None
}

/// Lines of the result are not those of the original.
fn without_line(message: &str) -> String {
    match message.split_once(" (line ") {
        Some((before, after)) => format!("{before}{}", after.split_once(')').map_or("", |(_, rest)| rest)),
        None => message.to_owned(),
    }
}

/// A table that lacks what it must have goes whole.
fn widen(tables: &[Table], spot: Spot) -> Spot {
    let key = tables.get(spot.table).and_then(|table| table.entries.get(spot.entry?)).map(|entry| entry.key);
    if key.is_some_and(|key| REQUIRED.contains(&key)) { Spot { entry: None, element: None, ..spot } } else { spot }
}

fn label(table: &Table, spot: Spot) -> String {
    let key = spot.entry.and_then(|entry| table.entries.get(entry)).map(|entry| entry.key);
    key.unwrap_or(table.header).to_owned()
}

fn remove(tables: &mut Vec<Table>, spot: Spot) {
    match (spot.entry, spot.element) {
        (None, _) => {
            tables.remove(spot.table);
        }
        (Some(entry), element) => {
            let Some(table) = tables.get_mut(spot.table) else { return };
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

/// The text, and what stands on each of its lines.
fn render(tables: &[Table]) -> (String, Vec<Option<Spot>>) {
    let mut text = Text::default();
    for (index, table) in tables.iter().enumerate() {
        if index > 0 {
            text.line("", None);
        }
        let spot = Spot { table: index, entry: None, element: None };
        text.line(&format!("{}  # {}", table.header, table.place), Some(spot));
        for (index, entry) in table.entries.iter().enumerate() {
            let spot = Spot { entry: Some(index), ..spot };
            for note in &entry.notes {
                text.line(&format!("# {note}"), None);
            }
            match &entry.value {
                Value::One(value, place) => {
                    text.line(&commented(&format!("{} = {value}", entry.key), place.as_ref()), Some(spot))
                }
                Value::List(elements) => {
                    text.line(&format!("{} = [", entry.key), Some(spot));
                    for (index, element) in elements.iter().enumerate() {
                        let line = commented(&format!("    {},", element.value), Some(&element.place));
                        text.line(&line, Some(Spot { element: Some(index), ..spot }));
                    }
                    text.line("]", Some(spot));
                }
            }
        }
    }
    (text.text, text.spots)
}

/// On one line, whatever it holds.
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

fn commented(line: &str, place: Option<&SourceLine>) -> String {
    place.map_or_else(|| line.to_owned(), |place| format!("{line}  # {place}"))
}

#[derive(Default)]
struct Text {
    text: String,
    spots: Vec<Option<Spot>>,
}

impl Text {
    /// A control character would end the comment, or the line: it is shown as its escape.
    fn line(&mut self, line: &str, spot: Option<Spot>) {
        for c in line.chars() {
            if c.is_control() {
                let _ = write!(self.text, "{}", c.escape_default());
            } else {
                self.text.push(c);
            }
        }
        self.text.push('\n');
        self.spots.push(spot);
    }
}
