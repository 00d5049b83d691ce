//! What `xvrrp status` shows: the document that the agent answers with, and its form for a terminal.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use xvrrp_common::abi::{Counter, Counters};
use xvrrp_common::units::Interval;

/// The version of this document; a field that changes its meaning or goes away makes it another one. `docs/status.md` is the
/// reference, `docs/status.schema.json` the JSON Schema.
pub const SCHEMA: u32 = 1;

/// What [`VirtualRouterStatus::state`] can be.
pub const STATES: [&str; 4] = ["active", "backup", "fault", "init"];

/// The whole agent. All times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AgentStatus {
    #[cfg_attr(test, schemars(extend("enum" = [SCHEMA])))]
    pub schema: u32,
    pub router_id: String,
    pub pid: u32,
    /// When it was started or has last reloaded, in seconds since 1970.
    pub started: f64,
    pub virtual_routers: Vec<VirtualRouterStatus>,
    #[serde(default)]
    pub sync_groups: Vec<SyncGroupStatus>,
    /// Those that a virtual router tracks.
    pub checks: Vec<CheckStatus>,
    /// Frames that belong to none of the virtual routers, by what the kernel half made of them.
    pub counters: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Default, schemars::JsonSchema))]
pub struct VirtualRouterStatus {
    pub name: String,
    /// `ipv4` or `ipv6`: a virtual router with addresses of both is listed once for each.
    #[cfg_attr(test, schemars(extend("enum" = ["ipv4", "ipv6"])))]
    pub family: String,
    pub vrid: u8,
    #[cfg_attr(test, schemars(extend("enum" = [2, 3])))]
    pub version: u8,
    /// The group that it changes role with.
    #[serde(default)]
    pub sync_group: Option<String>,
    pub interface: String,
    /// `driver` or `generic`: how the XDP program is attached to the interface. Empty if it is not.
    pub xdp_mode: String,
    /// `active`, `backup`, `fault` (the interface is down or not there, a check has failed, or what it needs does not stay on the
    /// host) or `init`.
    #[cfg_attr(test, schemars(extend("enum" = STATES)))]
    pub state: String,
    /// Why it is in this state.
    pub reason: String,
    /// When it came into this state, in seconds since 1970.
    pub since: f64,
    pub in_state_ms: f64,
    /// The one that is advertised.
    pub priority: u8,
    /// The same before any check has a say.
    pub configured_priority: u8,
    pub track: Vec<TrackStatus>,
    /// Who is Active, as far as is known.
    pub active: Option<ActiveRouter>,
    /// It leaves the role to others: `xvrrp handover`.
    #[serde(default)]
    pub handed_over: bool,
    /// Whose valid advert was heard last, by this agent or those that it has gone on from. A Backup sends none.
    #[serde(default)]
    pub heard: Option<HeardRouter>,
    pub timers: TimerStatus,
    pub virtual_mac: Option<String>,
    pub addresses: Vec<String>,
    /// The other routers, if adverts are unicast.
    #[serde(default)]
    pub unicast_peers: Vec<PeerStatus>,
    /// Since `started`.
    pub adverts_sent: u64,
    /// How many gratuitous ARPs, or unsolicited Neighbor Advertisements, are put off: the interface sends no more at a time.
    #[serde(default)]
    pub announcements_waiting: usize,
    /// How often it has come into each state since `started`.
    #[serde(default)]
    pub transitions: BTreeMap<String, u64>,
    /// The latest changes of its state since `started`, the oldest first.
    #[serde(default)]
    pub history: Vec<HistoryEntry>,
    /// How many notify programs and services have failed, or were killed, since `started`; of a virtual router of both
    /// families they count once, for IPv4.
    #[serde(default)]
    pub notify_failures: u64,
    /// How often a virtual address, or the virtual MAC in the card's filter, was put back since `started` after something else
    /// had removed it.
    #[serde(default)]
    pub restored: RestoredCounts,
    /// What does not stay on this host, for which the role is given up (`addresses_not_kept`).
    #[serde(default)]
    pub not_kept: Option<String>,
    /// The latest claim of another host on one of the addresses, while Active.
    pub rival: Option<RivalClaim>,
    /// Frames that belong to this virtual router, by what the kernel half made of them.
    pub counters: BTreeMap<String, u64>,
}

/// What was put back on this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RestoredCounts {
    /// Virtual addresses.
    pub addresses: u64,
    /// Entries of the card's unicast filter.
    pub filter_entries: u64,
}

/// A router to which adverts go by unicast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PeerStatus {
    pub address: IpAddr,
    /// The least TTL or hop limit of its adverts.
    pub min_ttl: u8,
}

