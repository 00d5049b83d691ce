//! Reads ha.cf(5).

use std::path::Path;

use toml::Value as Toml;

use super::super::document::Table;
use super::super::error::ImportError;
use super::super::input::read_text;
use super::super::location::{Located, Location};
use super::super::names::sanitize;
use super::super::options::Options;
use super::super::report::{ImportReport, Kind};
use super::super::time::with_unit;

/// Weight of a ping node.
pub(super) const PING_WEIGHT: i64 = -25;

/// Contents of ha.cf.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    nodes: Vec<Located<String>>,
    /// In microseconds.
    pub deadtime: Option<Located<u64>>,
    pub failback: Option<Located<bool>>,
    /// First interface that heartbeats are sent over.
    pub device: Option<Located<String>>,
    /// Ping nodes and groups of them.
    pings: Vec<Located<PingNode>>,
    ipfail: bool,
    /// Line that turns on a resource manager.
    pub manager: Option<Location>,
}

/// What counts as reachable if one of its hosts answers.
#[derive(Debug)]
struct PingNode {
    /// Keyword of the line.
    directive: &'static str,
    /// Name of the check.
    name: String,
    hosts: Vec<String>,
}

impl PingNode {
    fn of_host(host: &str) -> Self {
        let name = sanitize(&format!("ping-{host}"));
        Self { directive: "ping", name, hosts: vec![host.to_owned()] }
    }

    fn of_group(name: &str, hosts: &[&str]) -> Self {
        let name = sanitize(&format!("ping-{name}"));
        Self { directive: "ping_group", name, hosts: hosts.iter().map(|host| (*host).to_owned()).collect() }
    }
}

const LOGGING: &str = "the log goes to the journal; remove it";
const MANAGER: &str = "Pacemaker manages the resources; write a [[virtual_router]] for each IPaddr2 that `crm configure \
                       show` lists";
const MULTICAST: &str =
    "adverts are multicast on the interface of each virtual router; allow IP protocol 112 to 224.0.0.18 there";
/// Advice for `ucast`. The import makes no unicast_peers of it, because it is one of several paths, and not always that
/// of the virtual addresses.
const UNICAST: &str = "adverts are multicast on the interface of each virtual router; allow IP protocol 112 to \
                       224.0.0.18 there, or put the address of the other host into unicast_peers";
const FENCING: &str = "xvrrp switches off no host: a host whose agent dies or hangs is fenced by its own kernel half \
                       (docs/security.md); remove it";

pub(super) fn read(path: &Path, report: &mut ImportReport) -> Result<Cluster, ImportError> {
    let mut cluster = Cluster::default();
    let first = Location::new(path, 0);
    for (index, line) in read_text(path)?.lines().enumerate() {
        let location = first.at(index + 1);
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        if let Some(directive) = words.next() {
            cluster.directive(directive, &words.collect::<Vec<_>>(), &location, report)?;
        }
    }
    if cluster.nodes.is_empty() {
        return Err(ImportError::at(&first, "no node is named; add the hosts, as in: node alpha beta"));
    }
    Ok(cluster)
}

impl Cluster {
    /// Reads a directive, or reports it.
    fn directive(
        &mut self,
        directive: &str,
        words: &[&str],
        location: &Location,
        report: &mut ImportReport,
    ) -> Result<(), ImportError> {
        let first = || {
            let missing = || ImportError::at(location, format_args!("{directive} has no value; add one"));
            words.first().copied().ok_or_else(missing)
        };
        match directive {
            "node" => self.nodes.extend(words.iter().map(|word| Located::new((*word).to_owned(), location))),
            "deadtime" => {
                let text = first()?;
                let micros = with_unit(text).filter(|micros| *micros > 0);
                let wrong = || {
                    ImportError::at(
                        location,
                        format_args!("deadtime: {text:?} is not a time; expected one such as 10 or 500ms"),
                    )
                };
                self.deadtime = Some(Located::new(micros.ok_or_else(wrong)?, location));
            }
            "auto_failback" => {
                let failback = match first()?.to_ascii_lowercase().as_str() {
                    "on" | "true" | "yes" | "y" | "1" | "legacy" => true,
                    "off" | "false" | "no" | "n" | "0" => false,
                    other => {
                        let message = format_args!("auto_failback: {other:?} is not valid; expected on, off or legacy");
                        return Err(ImportError::at(location, message));
                    }
                };
                self.failback = Some(Located::new(failback, location));
            }
            // The older name of auto_failback, with the opposite meaning.
            "nice_failback" => self.failback = Some(Located::new(first()?.eq_ignore_ascii_case("off"), location)),
            "bcast" | "ucast" | "mcast" => {
                let device = first()?;
                self.device.get_or_insert_with(|| Located::new(device.to_owned(), location));
                let advice = if directive == "ucast" { UNICAST } else { MULTICAST };
                report.changed(location, directive, advice);
            }
            "ping" => self.pings.extend(words.iter().map(|host| Located::new(PingNode::of_host(host), location))),
            "ping_group" => {
                let (name, hosts) = (first()?, words.get(1..).unwrap_or_default());
                if hosts.is_empty() {
                    let message = "ping_group has no host after its name; add the hosts of the group";
                    return Err(ImportError::at(location, message));
                }
                self.pings.push(Located::new(PingNode::of_group(name, hosts), location));
            }
            "respawn" if words.iter().any(|word| word.ends_with("/ipfail")) => self.ipfail = true,
            "crm" | "pacemaker" => {
                if !matches!(first()?, "no" | "off" | "false" | "n" | "0") {
                    self.manager = Some(location.clone());
                    report.add(location, directive, MANAGER);
                }
            }
            _ => match without_counterpart(directive) {
                (Kind::Note, why) => report.note(location, directive, why),
                (Kind::Changed, how) => report.changed(location, directive, how),
                (Kind::LeftOut, advice) => report.add(location, directive, advice),
            },
        }
        Ok(())
    }

