//! Reads what a `vrrp_track_process` counts.

use toml::Value as Toml;

use super::super::document::Table;
use super::super::location::Located;
use super::super::report::ImportReport;
use super::super::time::{duration, seconds};
use super::tree::Statement;

/// Longest delay, in microseconds.
const MAX_DELAY: u64 = 3600 * 1_000_000;

/// Directives of a block that concern processes.
#[derive(Debug, Default)]
pub(super) struct Processes {
    /// The program and its arguments.
    words: Option<Located<Vec<String>>>,
    full_command: bool,
    matching: Option<Located<Matching>>,
    quorum: Option<Located<u32>>,
    quorum_max: Option<Located<u32>>,
    /// In microseconds.
    fork_delay: Option<Located<u64>>,
    /// In microseconds.
    terminate_delay: Option<Located<u64>>,
}

/// How `param_match` compares the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matching {
    Exact,
    Partial,
    Initial,
}

impl Processes {
    /// Reads `process`.
    pub fn set_process(&mut self, it: &Statement, report: &mut ImportReport) {
        if it.value(report).is_none() {
            return;
        }
        if self.words.is_some() {
            return report.note(&it.location, "process", "keepalived uses the first one, and ignores this; remove it");
        }
        self.words = Some(Located::new(it.words.clone(), &it.location));
    }

    /// Reads `full_command`.
    pub fn set_full_command(&mut self) {
        self.full_command = true;
    }

    /// Reads `param_match`.
    pub fn set_matching(&mut self, it: &Statement, report: &mut ImportReport) {
        let matching = match it.word(0) {
            None => Matching::Exact,
            Some("partial") => Matching::Partial,
            Some("initial") => Matching::Initial,
            Some(other) => {
                let advice = format!("{other:?} is neither initial nor partial, so keepalived ignores it; correct it");
                return report.note(&it.location, "param_match", advice);
            }
        };
        self.matching = Some(Located::new(matching, &it.location));
    }

    /// Reads `quorum`.
    pub fn set_quorum(&mut self, it: &Statement, report: &mut ImportReport) {
        let Some(quorum) = it.number(1..=65_535, report) else { return };
        if self.quorum_max.as_ref().is_some_and(|max| quorum > max.value) {
            return report.note(
                &it.location,
                "quorum",
                "is more than quorum_max, so keepalived ignores it; correct it",
            );
        }
        self.quorum = Some(Located::new(quorum, &it.location));
    }

    /// Reads `quorum_max`.
    pub fn set_quorum_max(&mut self, it: &Statement, report: &mut ImportReport) {
        let Some(max) = it.number(0..=65_535, report) else { return };
        let min = self.quorum.as_ref().map_or(1, |quorum| quorum.value);
        if max < min && (max > 0 || min > 1) {
            return report.note(
                &it.location,
                "quorum_max",
                "is less than quorum, so keepalived ignores it; correct it",
            );
        }
        self.quorum_max = Some(Located::new(max, &it.location));
        if max == 0 {
            self.quorum = None;
        }
    }

    /// Reads `delay`.
    pub fn set_delay(&mut self, it: &Statement, report: &mut ImportReport) {
        if let Some(delay) = delay(it, report) {
            self.fork_delay = Some(delay.clone());
            self.terminate_delay = Some(delay);
        }
    }

    /// Reads `fork_delay`.
    pub fn set_fork_delay(&mut self, it: &Statement, report: &mut ImportReport) {
        self.fork_delay = delay(it, report).or(self.fork_delay.take());
    }

    /// Reads `terminate_delay`.
    pub fn set_terminate_delay(&mut self, it: &Statement, report: &mut ImportReport) {
        self.terminate_delay = delay(it, report).or(self.terminate_delay.take());
    }

    /// Returns the value of `process` in the result: a name, or a command line.
    pub fn subject(&self) -> Option<Located<Toml>> {
        let Located { value: words, location } = self.words.as_ref()?;
        let subject = match words.as_slice() {
            [name] if !self.full_command && self.matching.is_none() => Toml::String(name.clone()),
            words => Toml::Array(words.iter().cloned().map(Toml::String).collect()),
        };
        Some(Located::new(subject, location))
    }

    /// Adds the keys besides `process`.
    pub fn write(&self, table: &mut Table) {
        if let Some(Located { value, location }) = &self.matching {
            let has_arguments = self.words.as_ref().is_some_and(|words| words.value.len() > 1);
            let rule = match (value, has_arguments) {
                (Matching::Exact, _) => Some("exact"),
                (Matching::Partial, true) => Some("leading"),
                (Matching::Initial, true) => Some("prefix"),
                (Matching::Partial | Matching::Initial, false) => None,
            };
            if let Some(rule) = rule {
                table.set("arguments", rule, location);
            }
        }
        for (key, number) in [("quorum", &self.quorum), ("quorum_max", &self.quorum_max)] {
            if let Some(Located { value, location }) = number {
                table.set(key, *value, location);
            }
        }
        for (key, delay) in [("fork_delay", &self.fork_delay), ("terminate_delay", &self.terminate_delay)] {
            if let Some(Located { value, location }) = delay {
                table.set(key, duration(*value), location);
            }
        }
    }
}

/// Reads seconds with a fraction. Returns microseconds.
fn delay(it: &Statement, report: &mut ImportReport) -> Option<Located<u64>> {
    let text = it.value(report)?;
    let micros = seconds(text).filter(|micros| (1..=MAX_DELAY).contains(micros));
    if micros.is_none() {
        let advice =
            format!("{text:?} is not a time from 0.000001 to 3600 seconds, so keepalived ignores it; correct it");
        report.note(&it.location, &it.keyword, advice);
    }
    micros.map(|micros| Located::new(micros, &it.location))
}