/// Virtual routers that change role together: how they stand, each of them tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SyncGroupStatus {
    pub name: String,
    pub members: Vec<String>,
    /// How many notify programs and services of the group itself have failed, or were killed, since `started`.
    pub notify_failures: u64,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HistoryEntry {
    /// In seconds since 1970.
    pub at: f64,
    pub ago_ms: f64,
    /// The new state.
    #[cfg_attr(test, schemars(extend("enum" = STATES)))]
    pub state: String,
    /// Why it came into that.
    pub reason: String,
}

/// A check, as a virtual router tracks it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TrackStatus {
    pub check: String,
    /// 0: a failure is a fault.
    pub weight: i16,
    /// `pending`, `up`, `down`, or `value` with a number that multiplies the weight.
    #[cfg_attr(test, schemars(extend("enum" = ["pending", "up", "down", "value"])))]
    pub state: String,
    pub value: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CheckStatus {
    pub name: String,
    /// `script`, `interface`, `process`, `pid_file`, `file` or `ping`.
    #[cfg_attr(test, schemars(extend("enum" = ["script", "interface", "process", "pid_file", "file", "ping"])))]
    pub kind: String,
    /// What is checked.
    pub target: String,
    /// As in [`TrackStatus`].
    #[cfg_attr(test, schemars(extend("enum" = ["pending", "up", "down", "value"])))]
    pub state: String,
    pub value: Option<i32>,
    pub in_state_ms: f64,
    /// Why the latest look failed, if it did.
    pub failure: Option<String>,
}

/// Another host says in ARP that an address is at its MAC. How often that happened, counts `arp_rival_claim`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RivalClaim {
    pub address: IpAddr,
    pub mac: String,
    pub ago_ms: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ActiveRouter {
    pub address: IpAddr,
    pub priority: u8,
    pub this_host: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HeardRouter {
    pub address: IpAddr,
    pub priority: u8,
    pub ago_ms: f64,
}

/// RFC 9568 6.1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Default, schemars::JsonSchema))]
pub struct TimerStatus {
    /// Ours, as configured.
    pub advert_interval_ms: f64,
    /// The one in force: ours, or as learned from the Active router.
    pub active_adver_interval_ms: f64,
    pub skew_ms: f64,
    pub active_down_interval_ms: f64,
    /// Until the next advert is sent, or until the Active_Down_Timer could end.
    pub next_ms: Option<f64>,
    /// How long an Active router may still serve without another advert of its own; null without a lease.
    pub lease_ms: Option<f64>,
}

pub fn milliseconds(interval: Interval) -> f64 {
    std::time::Duration::from(interval).as_secs_f64() * 1000.0
}

/// By name, without those at zero.
pub fn counted(counters: &Counters) -> BTreeMap<String, u64> {
    let all = Counter::ALL.iter().map(|&counter| (counter.name().to_owned(), counters.0[counter as usize]));
    all.filter(|&(_, count)| count > 0).collect()
}

/// For a terminal of 80 columns.
impl fmt::Display for AgentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "xvrrp on {} (pid {})", self.router_id, self.pid)?;
        for router in &self.virtual_routers {
            write!(f, "\n{router}")?;
        }
        if !self.checks.is_empty() {
            writeln!(f, "\nchecks")?;
        }
        for CheckStatus { name, kind, target, state, value, in_state_ms, failure } in &self.checks {
            let state = value.map_or_else(|| state.clone(), |value| value.to_string());
            writeln!(f, "  {name}: {state} for {} ({kind} {target})", span(*in_state_ms))?;
            if let Some(failure) = failure {
                writeln!(f, "              {failure}")?;
            }
        }
        if !self.counters.is_empty() {
            writeln!(f, "\nno virtual router of ours\n  counted     {}", list(&self.counters))?;
        }
        Ok(())
    }
}

