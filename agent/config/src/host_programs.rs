//! Checks whether the host has the programs and users that a configuration names.

use std::path::Path;

use super::error::{Problems, Reported};
use super::keys::{self, Key};
use super::model::{AgentConfig, CheckKind, CommandLine, Config, NotifyFifo, NotifyProgram, Program, ScriptUser};
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
}

/// Reports each program that this host cannot run, or should not.
pub(super) fn check(config: &Config, lookup: &impl HostLookup, problems: &mut Problems) -> Result<(), Reported> {
    let AgentConfig { script_user, script_security, .. } = &config.agent;
    let default_user = script_user.as_ref().map(|(user, _)| user);
    let mut outcome = Ok(());
    let mut report = |place: &str, key: Key, line: usize, message: String| {
        outcome = Err(problems.report(line, format!("{place}: {}: {message}", key.name)));
    };
    let missing = |user: &ScriptUser| match user.group {
        None => format!("this host has no user {}; give the name of one", quote(&user.name)),
        Some(_) => format!("this host lacks the user or the group of {}; give other names", quote(&user.to_string())),
    };
    if let Some((user, line)) = script_user.as_ref().filter(|(user, _)| !lookup.has_user(user)) {
        report("agent", keys::SCRIPT_USER, *line, missing(user));
    }
    for fifo in &config.agent.notify_fifos {
        if let Some(fault) = lookup.fault_of_fifo(fifo) {
            report("agent", keys::NOTIFY_FIFO, fifo.line, format!("{} {fault}", quote(&fifo.path.to_string_lossy())));
        }
        if let Some(owner) = other_than(default_user, fifo.owner.as_ref()).filter(|owner| !lookup.has_user(owner)) {
            report("agent", keys::NOTIFY_FIFO, fifo.line, missing(owner));
        }
    }
    for Named { place, key, line, program: Program { command, user } } in programs(config) {
        match command.program() {
            Some(program) if !program.contains('/') => {
                let message = format!("there is no program {} in PATH; install it, or give its path", quote(program));
                report(&place, key, line, message);
            }
            Some(program) if !lookup.is_executable(Path::new(program)) => {
                let message = format!("{} is not a program that can be run; give the path of one", quote(program));
                report(&place, key, line, message);
            }
            program if *script_security && lookup.is_root(user.as_ref()) => {
                let shell = matches!(command, CommandLine::Shell(_)).then_some(CommandLine::SHELL);
                for program in shell.into_iter().chain(program) {
                    if let Some(why) = lookup.replaceable(Path::new(program)) {
                        let message = format!(
                            "script_security forbids running {} as root: {why}; make root the only one who can change \
                             it, or run the program as another user",
                            quote(program)
                        );
                        report(&place, key, line, message);
                    }
                }
            }
            _ => {}
        }
        if let Some(user) = other_than(default_user, user.as_ref()).filter(|user| !lookup.has_user(user)) {
            let key = if key == keys::SCRIPT { keys::USER } else { key };
            report(&place, key, line, missing(user));
        }
    }
    outcome
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
            programs.push(Named { place, key: keys::SCRIPT, line: check.lines.1, program });
        }
    }
    let routers = config.virtual_routers.iter().map(|router| ("virtual_router", &router.name, &router.notify));
    let groups = config.sync_groups.iter().map(|group| ("sync_group", &group.name, &group.notify));
    for (kind, name, notify) in routers.chain(groups) {
        for NotifyProgram { on, program, line } in &notify.programs {
            let place = format!("{kind} {}", quote(name));
            programs.push(Named { place, key: notify::key_of(*on), line: *line, program });
        }
    }
    for fifo in &config.agent.notify_fifos {
        if let Some(program) = &fifo.reader {
            programs.push(Named { place: "agent".into(), key: keys::NOTIFY_FIFO, line: fifo.line, program });
        }
    }
    programs
}
