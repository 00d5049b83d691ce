//! ha.cf(5).

use std::path::Path;

use toml::Value as Toml;

use super::super::document::Table;
use super::super::place::{Located, SourceLine};
use super::super::report::Report;
use super::super::time::with_unit;
use super::super::{ImportError, Options, read_text};
use super::PING_WEIGHT;

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    nodes: Vec<Located<String>>,
    /// Microseconds.
    pub deadtime: Option<Located<u64>>,
    pub failback: Option<Located<bool>>,
    /// The first that heartbeats go over.
    pub device: Option<Located<String>>,
    pings: Vec<Located<String>>,
    ipfail: bool,
    /// Where a resource manager is turned on.
    pub manager: Option<SourceLine>,
}

const LOGGING: &str = "the log goes to the journal; remove it";
const PATH: &str =
    "adverts are multicast on the interface of each virtual router: let 224.0.0.18 and IP protocol 112 pass there";
/// One of several paths, and not always that of the addresses: so no unicast_peers are made of it.
const UNICAST: &str = "adverts are multicast on the interface of each virtual router: let 224.0.0.18 and IP protocol 112 pass there, or \
                       put the other host's address into unicast_peers";
const FENCING: &str =
    "no host is switched off: a host whose agent dies or hangs is fenced by its own kernel half, see docs/security.md";

pub(super) fn read(path: &Path, report: &mut Report) -> Result<Cluster, ImportError> {
    let mut cluster = Cluster::default();
    let first = SourceLine::new(path, 0);
    for (index, line) in read_text(path, None)?.lines().enumerate() {
        let place = first.at(index + 1);
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        if let Some(directive) = words.next() {
            cluster.directive(directive, &words.collect::<Vec<_>>(), &place, report)?;
        }
    }
    if cluster.nodes.is_empty() {
        return Err(ImportError::at(&first, "no node is named; add the hosts, as in: node alpha beta"));
    }
    Ok(cluster)
}

impl Cluster {
    fn directive(
        &mut self,
        directive: &str,
        words: &[&str],
        place: &SourceLine,
        report: &mut Report,
    ) -> Result<(), ImportError> {
        let first = || {
            let missing = || ImportError::at(place, format_args!("{directive} has no value; add one"));
            words.first().copied().ok_or_else(missing)
        };
        let advice = match directive {
            "node" => {
                self.nodes.extend(words.iter().map(|word| Located::new((*word).to_owned(), place)));
                return Ok(());
            }
            "deadtime" => {
                let text = first()?;
                let micros = with_unit(text).filter(|micros| *micros > 0);
                let wrong = || {
                    ImportError::at(
                        place,
                        format_args!("deadtime: {text:?} is no time; expected one such as 10 or 500ms"),
                    )
                };
                self.deadtime = Some(Located::new(micros.ok_or_else(wrong)?, place));
                return Ok(());
            }
            "auto_failback" => {
                let failback = match first()?.to_ascii_lowercase().as_str() {
                    "on" | "true" | "yes" | "y" | "1" | "legacy" => true,
                    "off" | "false" | "no" | "n" | "0" => false,
                    other => {
                        let message = format_args!("auto_failback: {other:?} is none of on, off and legacy");
                        return Err(ImportError::at(place, message));
                    }
                };
                self.failback = Some(Located::new(failback, place));
                return Ok(());
            }
            // Its older name, and the other way round.
            "nice_failback" => {
                self.failback = Some(Located::new(first()?.eq_ignore_ascii_case("off"), place));
                return Ok(());
            }
            "bcast" | "ucast" | "mcast" => {
                let device = first()?;
                self.device.get_or_insert_with(|| Located::new(device.to_owned(), place));
                if directive == "ucast" { UNICAST } else { PATH }
            }
            "ping" => {
                self.pings.extend(words.iter().map(|word| Located::new((*word).to_owned(), place)));
                return Ok(());
            }
            "respawn" if words.iter().any(|word| word.ends_with("/ipfail")) => {
                self.ipfail = true;
                return Ok(());
            }
            "crm" | "pacemaker" if !matches!(first()?, "no" | "off" | "false" | "n" | "0") => {
                self.manager = Some(place.clone());
                "resources are Pacemaker's then: write a [[virtual_router]] for each IPaddr2 that `crm configure \
                 show` lists"
            }
            "crm" | "pacemaker" => return Ok(()),
            _ => without_counterpart(directive),
        };
        report.left(place, directive, advice);
        Ok(())
    }

