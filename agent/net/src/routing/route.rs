//! A route, as the kernel has it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags,
    RoutePreference, RouteProtocol, RouteRealm, RouteType, RouteVia,
};
use rtnetlink::packet_core::Nla;
use xvrrp_common::units::{Family, IfIndex};

use super::numbers::{PROTOCOL, Prefix, everything, family, number, table};

/// A route. Numbers are those of rtnetlink(7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What the kernel finds it by.
    pub key: RouteKey,
    /// `RTN_*`
    pub kind: u8,
    /// `RT_SCOPE_*`; 0 for IPv6.
    pub scope: u8,
    /// Where it leads. Some kinds of routes lead nowhere.
    pub hops: Vec<Hop>,
    /// Source of the packets that this host itself sends by this route.
    pub preferred_source: Option<IpAddr>,
    /// Values by `RTAX_*`, with `RTAX_LOCK` among them. None is 0.
    pub metrics: BTreeMap<u16, u32>,
    /// Congestion control of TCP.
    pub congestion_control: Option<String>,
    /// IPv6 only: Router Preference.
    pub preference: u8,
}

/// What the kernel finds a route by. Over IPv4, several routes may have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteKey {
    /// Number of the table.
    pub table: u32,
    /// Where packets go.
    pub destination: Prefix,
    /// IPv6 only: where packets come from; length 0 for anywhere.
    pub source: Prefix,
    /// The field DS.
    pub tos: u8,
    /// Lower is better.
    pub metric: u32,
}

/// Where a route leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// The gateway, if the destination is not on the link.
    pub via: Option<IpAddr>,
    /// The interface. The kernel chooses it by the gateway if it is not given.
    pub interface: Option<IfIndex>,
    /// Weight among several, minus 1.
    pub weight: u8,
    /// Whether the gateway is on the link although no prefix says so.
    pub onlink: bool,
    /// IPv4 only: realms of the source and of the destination.
    pub realms: Option<(u16, u16)>,
}

impl RouteKey {
    /// Returns the family of the route.
    pub fn family(&self) -> Family {
        Family::of(self.destination.0)
    }

    fn read(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        let family = family(header.address_family)?;
        let (mut destination, mut source) = (everything(family).0, everything(family).0);
        let (mut table, mut metric) = (u32::from(header.table), 0);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(to) => destination = ip(to)?,
                RouteAttribute::Source(from) => source = ip(from)?,
                RouteAttribute::Table(number) => table = *number,
                RouteAttribute::Priority(number) => metric = *number,
                _ => {}
            }
        }
        let destination = (destination, header.destination_prefix_length);
        Some(Self { table, destination, source: (source, header.source_prefix_length), tos: header.tos, metric })
    }
}

impl Route {
    /// Returns whether a route that the kernel lists is this one. The kernel shows an interface for every hop, and for
    /// IPv6 routes that lead nowhere too.
    pub fn is_shown_as(&self, found: &Self) -> bool {
        let same = |hop: &Hop| {
            let is_it = |shown: &&Hop| {
                let interface = hop.interface.or(shown.interface);
                Hop { interface, ..hop.clone() } == **shown
            };
            found.hops.iter().any(|shown| is_it(&shown))
        };
        let hops = self.hops.is_empty() || self.hops.len() == found.hops.len() && self.hops.iter().all(same);
        hops && *found == Self { hops: found.hops.clone(), ..self.clone() }
    }

