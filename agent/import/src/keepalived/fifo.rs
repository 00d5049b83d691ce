//! Converts `notify_fifo`, `vrrp_notify_fifo` and their scripts.

use toml::Value as Toml;

use super::super::location::{Located, Location};
use super::super::report::ImportReport;
use super::command::{self, Command};
use super::tree::Statement;

/// A FIFO of `global_defs`.
#[derive(Debug, Default)]
pub(super) struct Fifo {
    path: Option<Located<String>>,
    owner: Option<String>,
    /// The program that reads it, and its user.
    script: Option<Located<(Toml, Option<String>)>>,
}

impl Fifo {
    /// Reads its path, and the user that owns it.
    pub fn set_path(&mut self, it: &Statement, report: &mut ImportReport) {
        let Some(path) = it.value(report) else { return };
        if self.path.is_some() {
            return report.note(
                &it.location,
                &it.keyword,
                "keepalived uses the first one, and ignores this; remove it",
            );
        }
        self.path = Some(Located::new(path.to_owned(), &it.location));
        self.owner = command::user(it.words.get(1..).unwrap_or_default());
    }

    /// Reads the program that reads the FIFO.
    pub fn set_script(&mut self, it: &Statement, report: &mut ImportReport) {
        let Some(Command { value, rest }) = command::read(it, report) else { return };
        if self.script.is_some() {
            return report.note(
                &it.location,
                &it.keyword,
                "keepalived uses the first one, and ignores this; remove it",
            );
        }
        self.script = Some(Located::new((value, command::user(&rest)), &it.location));
    }

    /// Returns whether keepalived would use it.
    pub fn is_used(&self) -> bool {
        self.path.is_some()
    }

    /// Returns the first line that concerns it.
    pub fn location(&self) -> Option<&Location> {
        self.path.as_ref().map(|path| &path.location)
    }

    /// Makes an element of `notify_fifo`. Reports a script without a FIFO.
    pub fn element(&self, states_on_reload: bool, report: &mut ImportReport) -> Option<Located<Toml>> {
        let Some(Located { value: path, location }) = &self.path else {
            if let Some(script) = &self.script {
                let advice = "keepalived ignores it without the path of the FIFO; add that, or remove this";
                report.note(&script.location, "notify_fifo_script", advice);
            }
            return None;
        };
        let mut table = toml::Table::new();
        let mut set = |key: &str, value: Toml| drop(table.insert(key.to_owned(), value));
        set("path", Toml::String(path.clone()));
        if let Some(owner) = &self.owner {
            set("owner", Toml::String(owner.clone()));
        }
        if let Some(Located { value: (run, user), .. }) = &self.script {
            set("run", run.clone());
            if let Some(user) = user {
                set("user", Toml::String(user.clone()));
            }
        }
        if states_on_reload {
            set("states_on_reload", Toml::Boolean(true));
        }
        Some(Located::new(Toml::Table(table), location))
    }
}
