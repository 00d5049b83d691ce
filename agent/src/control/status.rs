//! The status document: what the agent answers, and `xvrrp status` shows.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use xvrrp_common::abi::{Counter, Counters};
use xvrrp_common::units::{Family, Interval};
use xvrrp_common::xdp::XdpMode;
use xvrrp_vrrp::RouterState;

use crate::plan::cause::Cause;
use crate::tracking::CheckState;

/// The version of the document. It changes if a field is removed or changes its meaning. `docs/status.md` is the
/// reference, `docs/status.schema.json` the JSON Schema.
pub const SCHEMA: u32 = 1;

/// Status of the whole agent. Durations are in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AgentStatus {
    /// Version of the document.
    #[cfg_attr(test, schemars(extend("enum" = [SCHEMA])))]
    pub schema: u32,
    /// Name of this router, as configured.
    pub router_id: String,
    /// Process id of the agent.
    pub pid: u32,
    /// When the agent was started or last reloaded, in seconds since 1970.
    pub started: f64,
    /// Why programs and maps are not pinned, if they are not. As long as this lasts, a restart of the agent is a
    /// failover.
    #[serde(default)]
    pub unpinned: Option<String>,
    /// Static addresses, routes and rules that are not on this host.
    #[serde(default)]
    pub missing_statics: MissingEntries,
    /// How often the agent has put back a static address, route or rule since `started`.
    #[serde(default)]
    pub restored_statics: u64,
    /// All virtual routers, in the order of the configuration.
    pub virtual_routers: Vec<VirtualRouterStatus>,
    /// All sync groups, in the order of the configuration.
    #[serde(default)]
    pub sync_groups: Vec<SyncGroupStatus>,
    /// The checks that a virtual router tracks.
    pub checks: Vec<CheckStatus>,
    /// Frames that belong to none of the virtual routers, by what the kernel half did with them.
    pub counters: BTreeMap<String, u64>,
}

/// Status of a virtual router over one address family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VirtualRouterStatus {
    /// Its name, as configured.
    pub name: String,
    /// `ipv4` or `ipv6`. A virtual router with addresses of both is listed once for each.
    #[cfg_attr(test, schemars(with = "String", extend("enum" = ["ipv4", "ipv6"])))]
    pub family: Family,
    /// Virtual Router Identifier.
    pub vrid: u8,
    /// Version of VRRP.
    #[cfg_attr(test, schemars(extend("enum" = [2, 3])))]
    pub version: u8,
    /// The sync group with which it changes role.
    #[serde(default)]
    pub sync_group: Option<String>,
    /// Name of the interface.
    pub interface: String,
    /// Mode in which the XDP program is attached to the interface: `driver` or `generic`. Empty if it is not attached.
    #[serde(with = "empty_if_none")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub xdp_mode: Option<XdpMode>,
    /// `active`, `backup`, `fault` (the interface is down or missing, a check has failed, or something that it needs
    /// does not stay on the host) or `init`.
    #[cfg_attr(test, schemars(with = "String", extend("enum" = RouterState::ALL)))]
    pub state: RouterState,
    /// Why it is in this state.
    #[cfg_attr(test, schemars(with = "String"))]
    pub reason: Cause,
    /// When it entered this state, in seconds since 1970.
    pub since: f64,
    /// How long it has been in this state.
    pub in_state_ms: f64,
    /// The advertised priority.
    pub priority: u8,
    /// The priority before any check changes it.
    pub configured_priority: u8,
    /// The checks that it tracks.
    pub track: Vec<TrackStatus>,
    /// The Active router, as far as it is known.
    pub active: Option<ActiveRouter>,
    /// Whether `xvrrp handover` has left the role to other routers.
    #[serde(default)]
    pub handed_over: bool,
    /// The router whose valid advert was received last, by this agent or by the previous agents whose maps it reuses. A
    /// Backup sends no adverts.
    #[serde(default)]
    pub heard: Option<HeardRouter>,
    /// Its timers and intervals.
    pub timers: TimerStatus,
    /// The virtual MAC; null if the addresses are at the interface's own MAC.
    pub virtual_mac: Option<String>,
    /// The virtual addresses with their prefix lengths; on another interface, also `dev` and its name.
    pub addresses: Vec<String>,
    /// The other routers, if adverts are unicast.
    #[serde(default)]
    pub unicast_peers: Vec<PeerStatus>,
    /// Adverts sent since `started`.
    pub adverts_sent: u64,
    /// How many gratuitous ARPs, or unsolicited Neighbor Advertisements, wait to be sent because their rate on the
    /// interface is limited.
    #[serde(default)]
    pub announcements_waiting: usize,
    /// How often it has entered each state since `started`.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, u64>"))]
    pub transitions: BTreeMap<RouterState, u64>,
    /// The latest changes of its state since `started`, the oldest first.
    #[serde(default)]
    pub history: Vec<HistoryEntry>,
    /// How many notify programs and services have failed, or were killed, since `started`. For a virtual router of both
    /// families they count once, for IPv4.
    #[serde(default)]
    pub notify_failures: u64,
    /// How often the agent has put back, since `started`, a virtual address, the virtual MAC in the card's filter, a
    /// route or a rule after something else had removed it.
    #[serde(default)]
    pub restored: RestoredCounts,
    /// What does not stay on this host, if the role is given up for that reason (`addresses_not_kept`).
    #[serde(default)]
    pub not_kept: Option<String>,
    /// Routes and rules that are not on this host although it is Active.
    #[serde(default)]
    pub missing: MissingEntries,
    /// The latest claim of another host to one of the addresses while this router was Active.
    #[serde(rename = "rival")]
    pub conflict: Option<AddressConflict>,
    /// Frames that belong to this virtual router, by what the kernel half did with them.
    pub counters: BTreeMap<String, u64>,
}