impl fmt::Display for VirtualRouterStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, family, vrid, version, interface, xdp_mode, state, reason, priority, timers, .. } = self;
        writeln!(f, "{name}: {} for {} ({reason})", state.to_uppercase(), span(self.in_state_ms))?;
        writeln!(f, "  router      VRID {vrid}, version {version} over {}, priority {priority}", family_name(family))?;
        let mode = if xdp_mode.is_empty() { String::new() } else { format!(" (XDP mode {xdp_mode})") };
        writeln!(f, "  interface   {interface}{mode}")?;
        if *priority != self.configured_priority {
            writeln!(f, "              configured with priority {}", self.configured_priority)?;
        }
        if let Some(group) = &self.sync_group {
            writeln!(f, "  sync group  {group}")?;
        }
        for (index, TrackStatus { check, weight, state, value }) in self.track.iter().enumerate() {
            let label = if index == 0 { "tracks" } else { "" };
            let state = value.map_or_else(|| state.clone(), |value| value.to_string());
            let weight = if *weight == 0 { String::new() } else { format!(", weight {weight}") };
            writeln!(f, "  {label:<11} {check}: {state}{weight}")?;
        }
        let active = match &self.active {
            Some(ActiveRouter { this_host: true, .. }) => "this host".to_owned(),
            Some(ActiveRouter { address, priority, .. }) => format!("{address}, priority {priority}"),
            None => "not known".to_owned(),
        };
        writeln!(f, "  Active      {active}")?;
        if self.handed_over {
            writeln!(f, "  handover    stands by until `--resume`, or until nobody else is Active")?;
        }
        let mac = self.virtual_mac.as_deref().unwrap_or("the interface's MAC");
        writeln!(f, "  addresses   at {mac}")?;
        for address in &self.addresses {
            writeln!(f, "              {address}")?;
        }
        for (index, PeerStatus { address, min_ttl }) in self.unicast_peers.iter().enumerate() {
            let label = if index == 0 { "unicast to" } else { "" };
            let routed = if *min_ttl == 255 { String::new() } else { format!(", TTL {min_ttl} at least") };
            writeln!(f, "  {label:<11} {address}{routed}")?;
        }
        writeln!(
            f,
            "  intervals   ours {}, Active_Adver_Interval {}",
            span(timers.advert_interval_ms),
            span(timers.active_adver_interval_ms),
        )?;
        writeln!(
            f,
            "  timers      Active_Down_Interval {}, Skew_Time {}, next in {}",
            span(timers.active_down_interval_ms),
            span(timers.skew_ms),
            timers.next_ms.map_or("-".to_owned(), span),
        )?;
        if let Some(left) = timers.lease_ms {
            writeln!(f, "  lease       serves for {} without another advert", span(left))?;
        }
        writeln!(f, "  adverts     {} sent", self.adverts_sent)?;
        if let Some(failure) = &self.not_kept {
            writeln!(f, "  NOT KEPT    {failure}")?;
        }
        let RestoredCounts { addresses, filter_entries } = self.restored;
        if addresses + filter_entries > 0 {
            writeln!(f, "  put back    {addresses} addresses, {filter_entries} filter entries that were removed")?;
        }
        if self.announcements_waiting > 0 {
            writeln!(f, "  announces   {} frames wait for their turn", self.announcements_waiting)?;
        }
        if let Some(RivalClaim { address, mac, ago_ms }) = &self.rival {
            writeln!(f, "  RIVAL       {mac} claimed {address} {} ago", span(*ago_ms))?;
        }
        if !self.counters.is_empty() {
            writeln!(f, "  counted     {}", list(&self.counters))?;
        }
        Ok(())
    }
}

fn family_name(family: &str) -> &str {
    if family == "ipv6" { "IPv6" } else { "IPv4" }
}

fn list(counters: &BTreeMap<String, u64>) -> String {
    let mut text = String::new();
    for (name, count) in counters {
        let separator = if text.is_empty() { "" } else { "\n              " };
        let _ = write!(text, "{separator}{name} {count}");
    }
    text
}

/// Milliseconds as a person would say them.
pub fn span(milliseconds: f64) -> String {
    match milliseconds {
        ms if ms < 10_000.0 => format!("{ms:.1} ms"),
        ms if ms < 600_000.0 => format!("{:.0} s", ms / 1000.0),
        ms if ms < 36_000_000.0 => format!("{:.0} min", ms / 60_000.0),
        ms => format!("{:.1} h", ms / 3_600_000.0),
    }
}

