//! Reads `[agent]`.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};
use xvrrp_common::units::Interval;

use super::error::{ConfigError, Problems, Reported};
use super::fifo;
use super::keys;
use super::model::{AgentConfig, Config};
use super::program::read_user;
use super::quote::quote;
use super::routing;
use super::section::Section;

/// Longest path that fits in `sun_path` of `sockaddr_un` with its final NUL, in bytes (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// Longest path of the pins' directory, in bytes. It leaves room in `PATH_MAX` for the names of the pins.
const MAX_BPFFS: usize = 3072;

/// Longest name of a file, in bytes: `NAME_MAX`.
const MAX_NAME: usize = 255;

const DELAYS: RangeInclusive<Interval> = Interval::ZERO..=Interval::from_millis(3_600_000);

impl Default for AgentConfig {
    /// Returns the settings of a file without an `[agent]` table.
    fn default() -> Self {
        Self {
            router_id: host_name(),
            control: Self::DEFAULT_CONTROL.into(),
            control_line: None,
            metrics: None,
            netns: None,
            bpffs: Self::DEFAULT_BPFFS.into(),
            bpffs_line: None,
            realtime_priority: Self::DEFAULT_REALTIME_PRIORITY,
            startup_delay: Interval::ZERO,
            boot_delay: Interval::ZERO,
            script_user: None,
            script_security: false,
            notify_fifos: Vec::new(),
            statics: Arc::default(),
        }
    }
}

/// Checks that pins can be made below [`AgentConfig::bpffs`]. `obstacle` returns why they cannot, or `None`.
///
/// # Errors
/// There is an obstacle. The error has it with the line of `bpffs`.
pub fn check_bpffs<E: Display>(config: &Config, obstacle: impl Fn(&Path) -> Option<E>) -> Result<(), ConfigError> {
    let mut problems = Problems::default();
    let AgentConfig { bpffs, bpffs_line, .. } = &config.agent;
    let outcome = obstacle(bpffs).map_or(Ok(()), |obstacle| {
        let message = format!("agent: {}: {}: {obstacle}", keys::BPFFS.name, quote(&bpffs.to_string_lossy()));
        Err(problems.report(*bpffs_line, message))
    });
    problems.conclude_check(config, outcome)
}

pub(super) fn read(root: &mut Section) -> Result<AgentConfig, Reported> {
    match root.get(&keys::AGENT) {
        None => read_table(&mut root.below("agent".into(), &DeTable::new(), 1)),
        Some(found) => match found.value {
            DeValue::Table(table) => read_table(&mut root.below("agent".into(), table, found.line)),
            _ => Err(root.reject_type(&keys::AGENT, found)),
        },
    }
}

fn read_table(section: &mut Section) -> Result<AgentConfig, Reported> {
    let router_id = section.identifier(&keys::ROUTER_ID);
    let control = section.absolute_path(&keys::CONTROL, MAX_SOCKET_PATH);
    let control_line = section.get(&keys::CONTROL).map(|found| found.line);
    let metrics = read_metrics(section);
    let netns = read_netns(section);
    let bpffs = section.absolute_path(&keys::BPFFS, MAX_BPFFS);
    let bpffs_line = section.get(&keys::BPFFS).map(|found| found.line);
    let realtime_priority = section.integer(&keys::REALTIME_PRIORITY, 0..=99);
    let startup_delay = section.duration(&keys::STARTUP_DELAY, DELAYS, Interval::ZERO);
    let boot_delay = section.duration(&keys::BOOT_DELAY, DELAYS, Interval::ZERO);
    let script_user = read_user(section, &keys::SCRIPT_USER);
    let script_security = section.boolean(&keys::SCRIPT_SECURITY, false);
    let notify_fifos = fifo::read_all(section);
    let statics = routing::read_statics(section);
    section.report_unknown_keys(keys::AGENT_KEYS);
    Ok(AgentConfig {
        router_id: router_id?.map_or_else(host_name, str::to_owned),
        control: control?.unwrap_or_else(|| AgentConfig::DEFAULT_CONTROL.into()),
        control_line,
        metrics: metrics?,
        netns: netns?,
        bpffs: bpffs?.unwrap_or_else(|| AgentConfig::DEFAULT_BPFFS.into()),
        bpffs_line,
        realtime_priority: realtime_priority?.unwrap_or(AgentConfig::DEFAULT_REALTIME_PRIORITY),
        startup_delay: startup_delay?,
        boot_delay: boot_delay?,
        script_user: script_user?.map(|user| (user, section.line_of(&keys::SCRIPT_USER))),
        script_security: script_security?,
        notify_fifos: notify_fifos?,
        statics: Arc::new(statics?),
    })
}

fn read_metrics(section: &mut Section) -> Result<Option<SocketAddr>, Reported> {
    let Some(text) = section.string(&keys::METRICS)? else { return Ok(None) };
    let wrong = match text.parse::<SocketAddr>() {
        Err(_) => "is not an IP address with a port",
        Ok(address) if address.port() == 0 => "has port 0, which stands for any free port",
        Ok(address) if address.ip().is_multicast() => "is a multicast address",
        Ok(address) => return Ok(Some(address)),
    };
    Err(section.reject(&keys::METRICS, section.line_of(&keys::METRICS), format_args!("{} {wrong}", quote(text))))
}

fn read_netns(section: &mut Section) -> Result<Option<String>, Reported> {
    let Some(text) = section.string(&keys::NETNS)? else { return Ok(None) };
    let is_name = !text.contains('/') && (1..=MAX_NAME).contains(&text.len()) && !matches!(text, "." | "..");
    if is_name || text.starts_with('/') && !text.contains('\0') {
        return Ok(Some(text.to_owned()));
    }
    let wrong = format!("{} is neither a name nor an absolute path", quote(text));
    Err(section.reject(&keys::NETNS, section.line_of(&keys::NETNS), wrong))
}

fn host_name() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