    pub fn has_node(&self, name: &str) -> bool {
        self.nodes.iter().any(|node| same_host(&node.value, name))
    }

    /// The node that the result is for.
    pub fn own_node(&self, options: &Options) -> Result<&Located<String>, ImportError> {
        let wanted = options.node()?;
        self.nodes.iter().find(|node| same_host(&node.value, &wanted)).ok_or_else(|| {
            let nodes: Vec<&str> = self.nodes.iter().map(|node| node.value.as_str()).collect();
            let place = self.nodes.first().map(|node| node.place.to_string()).unwrap_or_default();
            let nodes = nodes.join(", ");
            ImportError::at(
                place,
                format_args!(
                    "{wanted:?} is none of the nodes; say whose configuration it is to be: --node with one of {nodes}"
                ),
            )
        })
    }

    /// `[[check]]` for each ping node, which matters to heartbeat only if ipfail runs.
    pub fn checks(&self, report: &mut Report) -> Vec<Table> {
        let mut tables = Vec::new();
        for Located { value: host, place } in &self.pings {
            if !self.ipfail {
                report.left(
                    place,
                    "ping",
                    "without ipfail heartbeat does nothing when it is lost; for xvrrp to act, write a [[check]]",
                );
            } else {
                let advice = format!(
                    "as with ipfail, a lost ping node lowers the priority by {}, and the other host takes over \
                     if it sees more of them; not with preempt = false",
                    -PING_WEIGHT
                );
                report.left(place, "ping", advice.as_str());
                let mut table = Table::new("[[check]]", place);
                table.set("name", check_name(host), place);
                table.set("ping", host.as_str(), place);
                table.choose("weight", PING_WEIGHT, advice);
                tables.push(table);
            }
        }
        tables
    }

    /// What each virtual router has in `track`.
    pub fn tracked(&self) -> Vec<Located<Toml>> {
        if !self.ipfail {
            return Vec::new();
        }
        self.pings.iter().map(|ping| Located::new(Toml::String(check_name(&ping.value)), &ping.place)).collect()
    }
}

/// Returns what to do about a directive that xvrrp has no key for.
fn without_counterpart(directive: &str) -> &'static str {
    match directive {
        "keepalive" => {
            "advert_interval follows from deadtime; set it directly to be faster, down to 10 ms (docs/timing.md)"
        }
        "warntime" => "adverts that are late are not warned of; `xvrrp status` shows when the last one came",
        "initdead" => {
            "a start waits for Active_Down_Interval before it takes over; let the service start later if that \
                 is too early"
        }
        "deadping" => "the time is interval and fall of the [[check]]",
        "ping_group" => "write a [[check]] with a script that pings each of them, and fails if none answers",
        "hbaping" => "there is no Fibre Channel ping; write a [[check]] with a script",
        "serial" | "baud" => {
            "adverts go over the network only: a lost segment is a fault of its virtual routers, each by itself"
        }
        "udpport" => "VRRP has no port: let IP protocol 112 pass",
        "logfile" | "logfacility" | "debugfile" | "use_logd" | "debug" | "conn_logd_time" | "logsettings" => LOGGING,
        "stonith" | "stonith_host" => FENCING,
        "watchdog" => "use WatchdogSec= of the service, or watchdog(8)",
        "respawn" => "start it as a service of systemd",
        "realtime" | "rtprio" => {
            "the election is on a real-time thread anyway; its priority is realtime_priority in [agent]"
        }
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
        | "max_rexmit_delay" => "has no counterpart; remove it",
        _ => "heartbeat has no such directive; look what was meant",
    }
}

fn check_name(host: &str) -> String {
    super::valid(&format!("ping-{host}"))
}

/// heartbeat compares with `uname -n`; which may be a whole domain name or its first part.
fn same_host(one: &str, other: &str) -> bool {
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    short(one) == short(other)
}
