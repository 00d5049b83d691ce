//! Checks whether the host has the programs and users that a configuration names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::error::{Problems, Reported};
use super::index::CheckIndex;
use super::keys::{self, Key};
use super::model::{AgentConfig, CheckKind, Config, Item, NotifyFifo, NotifyProgram, Program, ScriptUser};
use super::notify;
use super::quote::quote;

/// What a check asks the host about the programs of a configuration.
pub trait HostLookup {
    /// Returns whether the path leads to a program that can be run.
    fn is_executable(&self, path: &Path) -> bool;

    /// Returns whether the host has this user, and the group if one is given.
    fn has_user(&self, user: &ScriptUser) -> bool;

    /// Returns whether programs of this user, or of the agent's, run as root.
    fn is_root(&self, user: Option<&ScriptUser>) -> bool;

    /// Returns whether a program has root's user or group whoever runs it, by its set-user-ID or set-group-ID bit.
    fn becomes_root(&self, program: &Path) -> bool;

    /// Returns what is wrong with the file at the path of a FIFO; `None` if there is a FIFO that can be used, or none.
    fn fault_of_fifo(&self, fifo: &NotifyFifo) -> Option<String>;

    /// Returns the part of a program's path that a user other than root could replace, and why; `None` if there is
    /// none.
    fn replaceable(&self, program: &Path) -> Option<String>;
}

/// A program of a configuration, with its place in messages and its line.
struct Named<'a> {
    place: String,
    key: Key,
    line: usize,
    program: &'a Program,
    item: Item,
}

/// A part of a configuration that this host cannot run, or should not.
struct Fault {
    item: Item,
    line: usize,
    /// What is wrong, with the place and the key. `None` if the cause has been told already.
    message: Option<String>,
}

/// Reports each program that this host cannot run, or should not.
pub(super) fn check(config: &Config, lookup: &impl HostLookup, problems: &mut Problems) -> Result<(), Reported> {
    let mut outcome = Ok(());
    for Fault { line, message, .. } in faults(config, lookup) {
        if let Some(message) = message {
            outcome = Err(problems.report(line, message));
        }
    }
    outcome
}

/// Disables what this host cannot run, or should not. A message about each is added to the text of the configuration.
///
/// keepalived goes on without such a script or user, too. It writes to a FIFO that belongs to another user, which xvrrp
/// does not.
pub fn disable(config: &mut Config, lookup: &impl HostLookup) {
    let faults = faults(config, lookup);
    let mut text = config.text.clone();
    let Some(original) = text.original.as_mut().filter(|_| !faults.is_empty()) else { return };
    let original = Arc::make_mut(original);
    for Fault { item, line, message } in faults {
        let is_fifo = matches!(item, Item::Fifo(_));
        if let Some(message) = message {
            let kind = if is_fifo { "left out" } else { "disabled" };
            let shown = config.text.show_kind(&config.file, line, kind, &message);
            if is_fifo { &mut original.left_out } else { &mut original.unusable }.push(shown);
        }
        original.disabled.push(item);
    }
    let count = original.disabled.len();
    let before = if original.counts.is_empty() { String::new() } else { format!("{}, ", original.counts) };
    original.counts = format!("{before}{count} disabled");
    config.text = text;
    apply(config);
}

/// Removes what the text says is disabled.
pub fn apply(config: &mut Config) {
    let Some(original) = config.text.original.clone() else { return };
    for item in &original.disabled {
        match item {
            Item::Check(name) => remove_check(config, name),
            Item::Notify(line) => {
                let of_routers = config.virtual_routers.iter_mut().map(|router| &mut router.notify);
                let of_groups = config.sync_groups.iter_mut().map(|group| &mut group.notify);
                for notify in of_routers.chain(of_groups) {
                    notify.programs.retain(|program| program.line != *line);
                }
            }
            Item::Fifo(path) => config.agent.notify_fifos.retain(|fifo| fifo.path != *path),
            Item::Reader(path) => {
                let fifos = config.agent.notify_fifos.iter_mut().filter(|fifo| fifo.path == *path);
                fifos.for_each(|fifo| fifo.reader = None);
            }
            Item::ScriptUser => config.agent.script_user = None,
        }
    }
}

