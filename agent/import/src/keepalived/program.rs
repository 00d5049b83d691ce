//! Notify scripts.

use super::super::document::Table;
use super::super::place::Located;
use super::super::report::Report;
use super::global::Global;
use super::tree::{Statement, command_words};

/// What is run at which change.
#[derive(Debug, Default)]
pub(super) struct Programs(Vec<Program>);

#[derive(Debug)]
struct Program {
    /// keepalived's.
    directive: &'static str,
    key: &'static str,
    command: Located<Vec<String>>,
}

/// keepalived's directives, and our keys.
const KEYS: &[(&str, &str)] = &[
    ("notify", "notify"),
    ("notify_master", "notify_active"),
    ("notify_backup", "notify_backup"),
    ("notify_fault", "notify_fault"),
    ("notify_stop", "notify_stop"),
];

impl Programs {
    pub fn add(&mut self, it: &Statement, report: &mut Report) {
        let Some((directive, key)) = KEYS.iter().find(|(directive, _)| *directive == it.keyword) else { return };
        // keepalived takes quotes and backslashes away twice: of the line, and of its first argument.
        let arguments = command_words(&it.text).unwrap_or_default();
        let command = arguments.get(1).and_then(|command| command_words(command)).filter(|words| !words.is_empty());
        let Some(command) = command else {
            return report.left(&it.place, directive, "has no program, or a quote without its counterpart; correct it");
        };
        if let Some(user) = arguments.get(2) {
            report.left(
                &it.place,
                directive,
                format!("is run as the agent's user, not as {user}; use runuser(1) in the program"),
            );
        }
        if self.0.iter().any(|program| program.directive == *directive) {
            return report.left(&it.place, directive, "keepalived takes the first one, and ignores this; remove it");
        }
        self.0.push(Program { directive, key, command: Located::new(command, &it.place) });
    }

    /// Into the keys of a virtual router or a group.
    pub fn write(&self, table: &mut Table, global: &Global, report: &mut Report) {
        for Program { directive, key, command: Located { value: command, place } } in &self.0 {
            let [program, arguments @ ..] = command.as_slice() else { continue };
            if arguments.is_empty() {
                table.set(key, program.as_str(), place);
                if let Some(user) = &global.script_user {
                    let advice = "notify programs are run as the agent's user; use runuser(1) in them";
                    report.left(&user.place, "script_user", advice);
                }
            } else {
                let advice = "a program is run with keepalived's arguments only; write one that has the others in it";
                report.left(place, directive, advice);
            }
        }
    }
}
