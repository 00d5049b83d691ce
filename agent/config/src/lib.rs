//! Reads the configuration from a TOML file and checks it, as far as that is possible without the host.
//!
//! [`load`] reads the whole file before it returns an error, so one run shows everything that is wrong with it.
//! [`host::check`] checks what depends on the interfaces of the host. `docs/configuration.md` is the reference.

#![warn(missing_docs)]

mod address;
mod address_list;
mod agent;
mod check;
mod duration;
mod error;
mod fifo;
pub mod files;
pub mod host;
mod host_programs;
mod index;
mod iproute;
pub mod keys;
pub mod mail;
mod model;
mod notify;
mod peers;
mod process;
mod program;
mod quote;
mod routing;
mod section;
pub mod surroundings;
mod sync_group;
mod taken;
mod values;
mod virtual_router;

use std::path::Path;

use toml::de::DeTable;

use self::error::{Lines, Problems, Reported};
use self::files::FileError;
use self::quote::quote;
use self::section::Section;
use self::taken::Taken;

pub use self::address::Vip;
pub use self::agent::check_bpffs;
pub use self::error::{ConfigError, Problem};
pub use self::host_programs::{Obstacle, unusable_programs};
pub use self::index::{CheckIndex, GroupIndex};
pub use self::iproute::HostNames;
pub use self::model::{
    AgentConfig, ArgumentRule, CheckConfig, CheckKind, Checksum, CommandLine, Config, ElectionRules, Encryption,
    InitialNumber, Insertion, Login, MAX_VIRTUAL_ROUTERS, MailConfig, Metric, Named, Names, NextHop, NotifyConfig,
    NotifyFifo, NotifyProgram, Occasion, Origin, Original, Password, Prefix, ProcessCheck, ProcessMatch, Program,
    Realms, Route, RouteKind, RoutingConfig, Rule, RuleAction, ScriptUser, StaticAddress, StaticConfig,
    SyncGroupConfig, Table, Text, Tracked, UnicastPeer, VirtualRouterConfig, VirtualRouterLines, Written,
};
pub use self::routing::{check_names, missing_interfaces};

/// Longest file, in bytes: has room for [`MAX_VIRTUAL_ROUTERS`] with 255 addresses each.
const MAX_FILE_SIZE: u64 = 64 << 20;

/// Reads and checks a file.
///
/// # Errors
/// The file cannot be read, or the configuration is wrong. The error lists everything that is wrong.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let mut problems = Problems::default();
    let outcome = read(path, &mut problems).and_then(|text| read_tables(path, &Text::of_toml(text), &mut problems));
    problems.conclude(path, outcome)
}

/// Reads the text of a file without checking it.
///
/// # Errors
/// The file cannot be read or is not UTF-8 text.
pub fn read_text(path: &Path) -> Result<Text, ConfigError> {
    let mut problems = Problems::default();
    let outcome = read(path, &mut problems).map(Text::of_toml);
    problems.conclude(path, outcome)
}

/// Checks the text of a file. Messages show `path` as its path.
///
/// # Errors
/// The configuration is wrong. The error lists everything that is wrong.
pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    parse_text(path, &Text::of_toml(text))
}

/// Checks a text that was read from a file, or made from it. Messages show the lines of the file.
///
/// # Errors
/// The configuration is wrong. The error lists everything that is wrong.
pub fn parse_text(path: &Path, text: &Text) -> Result<Config, ConfigError> {
    let mut problems = Problems::default();
    let outcome = read_tables(path, text, &mut problems);
    problems.conclude(path, outcome).map_err(|error| error.made_from(text))
}

fn read(path: &Path, problems: &mut Problems) -> Result<String, Reported> {
    match files::read(path, MAX_FILE_SIZE) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|error| {
            let valid =
                String::from_utf8_lossy(error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or(&[]));
            let line = Lines::new(&valid).line(valid.len());
            problems.report(line, "is not UTF-8 text; save the file as UTF-8".into())
        }),
        Err(FileError { fault, .. }) => {
            let remedy = if fault.is_not_found() { "; give the path of a configuration" } else { "" };
            Err(problems.report(None, format!("cannot be read: {fault}{remedy}")))
        }
    }
}

fn read_tables(path: &Path, source: &Text, problems: &mut Problems) -> Result<Config, Reported> {
    let text = source.toml.as_str();
    let lines = Lines::new(text);
    let root = DeTable::parse(text).map_err(|error| report_syntax(&error, text, &lines, problems))?;
    let mut root = Section { place: String::new(), line: 1, table: root.get_ref(), lines: &lines, problems };

    let agent = agent::read(&mut root);
    let mail = mail::read(&mut root);
    let has_mail = !matches!(mail, Ok(None));
    let mut names = check::Names::default();
    let checks = check::read_all(&mut root, &mut names);
    let mut taken = Taken::default();
    let mut virtual_routers = virtual_router::read_all(&mut root, &names, has_mail, &mut taken);
    let routers = virtual_routers.as_deref_mut().ok();
    let sync_groups = sync_group::read_all(&mut root, routers, &names, has_mail, &mut taken);
    root.report_unknown_keys(keys::TOP_LEVEL);
    if let (Ok(agent), Ok(routers)) = (&agent, &virtual_routers) {
        routing::check(&mut root, agent, routers);
    }
    let mut config = Config {
        file: path.to_owned(),
        text: source.clone(),
        agent: agent?,
        checks: checks?,
        mail: mail?,
        virtual_routers: virtual_routers?,
        sync_groups: sync_groups?,
    };
    config.apply_script_user();
    host_programs::apply(&mut config);
    Ok(config)
}

/// The parser's message about a key with too many parts, which it reports without a place.
const DEEP_KEY: &str = "recursion limit";
/// The parser's message about too many arrays or inline tables in each other.
const DEEP_VALUE: &str = "cannot recurse further; max recursion depth met";

/// Returns the line of the first key with too many parts.
fn line_of_deep_key(text: &str, lines: &Lines) -> usize {
    lines.first(|end| {
        let (_, errors) = DeTable::parse_recoverable(text.get(..end).unwrap_or(text));
        errors.iter().any(|error| error.message() == DEEP_KEY)
    })
}

/// Reports the first syntax error only. The parser continues after it, but most of the later errors are consequences.
fn report_syntax(error: &toml::de::Error, text: &str, lines: &Lines, problems: &mut Problems) -> Reported {
    if let DEEP_KEY | DEEP_VALUE = error.message() {
        let line = error.span().map_or_else(|| line_of_deep_key(text, lines), |span| lines.line(span.start));
        let message = "nested too deeply; use only the tables and keys of docs/configuration.md";
        return problems.report(line, format!("not valid TOML: {message}"));
    }
    let message = error
        .message()
        .replace('\n', " ")
        .replacen(", expected ", "; expected ", 1)
        .replace("duplicate key", "duplicate key; remove one");
    let Some(span) = error.span() else {
        return problems.report(None, format!("not valid TOML: {message}"));
    };
    let culprit = match text.get(span.clone()) {
        Some(culprit) if !culprit.trim().is_empty() => format!(" at {}", quote(culprit)),
        _ => String::new(),
    };
    problems.report(lines.line(span.start), format!("not valid TOML{culprit}: {message}"))
}