fn remove_check(config: &mut Config, name: &str) {
    let Some(place) = config.checks.iter().position(|check| check.name == name) else { return };
    config.checks.remove(place);
    let removed = CheckIndex::new(place);
    for router in &mut config.virtual_routers {
        router.track.retain_mut(|tracked| {
            let left = tracked.check.without(removed);
            tracked.check = left.unwrap_or(tracked.check);
            left.is_some()
        });
    }
}

/// Returns everything that this host cannot run, or should not.
fn faults(config: &Config, lookup: &impl HostLookup) -> Vec<Fault> {
    let AgentConfig { script_user, script_security, .. } = &config.agent;
    let default_user = script_user.as_ref().map(|(user, _)| user);
    let mut faults = Vec::new();
    let mut report = |item: &Item, place: &str, key: Key, line: usize, message: String| {
        faults.push(Fault { item: item.clone(), line, message: Some(format!("{place}: {}: {message}", key.name)) });
    };
    let missing = |user: &ScriptUser| match user.group {
        None => format!("this host has no user {}; give the name of one", quote(&user.name)),
        Some(_) => format!("this host lacks the user or the group of {}; give other names", quote(&user.to_string())),
    };
    let lost = script_user.as_ref().filter(|(user, _)| !lookup.has_user(user));
    if let Some((user, line)) = lost {
        report(&Item::ScriptUser, "agent", keys::SCRIPT_USER, *line, missing(user));
    }
    for fifo in &config.agent.notify_fifos {
        let item = Item::Fifo(fifo.path.clone());
        if let Some(fault) = lookup.fault_of_fifo(fifo) {
            let message = format!("{} {fault}", quote(&fifo.path.to_string_lossy()));
            report(&item, "agent", keys::NOTIFY_FIFO, fifo.line, message);
        }
        if let Some(owner) = other_than(default_user, fifo.owner.as_ref()).filter(|owner| !lookup.has_user(owner)) {
            report(&item, "agent", keys::NOTIFY_FIFO, fifo.line, missing(owner));
        }
    }
    let mut without_user = Vec::new();
    for Named { place, key, line, program: Program { command, user }, item } in programs(config) {
        match command.program() {
            Some(program) if !program.contains('/') => {
                let message = format!("there is no program {} in PATH; install it, or give its path", quote(program));
                report(&item, &place, key, line, message);
            }
            Some(program) if !lookup.is_executable(Path::new(program)) => {
                let message = format!("{} is not a program that can be run; give the path of one", quote(program));
                report(&item, &place, key, line, message);
            }
            _ if *script_security => {
                let executed = command.executed();
                let becomes_root = |program: &&str| lookup.becomes_root(Path::new(program));
                let is_root = lookup.is_root(user.as_ref()) || executed.iter().any(becomes_root);
                for program in executed.into_iter().filter(|_| is_root) {
                    if let Some(why) = lookup.replaceable(Path::new(program)) {
                        let message = format!(
                            "script_security forbids running {} as root: {why}; make root the only one who can change \
                             it, or run the program as another user",
                            quote(program)
                        );
                        report(&item, &place, key, line, message);
                    }
                }
            }
            _ => {}
        }
        if let Some(user) = other_than(default_user, user.as_ref()).filter(|user| !lookup.has_user(user)) {
            let key = if key == keys::SCRIPT { keys::USER } else { key };
            report(&item, &place, key, line, missing(user));
        } else if lost.is_some() && user.as_ref() == default_user {
            without_user.push(Fault { item, line, message: None });
        }
    }
    let fifos = config.agent.notify_fifos.iter().filter(|fifo| lost.is_some() && fifo.owner.as_ref() == default_user);
    without_user.extend(fifos.map(|it| Fault { item: Item::Fifo(it.path.clone()), line: it.line, message: None }));
    faults.extend(without_user);
    faults
}

