//! Imports keepalived.conf(5) as keepalived 2.2.7 reads it, with the directives of 2.4.3.

mod address;
mod advice;
mod announce;
mod global;
mod group;
mod instance;
mod lines;
mod mail;
mod peer;
mod program;
mod router;
mod table;
mod track;
mod tree;

use std::path::Path;

use self::global::Global;
use self::instance::InstanceDirectives;
use self::tree::Statement;
use super::document::Table;
use super::error::ImportError;
use super::location::Location;
use super::names::TakenNames;
use super::options::Options;
use super::report::ImportReport;

/// Returns the tables of the result, which are not checked yet.
pub(super) fn import(path: &Path, options: &Options, report: &mut ImportReport) -> Result<Vec<Table>, ImportError> {
    let statements = tree::parse(&lines::read(path, options, report)?)?;
    let mut global = Global::default();
    let mut checks = track::ImportedChecks::default();
    // What virtual routers refer to is read first. keepalived requires this order only for some of it.
    for statement in &statements {
        match statement.keyword.as_str() {
            "global_defs" => table::apply(global::DIRECTIVES, &mut global, statement, report),
            "vrrp_script" | "vrrp_track_process" | "track_file" | "vrrp_track_file" => checks.define(statement, report),
            "vrrp_instance" | "vrrp_sync_group" => {}
            keyword => report.add(&statement.location, keyword, advice::top_level(keyword)),
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
    let groups: Vec<&Statement> =
        statements.iter().filter(|statement| statement.keyword == "vrrp_sync_group").collect();
    let groups = group::read(&groups, &mut instances, report);

    let mut tables = Vec::from_iter(global.agent(report));
    let mail = global.mail(&instances, report);
    let has_mail = mail.is_some();
    tables.extend(mail);
    let routers: Vec<Table> =
        instances.into_iter().filter_map(|instance| instance.table(&global, has_mail, &mut checks, report)).collect();
    tables.extend(checks.tables(&global, report));
    tables.extend(routers);
    tables.extend(groups.into_iter().map(|group| group.table(&global, report)));
    Ok(tables)
}
