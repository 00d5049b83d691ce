//! Routes, rules, and addresses of the host itself.

use std::fmt;
use std::net::IpAddr;

use xvrrp_common::units::Family;

/// An entry of a list, in the words of ip(8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written<T> {
    /// What the words say.
    pub value: T,
    /// The words, with single spaces.
    pub text: String,
    /// Line of the file, counted from 1.
    pub line: usize,
}

/// Routes and rules that are on the host while a virtual router is Active.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutingConfig {
    /// At most [`Self::MAX_ENTRIES`] different ones, in the order in which they are installed. Default: none.
    pub routes: Vec<Written<Route>>,
    /// At most [`Self::MAX_ENTRIES`] different ones. Default: none.
    pub rules: Vec<Written<Rule>>,
}

impl RoutingConfig {
    /// Maximum number of entries of a list.
    pub const MAX_ENTRIES: usize = 65_536;
}

/// An address with its prefix length. The bits behind the prefix are 0 in a route; in a rule they may have any value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// 0 to 32, for IPv6 to 128.
    pub length: u8,
}

/// What numbers are given names for. Displays as a description of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Names {
    /// Routing tables.
    Tables,
    /// Realms of routes.
    Realms,
    /// Values of the field DS, formerly TOS.
    DsField,
    /// Groups of interfaces.
    Groups,
}

impl Names {
    /// Name of the files.
    pub fn file(self) -> &'static str {
        match self {
            Self::Tables => "rt_tables",
            Self::Realms => "rt_realms",
            Self::DsField => "rt_dsfield",
            Self::Groups => "group",
        }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tables => "routing table",
            Self::Realms => "realm",
            Self::DsField => "value of the field DS",
            Self::Groups => "group of interfaces",
        })
    }
}

/// A number to which a file of iproute2 may give a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Named {
    /// The number itself.
    Number(u32),
    /// A name, which only the host knows.
    Name(Names, String),
}

/// A routing table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// The table with this number or name.
    Listed(Named),
    /// The table of the VRF with this name.
    Vrf(String),
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The family of its destination.
    pub family: Family,
    /// What happens to packets.
    pub kind: RouteKind,
    /// Where packets go.
    pub destination: Prefix,
    /// IPv6 only: where packets come from. Default: anywhere.
    pub source: Option<Prefix>,
    /// More than one are used by weight. [`RouteKind::Unicast`] has at least one.
    pub next_hops: Vec<NextHop>,
    /// Source of the packets that this host itself sends by this route. Default: the kernel's choice.
    pub preferred_source: Option<IpAddr>,
    /// Default: main, or local for addresses of this host.
    pub table: Table,
    /// Lower is better. Default: 0, for IPv6 1024.
    pub metric: u32,
    /// IPv4 only, as rtnetlink(7) numbers it. Default: as ip(8) chooses it.
    pub scope: u8,
    /// IPv4 only. Default: 0.
    pub tos: Named,
    /// Metrics of TCP and IP, each at most once. Default: none.
    pub metrics: Vec<(Metric, u32)>,
    /// The metrics that path MTU discovery and TCP must not change. Default: none.
    pub locked: Vec<Metric>,
    /// Congestion control of TCP. Default: that of the host.
    pub congestion_control: Option<String>,
    /// IPv6 only: Router Preference (RFC 4191 2.1), as rtnetlink(7) numbers it. Default: medium, which is 0.
    pub preference: u8,
    /// Where the kernel puts it among routes with the same destination, table and metric.
    pub insertion: Insertion,
    /// Whether it is put back when something else removes it. Default: true.
    pub kept: bool,
}

impl Route {
    /// The metric of IPv6 routes without one.
    pub const DEFAULT_METRIC_IPV6: u32 = 1024;
}

/// What a route does with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Sends them to a next hop.
    Unicast,
    /// Delivers them on this host.
    Local,
    /// Delivers them on this host, and sends them as broadcasts.
    Broadcast,
    /// Delivers them on this host, and sends them as unicasts.
    Anycast,
    /// A multicast group.
    Multicast,
    /// Discards them silently.
    Blackhole,
    /// Discards them, and reports that the host is unreachable.
    Unreachable,
    /// Discards them, and reports that this is prohibited.
    Prohibit,
    /// Ends the lookup in this table.
    Throw,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Address of the gateway, which may be of the other family if the route is IPv4. Default: the destination is on
    /// the link.
    pub via: Option<IpAddr>,
    /// Default: the interface on which the gateway is.
    pub interface: Option<String>,
    /// 1 to 256. Default: 1.
    pub weight: u16,
    /// Whether the gateway is on the link although no prefix says so. Default: false.
    pub onlink: bool,
    /// IPv4 only: source and destination realm. Default: none.
    pub realms: Option<Realms>,
}

/// Realms of a route or rule: of the source and of the destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Realms {
    /// Default: 0.
    pub source: Named,
    /// The realm, if there is only one.
    pub destination: Named,
}