/// How much the agent has put back on this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RestoredCounts {
    /// Number of virtual addresses.
    pub addresses: u64,
    /// Number of entries of the card's unicast filter.
    pub filter_entries: u64,
    /// Number of routes and rules. Those that several virtual routers want count for each of them.
    #[serde(default)]
    pub routes: u64,
}

/// What is missing on this host of what should be on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MissingEntries {
    /// How many.
    pub count: u64,
    /// The first of them for which there is a reason, with that reason.
    pub first: Option<String>,
}

/// A router to which adverts are sent by unicast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PeerStatus {
    /// Its address.
    pub address: IpAddr,
    /// The minimum TTL or hop limit of its adverts.
    pub min_ttl: u8,
}

/// Virtual routers that change role together. Each of them has its own status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SyncGroupStatus {
    /// Its name, as configured.
    pub name: String,
    /// The names of its virtual routers.
    pub members: Vec<String>,
    /// How many notify programs and services of the group itself have failed, or were killed, since `started`.
    pub notify_failures: u64,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HistoryEntry {
    /// When it happened, in seconds since 1970.
    pub at: f64,
    /// How long ago it happened.
    pub ago_ms: f64,
    /// The new state.
    #[cfg_attr(test, schemars(with = "String", extend("enum" = RouterState::ALL)))]
    pub state: RouterState,
    /// Why the state changed.
    #[cfg_attr(test, schemars(with = "String"))]
    pub reason: Cause,
}

/// A check, as a virtual router tracks it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TrackStatus {
    /// Name of the check.
    pub check: String,
    /// Its weight. 0: its failure is a fault.
    pub weight: i16,
    /// Whether the weight is subtracted where it would be added. With weight 0, its success is a fault.
    #[serde(default)]
    pub reverse: bool,
    /// `pending`, `up`, `down`, or `value` with a number that multiplies the weight.
    #[cfg_attr(test, schemars(with = "String", extend("enum" = CheckState::ALL)))]
    pub state: CheckState,
    /// The number, if `state` is `value`.
    pub value: Option<i32>,
}

/// Status of a check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CheckStatus {
    /// Its name, as configured.
    pub name: String,
    /// `script`, `interface`, `process`, `pid_file`, `file` or `ping`.
    #[cfg_attr(test, schemars(extend("enum" = ["script", "interface", "process", "pid_file", "file", "ping"])))]
    pub kind: String,
    /// What is checked.
    pub target: String,
    /// `pending`, `up`, `down`, or `value` with a number that multiplies the weight.
    #[cfg_attr(test, schemars(with = "String", extend("enum" = CheckState::ALL)))]
    pub state: CheckState,
    /// The number, if `state` is `value`.
    pub value: Option<i32>,
    /// How long it has been in this state.
    pub in_state_ms: f64,
    /// Why the latest look failed, if it did.
    pub failure: Option<String>,
}

