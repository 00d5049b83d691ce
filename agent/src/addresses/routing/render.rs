//! Translates what a configuration wants to what the kernel is asked for: interfaces by their numbers.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use xvrrp_common::units::{Family, IfIndex};
use xvrrp_config::{Named, NextHop, Realms, Route, RouteKind, Rule, RuleAction, StaticAddress, Table};
use xvrrp_net::{Hop, HostAddress, HostEntry, LinkFacts, RouteKey};

use super::wish::Wanted;

/// `RTAX_LOCK` of linux/rtnetlink.h.
const LOCK: u16 = 1;

/// The interfaces of the host by name.
#[derive(Debug, Default)]
pub(super) struct Links(HashMap<String, LinkFacts>);

impl Links {
    pub(super) fn new(links: Vec<LinkFacts>) -> Self {
        Self(links.into_iter().map(|link| (link.name.clone(), link)).collect())
    }

    fn get(&self, name: &str) -> Result<&LinkFacts, String> {
        self.0.get(name).ok_or_else(|| format!("there is no interface {name}"))
    }

    /// Returns the number of an interface that can have routes.
    fn up(&self, name: &str) -> Result<IfIndex, String> {
        let link = self.get(name)?;
        if link.up { Ok(link.ifindex) } else { Err(format!("interface {name} is down")) }
    }
}

impl Wanted {
    /// Returns what the kernel is asked for.
    ///
    /// # Errors
    /// An interface is missing or down. The error says which.
    pub(super) fn render(&self, links: &Links) -> Result<HostEntry, String> {
        match self {
            Self::Address(address) => render_address(address, links).map(HostEntry::Address),
            Self::Rule(rule) => Ok(HostEntry::Rule(render_rule(rule))),
            Self::Route(route) => render_route(route, links).map(HostEntry::Route),
        }
    }
}

fn render_address(address: &StaticAddress, links: &Links) -> Result<HostAddress, String> {
    Ok(host_address(address, links.get(&address.interface)?.ifindex))
}

/// Returns what the kernel is asked for, on the interface with this index.
pub fn host_address(address: &StaticAddress, interface: IfIndex) -> HostAddress {
    let flags = [
        (address.nodad, HostAddress::NODAD),
        (address.home, HostAddress::HOME),
        (address.mngtmpaddr, HostAddress::MNGTMPADDR),
        (address.noprefixroute, HostAddress::NOPREFIXROUTE),
        (address.autojoin, HostAddress::AUTOJOIN),
    ];
    // The kernel labels an IPv4 address with the name of its interface, unless it gets another label.
    let label = || address.label.clone().unwrap_or_else(|| address.interface.clone());
    HostAddress {
        interface,
        address: address.address,
        prefix_length: address.prefix_length,
        peer: address.peer,
        broadcast: address.broadcast,
        scope: address.scope,
        label: address.address.is_ipv4().then(label),
        preferred_lifetime: address.preferred_lifetime,
        flags: flags.into_iter().filter(|(is_set, _)| *is_set).fold(0, |flags, (_, flag)| flags | flag),
    }
}

fn render_route(route: &Route, links: &Links) -> Result<xvrrp_net::Route, String> {
    let table = match &route.table {
        Table::Listed(table) => number(table),
        Table::Vrf(name) => links.get(name)?.vrf_table.ok_or_else(|| format!("interface {name} is not a VRF"))?,
    };
    let anywhere = match route.family {
        Family::Ipv4 => (IpAddr::from([0; 4]), 0),
        Family::Ipv6 => (IpAddr::from([0; 16]), 0),
    };
    let mut metrics: BTreeMap<u16, u32> =
        route.metrics.iter().map(|(metric, value)| (*metric as u16, *value)).collect();
    let locked = route.locked.iter().fold(0, |locked, metric| locked | 1 << *metric as u16);
    if locked != 0 {
        metrics.insert(LOCK, locked);
    }
    Ok(xvrrp_net::Route {
        key: RouteKey {
            table,
            destination: (route.destination.address, route.destination.length),
            source: route.source.map_or(anywhere, |source| (source.address, source.length)),
            tos: u8::try_from(number(&route.tos)).unwrap_or_default(),
            metric: route.metric,
        },
        kind: kind(route.kind),
        scope: route.scope,
        hops: route.next_hops.iter().map(|hop| render_hop(hop, links)).collect::<Result<_, _>>()?,
        preferred_source: route.preferred_source,
        metrics,
        congestion_control: route.congestion_control.clone(),
        preference: route.preference,
    })
}

fn render_hop(hop: &NextHop, links: &Links) -> Result<Hop, String> {
    Ok(Hop {
        via: hop.via,
        interface: hop.interface.as_deref().map(|name| links.up(name)).transpose()?,
        weight: u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX),
        onlink: hop.onlink,
        realms: hop.realms.as_ref().map(render_realms),
    })
}

fn render_rule(rule: &Rule) -> xvrrp_net::Rule {
    use xvrrp_net::Rule as Kernel;
    let (action, table, goto) = match &rule.action {
        RuleAction::Lookup(table) => (Kernel::TO_TABLE, number(table), None),
        RuleAction::L3mdev => (Kernel::TO_TABLE, 0, None),
        RuleAction::Goto(target) => (Kernel::GOTO, 0, Some(*target)),
        RuleAction::Nop => (Kernel::NOP, 0, None),
        RuleAction::Blackhole => (Kernel::BLACKHOLE, 0, None),
        RuleAction::Unreachable => (Kernel::UNREACHABLE, 0, None),
        RuleAction::Prohibit => (Kernel::PROHIBIT, 0, None),
    };
    Kernel {
        family: rule.family,
        priority: rule.priority,
        action,
        table,
        goto,
        l3mdev: rule.action == RuleAction::L3mdev,
        invert: rule.not,
        from: rule.from.map(|from| (from.address, from.length)),
        to: rule.to.map(|to| (to.address, to.length)),
        tos: u8::try_from(number(&rule.tos)).unwrap_or_default(),
        iif: rule.iif.clone(),
        oif: rule.oif.clone(),
        fwmark: rule.fwmark,
        ip_protocol: rule.ip_protocol,
        source_ports: rule.source_ports,
        destination_ports: rule.destination_ports,
        users: rule.users,
        tunnel: rule.tunnel,
        realms: rule.realms.as_ref().map(render_realms),
        suppress_prefix_length: rule.suppress_prefix_length.map(u32::from),
        suppress_group: rule.suppress_group.as_ref().map(number),
    }
}

fn render_realms(Realms { source, destination }: &Realms) -> (u16, u16) {
    let realm = |named| u16::try_from(number(named)).unwrap_or_default();
    (realm(source), realm(destination))
}

/// Returns `RTN_*` of linux/rtnetlink.h.
fn kind(kind: RouteKind) -> u8 {
    match kind {
        RouteKind::Unicast => 1,
        RouteKind::Local => 2,
        RouteKind::Broadcast => 3,
        RouteKind::Anycast => 4,
        RouteKind::Multicast => 5,
        RouteKind::Blackhole => 6,
        RouteKind::Unreachable => 7,
        RouteKind::Prohibit => 8,
        RouteKind::Throw => 9,
    }
}

/// Returns a number. A name was replaced by its number when the wish was made.
fn number(named: &Named) -> u32 {
    match named {
        Named::Number(number) => *number,
        Named::Name(..) => 0,
    }
}
