//! Converts notify scripts.

use toml::Value as Toml;

use super::super::document::Table;
use super::super::location::Located;
use super::super::report::ImportReport;
use super::command::{self, Command};
use super::tree::Statement;

/// Notify scripts of a virtual router or a group.
#[derive(Debug, Default)]
pub(super) struct Programs(Vec<Program>);

#[derive(Debug)]
struct Program {
    /// Directive of keepalived.
    directive: &'static str,
    /// Key of xvrrp.
    key: &'static str,
    /// The command, or a table with its user.
    program: Located<Toml>,
}

/// Directives of keepalived, with the keys of xvrrp.
const KEYS: &[(&str, &str)] = &[
    ("notify", "notify"),
    ("notify_master", "notify_active"),
    ("notify_backup", "notify_backup"),
    ("notify_fault", "notify_fault"),
    ("notify_stop", "notify_stop"),
    ("notify_deleted", "notify_deleted"),
    ("notify_master_rx_lower_pri", "notify_active_lower_priority"),
];

impl Programs {
    /// Reads a directive.
    pub fn add(&mut self, it: &Statement, report: &mut ImportReport) {
        let Some((directive, key)) = KEYS.iter().find(|(directive, _)| *directive == it.keyword) else { return };
        // Without a program, keepalived only uses another word for the removal.
        if it.keyword == "notify_deleted" && it.words.is_empty() {
            return self.push(directive, key, Toml::Boolean(true), it, report);
        }
        let Some(Command { value: command, rest }) = command::read(it, report) else { return };
        let program = match command::user(&rest) {
            Some(user) => Toml::Table(
                [("run".to_owned(), command), ("user".to_owned(), Toml::String(user))].into_iter().collect(),
            ),
            None => command,
        };
        self.push(directive, key, program, it, report);
    }

    fn push(
        &mut self,
        directive: &'static str,
        key: &'static str,
        program: Toml,
        it: &Statement,
        report: &mut ImportReport,
    ) {
        if self.0.iter().any(|program| program.directive == directive) {
            return report.note(&it.location, directive, "keepalived uses the first one, and ignores this; remove it");
        }
        self.0.push(Program { directive, key, program: Located::new(program, &it.location) });
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the keys of a virtual router or a group.
    pub fn write(&self, table: &mut Table) {
        for Program { key, program, .. } in &self.0 {
            table.set(key, program.value.clone(), &program.location);
        }
    }
}