    /// Reads a message; `None` if the route is not ours.
    pub(super) fn read(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        if header.protocol != RouteProtocol::Other(PROTOCOL) || header.flags.contains(RouteFlags::Cloned) {
            return None;
        }
        let key = RouteKey::read(message)?;
        let mut route = Self {
            key,
            kind: header.kind.into(),
            scope: if key.family() == Family::Ipv6 { 0 } else { header.scope.into() },
            hops: Vec::new(),
            preferred_source: None,
            metrics: BTreeMap::new(),
            congestion_control: None,
            preference: RoutePreference::Medium.into(),
        };
        let onlink = header.flags.contains(RouteFlags::Onlink);
        let only = Hop { onlink, ..Hop::read(&message.attributes) };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::MultiPath(hops) => route.hops = hops.iter().map(Hop::read_one_of_many).collect(),
                RouteAttribute::PrefSource(address) => route.preferred_source = ip(address),
                RouteAttribute::Metrics(metrics) => metrics.iter().for_each(|metric| route.read_metric(metric)),
                RouteAttribute::Preference(preference) => route.preference = (*preference).into(),
                _ => {}
            }
        }
        if route.hops.is_empty() && (only.via.is_some() || only.interface.is_some()) {
            route.hops.push(only);
        }
        Some(route)
    }

    fn read_metric(&mut self, metric: &RouteMetric) {
        match metric {
            RouteMetric::CcAlgo(name) => self.congestion_control = Some(name.clone()),
            metric if metric.value_len() == 4 => {
                let mut value = [0; 4];
                metric.emit_value(&mut value);
                self.metrics.insert(metric.kind(), u32::from_ne_bytes(value));
            }
            _ => {}
        }
    }

    /// Returns the message that adds or removes the route.
    pub(super) fn message(&self) -> RouteMessage {
        let RouteKey { table: number_of_table, destination, source, tos, metric } = self.key;
        let family = self.key.family();
        let mut message = RouteMessage::default();
        let (table, large_table) = table(number_of_table);
        let header = &mut message.header;
        header.address_family = number(family);
        header.destination_prefix_length = destination.1;
        header.source_prefix_length = source.1;
        (header.tos, header.table) = (tos, table);
        header.protocol = RouteProtocol::Other(PROTOCOL);
        header.scope = self.scope.into();
        header.kind = RouteType::from(self.kind);
        let mut attributes = Vec::with_capacity(8);
        attributes.extend(large_table.map(RouteAttribute::Table));
        attributes.extend((destination.1 > 0).then(|| RouteAttribute::Destination(destination.0.into())));
        attributes.extend((source.1 > 0).then(|| RouteAttribute::Source(source.0.into())));
        attributes.extend((metric > 0).then_some(RouteAttribute::Priority(metric)));
        attributes.extend(self.preferred_source.map(|address| RouteAttribute::PrefSource(address.into())));
        match &self.hops[..] {
            [] => {}
            [hop] => {
                if hop.onlink {
                    header.flags = RouteFlags::Onlink;
                }
                attributes.extend(hop.attributes(family));
                attributes.extend(hop.interface.map(|interface| RouteAttribute::Oif(interface.get())));
            }
            hops => {
                let hops = hops.iter().map(|hop| hop.one_of_many(family));
                attributes.push(RouteAttribute::MultiPath(hops.collect()));
            }
        }
        let metrics = self.metrics.iter().filter_map(|(kind, value)| metric_of(*kind, *value));
        let metrics: Vec<_> = metrics.chain(self.congestion_control.clone().map(RouteMetric::CcAlgo)).collect();
        attributes.extend((!metrics.is_empty()).then_some(RouteAttribute::Metrics(metrics)));
        if family == Family::Ipv6 {
            attributes.push(RouteAttribute::Preference(self.preference.into()));
        }
        message.attributes = attributes;
        message
    }
}

impl Hop {
    fn read(attributes: &[RouteAttribute]) -> Self {
        let mut hop = Self::default();
        for attribute in attributes {
            match attribute {
                RouteAttribute::Gateway(address) => hop.via = ip(address),
                RouteAttribute::Via(RouteVia::Inet(address)) => hop.via = Some((*address).into()),
                RouteAttribute::Via(RouteVia::Inet6(address)) => hop.via = Some((*address).into()),
                RouteAttribute::Oif(interface) => hop.interface = Some(IfIndex::new(*interface)),
                RouteAttribute::Realm(realm) => hop.realms = Some((realm.source, realm.destination)),
                _ => {}
            }
        }
        hop
    }

    fn read_one_of_many(hop: &RouteNextHop) -> Self {
        Self {
            interface: Some(IfIndex::new(hop.interface_index)),
            weight: hop.hops,
            onlink: hop.flags.contains(RouteNextHopFlags::Onlink),
            ..Self::read(&hop.attributes)
        }
    }

    /// Returns the attributes of the gateway and of the realms.
    fn attributes(&self, route: Family) -> Vec<RouteAttribute> {
        let via = self.via.map(|via| match via {
            via if Family::of(via) == route => RouteAttribute::Gateway(via.into()),
            via => RouteAttribute::Via(via.into()),
        });
        let realms = self.realms.map(|(source, destination)| RouteAttribute::Realm(RouteRealm { source, destination }));
        via.into_iter().chain(realms).collect()
    }

    fn one_of_many(&self, route: Family) -> RouteNextHop {
        let mut hop = RouteNextHop::default();
        hop.hops = self.weight;
        hop.interface_index = self.interface.map_or(0, IfIndex::get);
        if self.onlink {
            hop.flags = RouteNextHopFlags::Onlink;
        }
        hop.attributes = self.attributes(route);
        hop
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// Returns the metric with this `RTAX_*`.
fn metric_of(kind: u16, value: u32) -> Option<RouteMetric> {
    Some(match kind {
        1 => RouteMetric::Lock(value),
        2 => RouteMetric::Mtu(value),
        3 => RouteMetric::Window(value),
        4 => RouteMetric::Rtt(value),
        5 => RouteMetric::RttVar(value),
        6 => RouteMetric::SsThresh(value),
        7 => RouteMetric::Cwnd(value),
        8 => RouteMetric::Advmss(value),
        9 => RouteMetric::Reordering(value),
        10 => RouteMetric::Hoplimit(value),
        11 => RouteMetric::InitCwnd(value),
        12 => RouteMetric::Features(value),
        13 => RouteMetric::RtoMin(value),
        14 => RouteMetric::InitRwnd(value),
        15 => RouteMetric::QuickAck(value),
        17 => RouteMetric::FastopenNoCookie(value),
        _ => return None,
    })
}

/// Returns the key of a route that a message is about.
pub(super) fn key(message: &RouteMessage) -> Option<RouteKey> {
    RouteKey::read(message)
}