/// The address with its prefix length, as it stands in the configuration.
pub fn with_prefix((address, prefix_length): &(IpAddr, u8)) -> String {
    format!("{address}/{prefix_length}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::too_many_lines, reason = "a value for every field")]
    fn example() -> AgentStatus {
        AgentStatus {
            schema: SCHEMA,
            router_id: "gw-a".to_owned(),
            pid: 4711,
            started: 1.5,
            sync_groups: vec![SyncGroupStatus {
                name: "gw".to_owned(),
                members: vec!["lan".to_owned(), "wan".to_owned()],
                notify_failures: 0,
            }],
            virtual_routers: vec![VirtualRouterStatus {
                name: "lan".to_owned(),
                family: "ipv4".to_owned(),
                vrid: 51,
                version: 3,
                sync_group: Some("gw".to_owned()),
                interface: "eth0".to_owned(),
                xdp_mode: "driver".to_owned(),
                state: "backup".to_owned(),
                reason: "startup".to_owned(),
                since: 1.5,
                in_state_ms: 12_345.0,
                priority: 80,
                configured_priority: 100,
                track: vec![
                    TrackStatus { check: "nginx".to_owned(), weight: 0, state: "up".to_owned(), value: None },
                    TrackStatus { check: "uplink".to_owned(), weight: -20, state: "down".to_owned(), value: None },
                ],
                active: Some(ActiveRouter { address: IpAddr::from([192, 0, 2, 2]), priority: 200, this_host: false }),
                handed_over: true,
                heard: Some(HeardRouter { address: IpAddr::from([192, 0, 2, 2]), priority: 200, ago_ms: 40.0 }),
                timers: TimerStatus {
                    advert_interval_ms: 100.0,
                    active_adver_interval_ms: 100.0,
                    skew_ms: 60.9375,
                    active_down_interval_ms: 360.9375,
                    next_ms: Some(300.0),
                    lease_ms: Some(280.0),
                },
                virtual_mac: Some("00:00:5e:00:01:33".to_owned()),
                addresses: vec!["192.0.2.1/24".to_owned()],
                unicast_peers: vec![
                    PeerStatus { address: IpAddr::from([192, 0, 2, 2]), min_ttl: 255 },
                    PeerStatus { address: IpAddr::from([203, 0, 113, 2]), min_ttl: 254 },
                ],
                adverts_sent: 0,
                announcements_waiting: 0,
                transitions: BTreeMap::from([("backup".to_owned(), 1)]),
                history: vec![HistoryEntry {
                    at: 1.5,
                    ago_ms: 12_345.0,
                    state: "backup".to_owned(),
                    reason: "startup".to_owned(),
                }],
                notify_failures: 0,
                restored: RestoredCounts { addresses: 3, filter_entries: 1 },
                not_kept: Some("192.0.2.1 on eth0 is taken off as often as it is put back".to_owned()),
                rival: Some(RivalClaim {
                    address: IpAddr::from([192, 0, 2, 1]),
                    mac: "02:00:00:00:00:09".to_owned(),
                    ago_ms: 1500.0,
                }),
                counters: BTreeMap::from([("advert_accepted".to_owned(), 120), ("arp_suppressed".to_owned(), 2)]),
            }],
            checks: vec![CheckStatus {
                name: "uplink".to_owned(),
                kind: "interface".to_owned(),
                target: "eth1".to_owned(),
                state: "down".to_owned(),
                value: None,
                in_state_ms: 2_500.0,
                failure: Some("eth1 is down or has no carrier".to_owned()),
            }],
            counters: BTreeMap::new(),
        }
    }

    #[test]
    fn a_terminal_shows_each_virtual_router_in_a_block() {
        let expected = "\
xvrrp on gw-a (pid 4711)

lan: BACKUP for 12 s (startup)
  router      VRID 51, version 3 over IPv4, priority 80
  interface   eth0 (XDP mode driver)
              configured with priority 100
  sync group  gw
  tracks      nginx: up
              uplink: down, weight -20
  Active      192.0.2.2, priority 200
  handover    stands by until `--resume`, or until nobody else is Active
  addresses   at 00:00:5e:00:01:33
              192.0.2.1/24
  unicast to  192.0.2.2
              203.0.113.2, TTL 254 at least
  intervals   ours 100.0 ms, Active_Adver_Interval 100.0 ms
  timers      Active_Down_Interval 360.9 ms, Skew_Time 60.9 ms, next in 300.0 ms
  lease       serves for 280.0 ms without another advert
  adverts     0 sent
  NOT KEPT    192.0.2.1 on eth0 is taken off as often as it is put back
  put back    3 addresses, 1 filter entries that were removed
  RIVAL       02:00:00:00:00:09 claimed 192.0.2.1 1500.0 ms ago
  counted     advert_accepted 120
              arp_suppressed 2

checks
  uplink: down for 2500.0 ms (interface eth1)
              eth1 is down or has no carrier
";
        assert_eq!(example().to_string(), expected);
    }

    #[test]
    fn no_line_of_the_terminals_form_is_longer_than_80_columns() {
        assert!(example().to_string().lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn the_json_schema_in_the_documentation_is_that_of_the_document() {
        let generator = schemars::generate::SchemaSettings::draft2020_12().for_serialize().into_generator();
        let schema = generator.into_root_schema_for::<AgentStatus>();
        let now = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/status.schema.json");
        if std::env::var_os("XVRRP_WRITE_SCHEMA").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let documented = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            documented == now,
            "{path} is out of date; `XVRRP_WRITE_SCHEMA=1 cargo test -p xvrrp --lib schema` writes it"
        );
    }

    #[test]
    fn counters_at_zero_are_left_out() {
        let mut counters = Counters::default();
        counters.0[Counter::ArpAnswered as usize] = 3;
        assert_eq!(counted(&counters), BTreeMap::from([("arp_answered".to_owned(), 3)]));
    }
}