    /// Returns whether the cluster has this node.
    pub fn has_node(&self, name: &str) -> bool {
        self.nodes.iter().any(|node| same_host(&node.value, name))
    }

    /// Returns the node that the result is for.
    pub fn own_node(&self, options: &Options) -> Result<&Located<String>, ImportError> {
        let wanted = options.node()?;
        self.nodes.iter().find(|node| same_host(&node.value, &wanted)).ok_or_else(|| {
            let nodes: Vec<&str> = self.nodes.iter().map(|node| node.value.as_str()).collect();
            let location = self.nodes.first().map(|node| node.location.to_string()).unwrap_or_default();
            let nodes = nodes.join(", ");
            ImportError::at(
                location,
                format_args!(
                    "{wanted:?} is not one of the nodes; name the node that the result is for: --node with one of \
                     {nodes}"
                ),
            )
        })
    }

    /// Makes a `[[check]]` of each ping node, if ipfail runs. heartbeat does nothing with ping nodes without ipfail.
    pub fn checks(&self, report: &mut ImportReport) -> Vec<Table> {
        let mut tables = Vec::new();
        for Located { value: PingNode { directive, name, hosts }, location } in &self.pings {
            if self.ipfail {
                let advice = format!(
                    "as with ipfail, a lost ping node lowers the priority by {}, and the other host takes over if it \
                     reaches more of them; with preempt = false it does not",
                    -PING_WEIGHT
                );
                report.changed(location, directive, advice.as_str());
                let mut table = Table::new("[[check]]", location);
                table.set("name", name.as_str(), location);
                match hosts.as_slice() {
                    [host] => table.set("ping", host.as_str(), location),
                    hosts => table.set("ping", hosts.to_vec(), location),
                }
                table.choose("weight", PING_WEIGHT, advice);
                tables.push(table);
            } else {
                report.note(
                    location,
                    directive,
                    "without ipfail, heartbeat does nothing when this node is lost; write a [[check]] if xvrrp should \
                     react",
                );
            }
        }
        tables
    }

    /// Returns the elements of `track`, which are the same for all virtual routers.
    pub fn tracked(&self) -> Vec<Located<Toml>> {
        if !self.ipfail {
            return Vec::new();
        }
        self.pings.iter().map(|ping| Located::new(Toml::String(ping.value.name.clone()), &ping.location)).collect()
    }
}

/// Returns what becomes of a directive that xvrrp has no key for.
fn without_counterpart(directive: &str) -> (Kind, &'static str) {
    match directive {
        "keepalive" => (
            Kind::Note,
            "advert_interval is derived from deadtime; set it directly for faster adverts, down to 10 ms \
             (docs/timing.md)",
        ),
        "warntime" => {
            (Kind::LeftOut, "there is no warning about late adverts; `xvrrp status` shows when the last one arrived")
        }
        "initdead" => (
            Kind::Changed,
            "xvrrp waits for Active_Down_Interval before it takes over; start the service later if that is too early",
        ),
        "deadping" => (Kind::LeftOut, "set interval and fall of the [[check]] instead"),
        "hbaping" => (Kind::LeftOut, "there is no Fibre Channel ping; write a [[check]] with a script"),
        "serial" | "baud" => (
            Kind::Changed,
            "adverts are sent over the network only; if a segment is lost, each of its virtual routers has a fault by \
             itself",
        ),
        "udpport" => (Kind::Changed, "VRRP has no port; allow IP protocol 112 instead"),
        "logfile" | "logfacility" | "debugfile" | "use_logd" | "debug" | "conn_logd_time" | "logsettings" => {
            (Kind::Note, LOGGING)
        }
        "stonith" | "stonith_host" => (Kind::Changed, FENCING),
        "watchdog" => (Kind::LeftOut, "use WatchdogSec= of the service, or watchdog(8)"),
        "respawn" => (Kind::LeftOut, "start it as a systemd service"),
        "realtime" | "rtprio" => (
            Kind::Note,
            "the election runs on a real-time thread anyway; realtime_priority in [agent] sets its priority",
        ),
        "apiauth"
        | "client_id"
        | "msgfmt"
        | "compression"
        | "compression_threshold"
        | "traditional_compression"
        | "hopfudge"
        | "coredumps"
        | "uuidfrom"
        | "memreserve"
        | "cluster"
        | "hbversion"
        | "hbgenmethod"
        | "autojoin"
        | "quorum_server"
        | "environment"
        | "enable_config_writes_for_new_nodes"
        | "max_rexmit_delay" => (Kind::Note, "it concerns only heartbeat's own processes and messages"),
        _ => (Kind::LeftOut, "heartbeat has no such directive; correct the keyword, or remove it"),
    }
}

/// Returns whether two names are those of one host. heartbeat compares nodes with `uname -n`, which may be a whole
/// domain name or its first label.
fn same_host(one: &str, other: &str) -> bool {
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    short(one) == short(other)
}
