//! Removes what keepalived ignores because of the order of the lines: it looks a script, process or file up when it
//! reads the line that tracks it, and finds the first one of the name.

use std::collections::{HashMap, HashSet};

use super::super::location::Location;
use super::super::report::ImportReport;
use super::tree::Statement;

/// Lines of definitions, by the block that refers to them and their name.
type Defined = HashMap<(&'static str, String), Location>;

/// Removes second definitions of a name, references to a later definition, and second references to one thing.
pub(super) fn apply(mut statements: Vec<Statement>, report: &mut ImportReport) -> Vec<Statement> {
    let mut all = Defined::new();
    statements.retain(|statement| {
        let Some((directive, name)) = definition(statement) else { return true };
        match all.get(&(directive, name.to_owned())) {
            Some(first) => {
                let advice = format!(
                    "{name:?} is already defined at {first}, so keepalived does not use this one; give it another name, \
                     or remove it"
                );
                report.changed(&statement.location, &statement.keyword, advice);
                false
            }
            None => {
                all.insert((directive, name.to_owned()), statement.location.clone());
                true
            }
        }
    });
    let mut defined = HashSet::new();
    for statement in &mut statements {
        if let Some((directive, name)) = definition(statement) {
            defined.insert((directive, name.to_owned()));
        } else if matches!(statement.keyword.as_str(), "vrrp_instance" | "vrrp_sync_group") {
            remove_ignored(statement, &all, &defined, report);
        }
    }
    statements
}

/// Removes the references of a block that keepalived ignores.
fn remove_ignored(
    statement: &mut Statement,
    all: &Defined,
    defined: &HashSet<(&'static str, String)>,
    report: &mut ImportReport,
) {
    let mut tracked = HashSet::new();
    for list in statement.block.iter_mut().flatten() {
        let Some(directive) = referring(&list.keyword) else { continue };
        let Some(lines) = &mut list.block else { continue };
        lines.retain(|line| {
            let key = (directive, line.keyword.clone());
            if let Some(definition) = all.get(&key).filter(|_| !defined.contains(&key)) {
                let advice = format!(
                    "{:?} is defined only at {definition}, after this line, so keepalived ignores the line, and so does \
                     the import; move the definition before it",
                    line.keyword
                );
                report.changed(&line.location, directive, advice);
                return false;
            }
            let first = tracked.insert(key);
            if !first {
                let advice = format!("{:?} is listed twice; keepalived uses the first line", line.keyword);
                report.note(&line.location, directive, advice);
            }
            first
        });
    }
}

/// Returns the block that refers to what a statement defines, and its name.
fn definition(statement: &Statement) -> Option<(&'static str, &str)> {
    let directive = match statement.keyword.as_str() {
        "vrrp_script" => "track_script",
        "vrrp_track_process" => "track_process",
        "track_file" | "vrrp_track_file" => "track_file",
        _ => return None,
    };
    Some((directive, statement.word(0)?))
}

/// Returns the name of a block that refers to things to track.
fn referring(keyword: &str) -> Option<&'static str> {
    ["track_interface", "track_script", "track_process", "track_file"].into_iter().find(|name| *name == keyword)
}