/// A claim by another host, in ARP or Neighbor Discovery, that an address is at its MAC. The counters `arp_rival_claim`
/// and `nd_rival_claim` count such claims.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "RivalClaim"))]
pub struct AddressConflict {
    /// The claimed address.
    pub address: IpAddr,
    /// The MAC of the other host.
    pub mac: String,
    /// How long ago the claim was received.
    pub ago_ms: f64,
}

/// The router that is Active.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ActiveRouter {
    /// Its primary address, from which it sends adverts.
    pub address: IpAddr,
    /// Its advertised priority.
    pub priority: u8,
    /// Whether it is this host.
    pub this_host: bool,
}

/// A router whose advert was received.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HeardRouter {
    /// Its primary address, from which it sends adverts.
    pub address: IpAddr,
    /// The priority in the advert.
    pub priority: u8,
    /// How long ago the advert was received.
    pub ago_ms: f64,
    /// How long ago this virtual router heard the first advert after it became Backup, not counting adverts with
    /// priority 0; null if it is not Backup or has heard none.
    #[serde(default)]
    pub first_ago_ms: Option<f64>,
}

/// The timers and intervals of RFC 9568 6.1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TimerStatus {
    /// Time between this router's adverts, as configured.
    pub advert_interval_ms: f64,
    /// The interval in force: this router's own, or as learned from the Active router.
    pub active_adver_interval_ms: f64,
    /// Skew_Time.
    pub skew_ms: f64,
    /// Active_Down_Interval: a Backup that hears no advert for this long takes over.
    pub active_down_interval_ms: f64,
    /// Time until the next advert is sent, or until the Active_Down_Timer can expire.
    pub next_ms: Option<f64>,
    /// How long an Active router may still serve without another advert of its own; null without a lease.
    pub lease_ms: Option<f64>,
}

/// Returns an interval in milliseconds.
pub fn milliseconds(interval: Interval) -> f64 {
    std::time::Duration::from(interval).as_secs_f64() * 1000.0
}

/// Serializes an XDP mode, or an empty string if there is none.
mod empty_if_none {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use xvrrp_common::xdp::XdpMode;

    #[derive(Serialize, Deserialize)]
    enum Empty {
        #[serde(rename = "")]
        None,
        #[serde(untagged)]
        Some(XdpMode),
    }

    #[allow(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub fn serialize<S: Serializer>(mode: &Option<XdpMode>, serializer: S) -> Result<S::Ok, S::Error> {
        mode.map_or(Empty::None, Empty::Some).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<XdpMode>, D::Error> {
        Ok(match Empty::deserialize(deserializer)? {
            Empty::None => None,
            Empty::Some(mode) => Some(mode),
        })
    }
}

/// Returns the counters by name, without those at zero.
pub fn counted(counters: &Counters) -> BTreeMap<String, u64> {
    let all = Counter::ALL.iter().map(|&counter| (counter.name().to_owned(), counters.0[counter as usize]));
    all.filter(|&(_, count)| count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn families_and_xdp_modes_are_read_back_from_their_words() {
        for family in [Family::Ipv4, Family::Ipv6] {
            let json = serde_json::to_value(family).unwrap();
            assert_eq!(json, family.to_string());
            assert_eq!(serde_json::from_value::<Family>(json).unwrap(), family);
        }
        assert_eq!(XdpMode::ALL.len(), XdpMode::Hardware as usize + 1, "a mode is missing from the list");
        for mode in XdpMode::ALL.map(Some).into_iter().chain([None]) {
            let json = empty_if_none::serialize(&mode, serde_json::value::Serializer).unwrap();
            assert_eq!(json, mode.map_or("", XdpMode::name));
            assert_eq!(empty_if_none::deserialize(json).unwrap(), mode);
        }
    }

    #[test]
    fn counters_at_zero_are_left_out() {
        let mut counters = Counters::default();
        counters.0[Counter::ArpAnswered as usize] = 3;
        assert_eq!(counted(&counters), BTreeMap::from([("arp_answered".to_owned(), 3)]));
    }
}
