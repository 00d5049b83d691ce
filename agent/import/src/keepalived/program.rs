//! Converts notify scripts.

use super::super::document::Table;
use super::super::location::Located;
use super::super::report::ImportReport;
use super::global::Global;
use super::tree::{Statement, command_words};

/// Notify scripts of a virtual router or a group.
#[derive(Debug, Default)]
pub(super) struct Programs(Vec<Program>);

#[derive(Debug)]
struct Program {
    /// Directive of keepalived.
    directive: &'static str,
    /// Key of xvrrp.
    key: &'static str,
    command: Located<Vec<String>>,
}

/// Directives of keepalived, with the keys of xvrrp.
const KEYS: &[(&str, &str)] = &[
    ("notify", "notify"),
    ("notify_master", "notify_active"),
    ("notify_backup", "notify_backup"),
    ("notify_fault", "notify_fault"),
    ("notify_stop", "notify_stop"),
];

impl Programs {
    /// Reads a directive.
    pub fn add(&mut self, it: &Statement, report: &mut ImportReport) {
        let Some((directive, key)) = KEYS.iter().find(|(directive, _)| *directive == it.keyword) else { return };
        // keepalived removes quotes and backslashes twice: from the line, and from its first argument.
        let arguments = command_words(&it.text).unwrap_or_default();
        let command = arguments.get(1).and_then(|command| command_words(command)).filter(|words| !words.is_empty());
        let Some(command) = command else {
            return report.add(&it.location, directive, "has no program, or an unpaired quote; correct it");
        };
        if let Some(user) = arguments.get(2) {
            report.add(
                &it.location,
                directive,
                format!("runs as the agent's user, not as {user}; use runuser(1) in the program"),
            );
        }
        if self.0.iter().any(|program| program.directive == *directive) {
            return report.add(&it.location, directive, "keepalived uses the first one, and ignores this; remove it");
        }
        self.0.push(Program { directive, key, command: Located::new(command, &it.location) });
    }

    /// Adds the keys of a virtual router or a group.
    pub fn write(&self, table: &mut Table, global: &Global, report: &mut ImportReport) {
        for Program { directive, key, command: Located { value: command, location } } in &self.0 {
            let [program, arguments @ ..] = command.as_slice() else { continue };
            if arguments.is_empty() {
                table.set(key, program.as_str(), location);
                if let Some(user) = &global.script_user {
                    let advice = "notify programs run as the agent's user; use runuser(1) in them";
                    report.add(&user.location, "script_user", advice);
                }
            } else {
                let advice = "a program gets only keepalived's arguments; write a program that contains the others";
                report.add(location, directive, advice);
            }
        }
    }
}