/// What keeps a user from running a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The user may not execute it.
    Execute,
    /// It is a script that the user may not read.
    Read,
}

/// Returns a warning about each program that its user, or the agent's, may not run.
///
/// `ask` returns what keeps a user from running each of these programs, or `None` if that cannot be found out.
pub fn unusable_programs(
    config: &Config,
    ask: impl Fn(Option<&ScriptUser>, &[&str]) -> Option<Vec<Option<Obstacle>>>,
) -> Vec<String> {
    let all: Vec<_> =
        programs(config).into_iter().filter_map(|named| Some((named.program.command.program()?, named))).collect();
    let mut users: Vec<Option<&ScriptUser>> = Vec::new();
    for (_, named) in &all {
        if !users.contains(&named.program.user.as_ref()) {
            users.push(named.program.user.as_ref());
        }
    }
    let mut warnings = Vec::new();
    for user in users {
        let of_user = || all.iter().filter(|(_, named)| named.program.user.as_ref() == user);
        let paths: Vec<&str> = of_user().map(|(path, _)| *path).collect::<BTreeSet<_>>().into_iter().collect();
        let Some(obstacles) = ask(user, &paths) else { continue };
        let obstacles: BTreeMap<&str, Obstacle> =
            paths.into_iter().zip(obstacles).filter_map(|(path, obstacle)| Some((path, obstacle?))).collect();
        let who = user.map_or("the agent's user".to_owned(), |user| format!("the user {}", quote(&user.to_string())));
        for (path, Named { place, key, line, .. }) in of_user() {
            let what = match obstacles.get(path) {
                None => continue,
                Some(Obstacle::Execute) => "execute",
                Some(Obstacle::Read) => "read",
            };
            let message = format!(
                "{place}: {}: {who}, with the capabilities that it has here, may not {what} {}, so it always fails; \
                 change the permissions of the file and its directories, or look for limits of the service",
                key.name,
                quote(path)
            );
            warnings.push((*line, config.show(*line, &message)));
        }
    }
    warnings.sort();
    warnings.into_iter().map(|(_, warning)| warning).collect()
}

/// Returns the user unless it is the script user, which is reported once.
fn other_than<'a>(script_user: Option<&ScriptUser>, user: Option<&'a ScriptUser>) -> Option<&'a ScriptUser> {
    user.filter(|user| script_user.is_none_or(|default| default != *user))
}

fn programs(config: &Config) -> Vec<Named<'_>> {
    let mut programs = Vec::new();
    for check in &config.checks {
        if let CheckKind::Script(program) = &check.kind {
            let place = format!("check {}", quote(&check.name));
            let item = Item::Check(check.name.clone());
            programs.push(Named { place, key: keys::SCRIPT, line: check.lines.1, program, item });
        }
    }
    let routers = config.virtual_routers.iter().map(|router| ("virtual_router", &router.name, &router.notify));
    let groups = config.sync_groups.iter().map(|group| ("sync_group", &group.name, &group.notify));
    for (kind, name, notify) in routers.chain(groups) {
        for NotifyProgram { on, program, line } in &notify.programs {
            let place = format!("{kind} {}", quote(name));
            programs.push(Named { place, key: notify::key_of(*on), line: *line, program, item: Item::Notify(*line) });
        }
    }
    for fifo in &config.agent.notify_fifos {
        if let Some(program) = &fifo.reader {
            let item = Item::Reader(fifo.path.clone());
            programs.push(Named { place: "agent".into(), key: keys::NOTIFY_FIFO, line: fifo.line, program, item });
        }
    }
    programs
}
