//! keepalived.conf(5), as keepalived 2.2.7 reads it, with the directives of 2.4.3.

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
use self::instance::Instance;
use self::tree::Statement;
use super::document::Table;
use super::names::Names;
use super::place::SourceLine;
use super::report::Report;
use super::{ImportError, Options};

/// The tables that a file makes, not checked yet.
pub(super) fn import(path: &Path, options: &Options, report: &mut Report) -> Result<Vec<Table>, ImportError> {
    let statements = tree::parse(&lines::read(path, options, report)?)?;
    let mut global = Global::default();
    let mut checks = track::Checks::default();
    // What virtual routers refer to comes first: keepalived demands that order only of some.
    for statement in &statements {
        match statement.keyword.as_str() {
            "global_defs" => table::apply(global::DIRECTIVES, &mut global, statement, report),
            "vrrp_script" | "vrrp_track_process" | "track_file" | "vrrp_track_file" => checks.define(statement, report),
            "vrrp_instance" | "vrrp_sync_group" => {}
            keyword => report.left(&statement.place, keyword, advice::top_level(keyword)),
        }
    }

    let mut names = Names::default();
    let mut instances = Vec::new();
    for statement in statements.iter().filter(|statement| statement.keyword == "vrrp_instance") {
        let mut instance = Instance::new(statement, &mut names, report);
        table::apply(instance::DIRECTIVES, &mut instance, statement, report);
        instances.push(instance);
    }
    if instances.is_empty() {
        report.left(
            &SourceLine::new(path, 0),
            "vrrp_instance",
            "there is none in it, so there is nothing for xvrrp to do",
        );
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
