//! Reads one table of the file key by key: checks types and ranges, and reports unknown keys.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use xvrrp_common::units::Interval;

use super::duration;
use super::error::{Lines, Problems, Reported, all};
use super::keys::{self, Key};
use super::quote::{bare_or_quoted, quote, shorten};

/// A table, with what is needed to report problems in it.
pub(super) struct Section<'a, 'i> {
    /// Name of the table in messages: `virtual_router "lan"`. Empty for the top level of the file.
    pub place: String,
    /// Line of the header; 1 for the top level of the file.
    pub line: usize,
    pub table: &'a DeTable<'i>,
    pub lines: &'a Lines,
    pub problems: &'a mut Problems,
}

/// A value, with its line in the file.
#[derive(Clone, Copy)]
pub(super) struct Found<'a, 'i> {
    pub value: &'a DeValue<'i>,
    pub line: usize,
}

impl<'a, 'i> Section<'a, 'i> {
    /// Returns the value of a key, if the table has this key.
    pub fn get(&self, key: &Key) -> Option<Found<'a, 'i>> {
        self.table.get(key.name).map(|value| self.found(value))
    }

    fn found(&self, value: &'a Spanned<DeValue<'i>>) -> Found<'a, 'i> {
        Found { value: value.get_ref(), line: self.lines.line(value.span().start) }
    }