/// A metric of a route. The numbers are those of `RTAX_*` in linux/rtnetlink.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "ip-route(8) describes them under the same names")]
pub enum Metric {
    Mtu = 2,
    Window = 3,
    Rtt = 4,
    RttVar = 5,
    SsThresh = 6,
    Cwnd = 7,
    AdvMss = 8,
    Reordering = 9,
    HopLimit = 10,
    InitCwnd = 11,
    Features = 12,
    RtoMin = 13,
    InitRwnd = 14,
    QuickAck = 15,
    CongestionControl = 16,
    FastOpenNoCookie = 17,
}

/// Where the kernel puts an IPv4 route among those with the same destination, table and metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Insertion {
    /// Before the others, so that this one is used.
    #[default]
    Prepend,
    /// After the others.
    Append,
    /// Only if there are no others.
    Add,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The family of the packets.
    pub family: Family,
    /// Rules are tried from the lowest priority to the highest. Required.
    pub priority: u32,
    /// Whether it applies to the packets that do not match.
    pub not: bool,
    /// Where packets come from. Default: anywhere.
    pub from: Option<Prefix>,
    /// Where packets go. Default: anywhere.
    pub to: Option<Prefix>,
    /// Interface that packets arrive on. Default: any.
    pub iif: Option<String>,
    /// Interface that local sockets are bound to. Default: any.
    pub oif: Option<String>,
    /// Mark and mask of packets. Default: any.
    pub fwmark: Option<(u32, u32)>,
    /// Default: 0, which stands for any.
    pub tos: Named,
    /// What packets are sent as. Default: any.
    pub ip_protocol: Option<u8>,
    /// First and last port. Default: any.
    pub source_ports: Option<(u16, u16)>,
    /// First and last port. Default: any.
    pub destination_ports: Option<(u16, u16)>,
    /// First and last user. Default: any.
    pub users: Option<(u32, u32)>,
    /// Tunnel that packets come from. Default: any.
    pub tunnel: Option<u64>,
    /// What is done with packets. Required.
    pub action: RuleAction,
    /// IPv4 only: realms that packets get. Default: those of the route.
    pub realms: Option<Realms>,
    /// Routes with prefixes of at most this length do not count. Default: all count.
    pub suppress_prefix_length: Option<u8>,
    /// Routes by interfaces of this group do not count. Default: all count.
    pub suppress_group: Option<Named>,
    /// Whether it is put back when something else removes it. Default: true.
    pub kept: bool,
}

/// What a rule does with packets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RuleAction {
    /// Looks them up in this table.
    Lookup(Named),
    /// Looks them up in the table of their VRF.
    L3mdev,
    /// Goes on with the rule of this priority.
    Goto(u32),
    /// Goes on with the next rule.
    Nop,
    /// Discards them silently.
    Blackhole,
    /// Discards them, and reports that the host is unreachable.
    Unreachable,
    /// Discards them, and reports that this is prohibited.
    Prohibit,
}

/// An address in the words of `ip address add`. As one of the static addresses, it is on the host whatever the roles of
/// its virtual routers are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StaticAddress {
    /// The address.
    pub address: IpAddr,
    /// 1 to 32, for IPv6 to 128. Default: 32 or 128.
    pub prefix_length: u8,
    /// The interface that has it. Required.
    pub interface: String,
    /// The other end of a point-to-point link. Default: none.
    pub peer: Option<IpAddr>,
    /// IPv4 only. Default: none.
    pub broadcast: Option<IpAddr>,
    /// IPv4 only, as rtnetlink(7) numbers it. Default: global.
    pub scope: u8,
    /// IPv4 only, 1 to 15 bytes. Default: the name of the interface.
    pub label: Option<String>,
    /// For how many seconds it is used as a source address. Default: without limit.
    pub preferred_lifetime: Option<u32>,
    /// IPv6 only: whether duplicate address detection is left out (RFC 4862 5.4). Default: false.
    pub nodad: bool,
    /// IPv6 only: whether it is the home address of a mobile node (RFC 6275). Default: false.
    pub home: bool,
    /// IPv6 only: whether the kernel makes temporary addresses from it (RFC 8981). Default: false.
    pub mngtmpaddr: bool,
    /// Whether the route to its network is left out. Default: false.
    pub noprefixroute: bool,
    /// Whether the host joins it, a multicast group. Default: false.
    pub autojoin: bool,
    /// Whether it is put back when something else removes it. Default: true.
    pub kept: bool,
}

/// What is on the host whatever the roles of its virtual routers are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticConfig {
    /// At most [`RoutingConfig::MAX_ENTRIES`] different ones. Default: none.
    pub addresses: Vec<Written<StaticAddress>>,
    /// Routes and rules. Default: none.
    pub routing: RoutingConfig,
}
