//! Imports keepalived.conf(5) as keepalived 2.2.7 reads it, with the directives of 2.4.3.

mod address;
mod advice;
mod announce;
#[cfg(test)]
mod catalogue;
mod command;
mod election;
mod fifo;
mod global;
mod grammar;
mod group;
mod include;
mod instance;
mod lines;
mod mail;
mod order;
mod parameters;
mod parse;
mod peer;
mod process;
mod program;
mod router;
mod routing;
mod sequences;
mod source;
mod table;
mod text;
mod track;
mod tree;

use std::path::Path;

use self::global::Global;
use self::group::GroupDirectives;
use self::instance::InstanceDirectives;
use self::routing::Statics;
use self::table::Answer;
use self::tree::Statement;
use super::document::Table;
use super::error::ImportError;
use super::location::Location;
use super::names::TakenNames;
use super::options::Options;
use super::report::ImportReport;

/// Parts of messages of `xvrrp check` that name keys or values of xvrrp, each with what a keepalived.conf says instead.
pub(super) const PHRASES: &[(&str, &str)] = &[
    ("set virtual_mac = false", "remove use_vmac"),
    ("unicast_peers", "unicast_peer"),
    ("script_security forbids", "enable_script_security forbids"),
    ("this member of its sync_group", "this member of its vrrp_sync_group"),
    ("list it in track of the sync_group instead", "track it in the vrrp_sync_group instead"),
];

/// Returns whether this is the first word of a line in a keepalived.conf: a directive outside any block, an include, a
/// definition, a sequence or a condition.
pub(super) fn begins_line(word: &str) -> bool {
    grammar::top_level(word.trim_end_matches('{')).is_some()
        || include::parse(&format!("{word} x")).is_some()
        || word.starts_with(['$', '@', '~'])
}

/// Returns the tables of the result, which are not checked yet. `runs_here` says whether the result is used on this
/// host at once.
pub(super) fn import(
    path: &Path,
    options: &Options,
    runs_here: bool,
    report: &mut ImportReport,
) -> Result<Vec<Table>, ImportError> {
    let statements = parse::parse(lines::read(path, options, report)?, report);
    let mut statements = order::apply(statements, report);
    routing::prepare(&mut statements, report);
    let mut global = Global::default();
    let mut checks = track::ImportedChecks::default();
    let mut statics = Statics::default();
    // What virtual routers refer to is read first. Where keepalived requires that it comes first, `order` has seen to
    // it.
    for statement in &statements {
        match statement.keyword.as_str() {
            "global_defs" => table::apply(global::DIRECTIVES, &mut global, statement, report),
            "vrrp_script" | "vrrp_track_process" | "track_file" | "vrrp_track_file" => checks.define(statement, report),
            "garp_group" => global.gaps.add_group(statement, report),
            "net_namespace" => global.set_netns(statement, report),
            "vrrp_instance" | "vrrp_sync_group" => {}
            _ if statics.read(statement, global.default_interface.as_deref(), report) => {}
            _ => report_unread(statement, report),
        }
    }

    let mut names = TakenNames::default();
    let mut instances = Vec::new();
    for statement in statements.iter().filter(|statement| statement.keyword == "vrrp_instance") {
        let mut instance = InstanceDirectives::new(statement, &mut names, report);
        table::apply(instance::DIRECTIVES, &mut instance, statement, report);
        instances.push(instance);
    }
    if instances.is_empty() {
        report.add(&Location::new(path, 0), "vrrp_instance", "the file has none, so there is nothing for xvrrp to do");
    }
    source::decide(&mut instances, runs_here, report);
    let groups: Vec<&Statement> =
        statements.iter().filter(|statement| statement.keyword == "vrrp_sync_group").collect();
    let groups = group::read(&groups, &mut instances, report);

    let mut programs =
        instances.iter().map(|instance| &instance.programs).chain(groups.iter().map(GroupDirectives::programs));
    let has_scripts = checks.have_scripts() || global.has_fifos() || programs.any(|programs| !programs.is_empty());
    let mut tables = Vec::from_iter(global.agent(path, has_scripts, statics, report));
    let alerts =
        instances.iter().map(|instance| instance.alert.as_ref()).chain(groups.iter().map(GroupDirectives::alert));
    let mail = global.mail(alerts, report);
    let has_mail = mail.is_some();
    tables.extend(mail);
    let routers: Vec<Table> =
        instances.into_iter().filter_map(|instance| instance.table(&global, has_mail, &mut checks, report)).collect();
    let groups: Vec<Table> =
        groups.into_iter().map(|group| group.table(&global, has_mail, &mut checks, report)).collect();
    tables.extend(checks.tables(report));
    tables.extend(routers);
    tables.extend(groups);
    Ok(tables)
}

/// Reports a block or a directive outside any block that the import does not read.
fn report_unread(statement: &Statement, report: &mut ImportReport) {
    let Statement { keyword, location, block, .. } = statement;
    if block.as_ref().is_some_and(Vec::is_empty) {
        return report.note(location, keyword, "the block is empty");
    }
    match grammar::TOP_LEVEL.iter().find(|(known, ..)| known == keyword) {
        Some((.., Answer::Note(why))) => report.note(location, keyword, *why),
        Some((.., Answer::Change(difference))) => report.changed(location, keyword, *difference),
        Some((.., Answer::Advise(advice))) => report.add(location, keyword, *advice),
        Some((.., Answer::Read)) | None => {}
    }
}