    /// Returns a table inside this one.
    pub fn below<'b>(&'b mut self, place: String, table: &'b DeTable<'i>, line: usize) -> Section<'b, 'i> {
        Section { place, line, table, lines: self.lines, problems: self.problems }
    }

    /// Returns the line of the value of a key, or of the header if the table does not have this key.
    pub fn line_of(&self, key: &Key) -> usize {
        self.get(key).map_or(self.line, |found| found.line)
    }

    /// Reports `PLACE: KEY: message`.
    pub fn report(&mut self, key: &Key, line: usize, message: impl Display) -> Reported {
        let separator = if self.place.is_empty() { "" } else { ": " };
        self.problems.report(line, format!("{}{separator}{}: {message}", self.place, key.name))
    }

    /// Reports what is wrong with a value, and what is expected.
    pub fn reject(&mut self, key: &Key, line: usize, wrong: impl Display) -> Reported {
        self.report(key, line, format_args!("{wrong}; expected {}", key.expected))
    }

    /// Reports a value of the wrong type, and what is expected.
    pub fn reject_type(&mut self, key: &Key, found: Found) -> Reported {
        let quoted = found.value.is_str() && (key.expected.contains("integer") || key.expected.starts_with("true"));
        let unquoted = if quoted { ", without quotes" } else { "" };
        self.report(
            key,
            found.line,
            format_args!("found {}; expected {}{unquoted}", describe(found.value), key.expected),
        )
    }

    /// Returns the value of a key, or reports that the key is missing.
    pub fn required<T>(&mut self, key: &Key, value: Option<T>) -> Result<T, Reported> {
        value.ok_or_else(|| self.reject(key, self.line, "is missing"))
    }

    /// Reads a string.
    pub fn string(&mut self, key: &Key) -> Result<Option<&'a str>, Reported> {
        self.get(key).map(|found| found.value.as_str().ok_or_else(|| self.reject_type(key, found))).transpose()
    }

    /// Reads a string that log lines, file names and commands can contain without quotes.
    pub fn identifier(&mut self, key: &Key) -> Result<Option<&'a str>, Reported> {
        let Some(text) = self.string(key)? else { return Ok(None) };
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let wrong = if text.is_empty() {
            "is empty".into()
        } else if let Some(c) = text.chars().find(|c| !allowed(*c)) {
            format!("{c:?} is not allowed")
        } else if text.len() > 64 {
            format!("is {} characters long", text.len())
        } else {
            return Ok(Some(text));
        };
        Err(self.reject(key, self.line_of(key), wrong))
    }

    /// Reads an absolute path of at most `max_length` bytes.
    pub fn absolute_path(&mut self, key: &Key, max_length: usize) -> Result<Option<PathBuf>, Reported> {
        let Some(text) = self.string(key)? else { return Ok(None) };
        let path = Path::new(text);
        let wrong = if !path.is_absolute() {
            format!("{} is not absolute", quote(text))
        } else if text.len() > max_length {
            format!("{} is {} bytes long", quote(text), text.len())
        } else if path.file_name().is_none() || text.contains('\0') {
            format!("{} does not name a file", quote(text))
        } else {
            return Ok(Some(path.to_owned()));
        };
        Err(self.reject(key, self.line_of(key), wrong))
    }

    /// Reads a boolean.
    pub fn boolean(&mut self, key: &Key, default: bool) -> Result<bool, Reported> {
        self.optional_boolean(key).map(|value| value.unwrap_or(default))
    }

    /// Reads a boolean that has no default.
    pub fn optional_boolean(&mut self, key: &Key) -> Result<Option<bool>, Reported> {
        self.get(key).map(|found| found.value.as_bool().ok_or_else(|| self.reject_type(key, found))).transpose()
    }

    /// Reads an integer that must be within the range.
    pub fn integer<T: TryFrom<i64> + PartialOrd>(
        &mut self,
        key: &Key,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, Reported> {
        let Some(found) = self.get(key) else { return Ok(None) };
        let DeValue::Integer(integer) = found.value else {
            return Err(self.reject_type(key, found));
        };
        let number =
            i64::from_str_radix(integer.as_str(), integer.radix()).ok().and_then(|number| number.try_into().ok());
        match number {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(self.reject(key, found.line, format_args!("{} is out of range", shorten(&integer.to_string())))),
        }
    }

    /// Reads a duration that must be within the range.
    pub fn duration(
        &mut self,
        key: &Key,
        range: RangeInclusive<Interval>,
        default: Interval,
    ) -> Result<Interval, Reported> {
        let Some(found) = self.get(key) else { return Ok(default) };
        let text = match found.value {
            DeValue::String(text) => text,
            DeValue::Integer(number) => return Err(self.reject_unitless(key, found.line, number.as_str(), &range)),
            DeValue::Float(number) => return Err(self.reject_unitless(key, found.line, number.as_str(), &range)),
            _ => return Err(self.reject_type(key, found)),
        };
        match duration::parse(text) {
            Ok(interval) if range.contains(&interval) => Ok(interval),
            Ok(_) => Err(self.reject(key, found.line, format_args!("{} is out of range", quote(text)))),
            Err(duration::Malformed::NoUnit) => Err(self.reject_unitless(key, found.line, text, &range)),
            Err(malformed) => {
                Err(self.reject(key, found.line, format_args!("{} {}", quote(text), malformed.describe())))
            }
        }
    }

    /// Reports a duration without a unit, and proposes the units with which it would be within the range.
    fn reject_unitless(&mut self, key: &Key, line: usize, number: &str, range: &RangeInclusive<Interval>) -> Reported {
        let fitting: Vec<_> = ["s", "ms"]
            .map(|unit| format!("{number}{unit}"))
            .into_iter()
            .filter(|text| duration::parse(text).is_ok_and(|interval| range.contains(&interval)))
            .map(|text| quote(&text))
            .collect();
        let number = shorten(number);
        if fitting.is_empty() {
            self.reject(key, line, format_args!("{number} has no unit"))
        } else {
            self.report(key, line, format_args!("{number} has no unit; write {}", fitting.join(" or ")))
        }
    }

    /// Reads a list. Returns its elements and its line.
    pub fn list(&mut self, key: &Key) -> Result<Option<(Vec<Found<'a, 'i>>, usize)>, Reported> {
        let Some(found) = self.get(key) else { return Ok(None) };
        let DeValue::Array(array) = found.value else {
            return Err(self.reject_type(key, found));
        };
        Ok(Some((array.iter().map(|element| self.found(element)).collect(), found.line)))
    }

    /// Parses the strings of a list. Returns them with their lines, or reports each one that is wrong.
    pub fn each<T, E: Display>(
        &mut self,
        key: &Key,
        elements: Vec<Found>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<(T, usize)>, Reported> {
        all(elements.into_iter().map(|Found { value, line }| {
            let DeValue::String(text) = value else {
                let found = describe(value);
                return Err(self.report(key, line, format_args!("found {found}; expected an address in quotes")));
            };
            parse(text).map(|element| (element, line)).map_err(|error| self.report(key, line, error))
        }))
    }

    /// Reports the keys of this table that are not among these.
    pub fn report_unknown_keys(&mut self, keys: &[Key]) {
        for name in self.table.keys() {
            if keys.iter().any(|key| key.name == name.get_ref()) {
                continue;
            }
            let separator = if self.place.is_empty() { "" } else { ": " };
            let line = self.lines.line(name.span().start);
            let remedy = keys::remedy(name.get_ref(), keys);
            let name = bare_or_quoted(name.get_ref());
            self.problems.report(line, format!("{}{separator}{name}: unknown key; {remedy}", self.place));
        }
    }
}

/// Describes a value: `the integer 5`, `a list`.
fn describe(value: &DeValue) -> String {
    match value {
        DeValue::String(text) => format!("the string {}", quote(text)),
        DeValue::Integer(number) => format!("the integer {}", shorten(&number.to_string())),
        DeValue::Float(number) => format!("the number {}", shorten(&number.to_string())),
        DeValue::Boolean(boolean) => format!("the boolean {boolean}"),
        DeValue::Datetime(datetime) => format!("the date {datetime}"),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}
