//! Parses a route in the words of `ip route add`.

use std::net::IpAddr;

use xvrrp_common::units::Family;

use super::number::number;
use super::words::{
    Families, LOCAL, MAIN, Words, address, everything, family, masked, of, prefix, scope, unknown, within,
};
use crate::model::{Insertion, Metric, Named, NextHop, Prefix, Route, RouteKind, Table};
use crate::quote::quote;

/// Largest weight of a next hop, as ip(8) counts.
const MAX_WEIGHT: u32 = 256;

/// Metrics whose value is a plain number: names, least and largest value, and whether `lock` may precede the value.
/// Above the largest value, the kernel would silently use that one.
const METRICS: &[(&str, Metric, u32, u32, bool)] = &[
    ("mtu", Metric::Mtu, 1, 65_520, true),
    ("window", Metric::Window, 1, u32::MAX, false),
    ("ssthresh", Metric::SsThresh, 1, u32::MAX, true),
    ("cwnd", Metric::Cwnd, 1, u32::MAX, true),
    ("advmss", Metric::AdvMss, 1, 65_495, true),
    ("reordering", Metric::Reordering, 1, u32::MAX, true),
    ("hoplimit", Metric::HopLimit, 1, 255, false),
    ("initcwnd", Metric::InitCwnd, 1, u32::MAX, false),
    ("initrwnd", Metric::InitRwnd, 1, u32::MAX, false),
    ("quickack", Metric::QuickAck, 0, 1, false),
    ("fastopen_no_cookie", Metric::FastOpenNoCookie, 0, 1, false),
];

/// Metrics whose value is a time: names, and how many units are a millisecond.
const TIMES: &[(&str, Metric, u32)] =
    &[("rtt", Metric::Rtt, 8), ("rttvar", Metric::RttVar, 4), ("rto_min", Metric::RtoMin, 1)];

/// Bit of the metric `features` for `ecn`.
const ECN: u32 = 1;

/// The words about a route that have been read.
#[derive(Default)]
struct Draft {
    families: Families,
    kind: Option<RouteKind>,
    destination: Option<Destination>,
    source: Option<Prefix>,
    /// The next hop before any `nexthop`.
    first: NextHop,
    more: Vec<NextHop>,
    preferred_source: Option<IpAddr>,
    table: Option<Table>,
    metric: Option<u32>,
    scope: Option<u8>,
    tos: Option<Named>,
    metrics: Vec<(Metric, u32)>,
    locked: Vec<Metric>,
    congestion_control: Option<String>,
    preference: Option<u8>,
    insertion: Option<Insertion>,
    no_track: bool,
}

/// Destination of a route.
#[derive(Clone, Copy)]
enum Destination {
    /// Every address of the route's family.
    Everything,
    Prefix(Prefix),
}

impl Default for NextHop {
    /// Returns a next hop without any words.
    fn default() -> Self {
        Self { via: None, interface: None, weight: 1, onlink: false, realms: None }
    }
}

/// Parses a route. The error says what is wrong with the text and what is expected.
pub(in super::super) fn parse(text: &str) -> Result<Route, String> {
    let mut words = Words::new(text);
    let mut draft = Draft::default();
    while let Some(word) = words.next() {
        if word == "nexthop" {
            draft.next_hop(&mut words)?;
        } else if !draft.more.is_empty() && !words.has("or") {
            return Err(format!("{} comes after the next hops; put it before the first nexthop", quote(word)));
        } else {
            draft.word(word, &mut words)?;
        }
    }
    draft.finish()
}

fn kind(word: &str) -> Option<RouteKind> {
    Some(match word {
        "unicast" => RouteKind::Unicast,
        "local" => RouteKind::Local,
        "broadcast" => RouteKind::Broadcast,
        "anycast" => RouteKind::Anycast,
        "multicast" => RouteKind::Multicast,
        "blackhole" => RouteKind::Blackhole,
        "unreachable" => RouteKind::Unreachable,
        "prohibit" => RouteKind::Prohibit,
        "throw" => RouteKind::Throw,
        _ => return None,
    })
}

impl Draft {
    /// Reads what a word begins.
    fn word(&mut self, word: &str, words: &mut Words<'_>) -> Result<(), String> {
        match word {
            "to" => {
                let word = words.next().ok_or("to has no value; add a destination")?;
                return self.destination(word, words);
            }
            "from" => {
                let text = words.value("from")?;
                self.source = prefix("from", text)?;
                self.families.add(Family::Ipv6, text)?;
            }
            "src" => {
                let address = words.address("src")?;
                self.families.add_address(address)?;
                self.preferred_source = Some(address);
            }
            "table" => {
                words.once("vrf or table")?;
                self.table = Some(Table::Listed(words.table("table")?));
            }
            "vrf" => {
                words.once("vrf or table")?;
                self.table = Some(Table::Vrf(words.interface("vrf")?));
            }
            "metric" | "priority" | "preference" => self.metric = Some(words.number("metric", 0, u32::MAX)?),
            "scope" => self.scope = Some(scope(words.value("scope")?)?),
            "tos" | "dsfield" => self.tos = Some(words.tos()?),
            "protocol" | "proto" => words.protocol()?,
            "or" => return self.alternative(words),
            "features" => match words.value("features")? {
                "ecn" => self.metrics.push((Metric::Features, ECN)),
                other => return Err(format!("features: {} is not a feature; expected ecn", quote(other))),
            },
            "congctl" => {
                words.once("congctl")?;
                if words.next_is("lock") {
                    self.locked.push(Metric::CongestionControl);
                }
                let name = words.next().filter(|name| name.len() < 16).ok_or("congctl has no value; add one")?;
                self.congestion_control = Some(name.to_owned());
            }
            "pref" => self.preference = Some(preference(words.value("pref")?)?),
            "add" => self.insertion(Insertion::Add, words)?,
            "append" => self.insertion(Insertion::Append, words)?,
            "prepend" => self.insertion(Insertion::Prepend, words)?,
            "no_track" => {
                words.once("no_track")?;
                self.no_track = true;
            }
            "encap" => return Err("encap: routes into tunnels are not supported; make a tunnel interface".into()),
            "expires" => return Err("expires: a route cannot expire while it is wanted; remove it".into()),
            "nhid" => return Err("nhid: write out the next hops instead".into()),
            "ttl-propagate" | "as" => return Err(format!("{word} is for MPLS only; remove it")),
            _ if family(word).is_some() => self.families.add(family(word).unwrap_or(Family::Ipv4), word)?,
            _ if self.metric(word, words)? || hop_word(&mut self.first, word, words)? => {}
            _ => return self.destination(word, words),
        }
        Ok(())
    }

    /// Reads a metric of TCP or IP. Returns false if the word is something else.
    fn metric(&mut self, word: &str, words: &mut Words<'_>) -> Result<bool, String> {
        if let Some(&(name, metric, min, max, lockable)) = METRICS.iter().find(|(name, ..)| *name == word) {
            words.once(name)?;
            if lockable && words.next_is("lock") {
                self.locked.push(metric);
            }
            let text = words.next().ok_or_else(|| format!("{name} has no value; add one"))?;
            self.metrics.push((metric, within(name, text, min, max)?));
            return Ok(true);
        }
        if let Some(&(name, metric, units)) = TIMES.iter().find(|(name, ..)| *name == word) {
            words.once(name)?;
            if words.next_is("lock") {
                self.locked.push(metric);
            }
            let text = words.next().ok_or_else(|| format!("{name} has no value; add one"))?;
            self.metrics.push((metric, time(name, text, units)?));
            return Ok(true);
        }
        Ok(false)
    }

    fn insertion(&mut self, insertion: Insertion, words: &mut Words<'_>) -> Result<(), String> {
        words.once("add, append or prepend")?;
        self.insertion = Some(insertion);
        Ok(())
    }

    /// Reads the destination, which a kind of route may precede.
    fn destination(&mut self, word: &str, words: &mut Words<'_>) -> Result<(), String> {
        let mut word = word;
        if let Some(kind) = kind(word) {
            words.once("the kind of route")?;
            self.kind = Some(kind);
            words.next_is("to");
            word = words.next().ok_or_else(|| format!("{word} has no destination; add one"))?;
        }
        let text = word;
        let destination = match prefix("destination", text) {
            Err(_) if !text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains([':', '.', '/']) => {
                return Err(unknown(text, "ip route"));
            }
            read => read?,
        };
        words.once("the destination")?;
        if let Some(destination) = destination {
            self.families.add(Family::of(destination.address), text)?;
        }
        self.destination = Some(destination.map_or(Destination::Everything, Destination::Prefix));
        Ok(())
    }

    /// Reads keepalived's `or ADDRESS`: a second gateway.
    fn alternative(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let text = words.value("or")?;
        if words.has("nexthop") || self.first.via.is_none() {
            return Err("or: there is no gateway before it; put via ADDRESS before it".into());
        }
        let via = Some(address("or", text)?);
        self.more = vec![NextHop { via, ..NextHop::default() }];
        Ok(())
    }

    /// Reads the words of a `nexthop`.
    fn next_hop(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        if words.has("or") || self.first != NextHop::default() {
            return Err("nexthop: there is a next hop before it; write nexthop before each of them".into());
        }
        // Each next hop may have the same keywords once.
        let given = std::mem::take(&mut words.given);
        let mut next_hop = NextHop::default();
        while let Some(word) = words.next() {
            if word == "weight" {
                let weight = words.number("weight", 1, MAX_WEIGHT)?;
                next_hop.weight = u16::try_from(weight).unwrap_or(u16::MAX);
            } else if !hop_word(&mut next_hop, word, words)? {
                words.next = Some(word);
                break;
            }
        }
        words.given = given;
        if !words.has("nexthop") {
            words.once("nexthop")?;
        }
        if next_hop.via.is_none() && next_hop.interface.is_none() {
            return Err("nexthop: it leads nowhere; add via ADDRESS or dev INTERFACE".into());
        }
        self.more.push(next_hop);
        Ok(())
    }

    fn finish(mut self) -> Result<Route, String> {
        let destination = self.destination.take().ok_or("there is no destination; add a prefix, or default")?;
        let kind = self.kind.unwrap_or(RouteKind::Unicast);
        let next_hops = self.next_hops(kind)?;
        let family = self.decide_family(&next_hops);
        check_gateways(family, &next_hops)?;
        self.check_family(family)?;
        let destination = match destination {
            Destination::Everything => everything(family),
            Destination::Prefix(prefix) => prefix,
        };
        if family == Family::Ipv4 && masked(destination) != destination {
            let Prefix { address, length } = masked(destination);
            return Err(format!(
                "destination: {}/{length} has bits behind its prefix; write {address}/{length}",
                destination.address
            ));
        }
        let is_local = matches!(kind, RouteKind::Local | RouteKind::Broadcast | RouteKind::Anycast);
        let table = Table::Listed(Named::Number(if is_local { LOCAL } else { MAIN }));
        let metric = match (self.metric, family) {
            (None | Some(0), Family::Ipv6) => Route::DEFAULT_METRIC_IPV6,
            (metric, _) => metric.unwrap_or(0),
        };
        // A metric of 0 is none.
        self.metrics.retain(|(_, value)| *value != 0);
        self.metrics.sort_by_key(|(metric, _)| *metric as u8);
        self.locked.sort_by_key(|metric| *metric as u8);
        Ok(Route {
            family,
            kind,
            destination: masked(destination),
            source: self.source.map(masked).filter(|source| source.length > 0),
            scope: if family == Family::Ipv6 { 0 } else { self.scope.unwrap_or(usual_scope(kind, &next_hops)) },
            next_hops,
            preferred_source: self.preferred_source,
            table: self.table.unwrap_or(table),
            metric,
            tos: self.tos.unwrap_or(Named::Number(0)),
            metrics: self.metrics,
            locked: self.locked,
            congestion_control: self.congestion_control,
            preference: self.preference.unwrap_or(0),
            insertion: self.insertion.unwrap_or_default(),
            kept: !self.no_track,
        })
    }

    /// Returns the next hops, which only some kinds of routes have.
    fn next_hops(&mut self, kind: RouteKind) -> Result<Vec<NextHop>, String> {
        let first = std::mem::take(&mut self.first);
        let mut next_hops = std::mem::take(&mut self.more);
        if first != NextHop::default() {
            // The gateways of `or` are on the same interface.
            for next_hop in &mut next_hops {
                next_hop.interface.clone_from(&first.interface);
            }
            next_hops.insert(0, first);
        }
        let leads = next_hops.iter().all(|next_hop| next_hop.via.is_some() || next_hop.interface.is_some());
        match kind {
            RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Throw
                if !next_hops.is_empty() =>
            {
                Err("a route that discards packets leads nowhere; remove via, dev and nexthop".into())
            }
            RouteKind::Unicast | RouteKind::Multicast if next_hops.is_empty() || !leads => {
                Err("the route leads nowhere; add via ADDRESS or dev INTERFACE".into())
            }
            _ => Ok(next_hops),
        }
    }

    /// Returns the family that the words name, or else that of the first gateway.
    fn decide_family(&self, next_hops: &[NextHop]) -> Family {
        let gateway = next_hops.iter().find_map(|next_hop| next_hop.via).map(Family::of);
        self.families.decide(gateway)
    }

    /// Checks that the words are those of a route of this family.
    fn check_family(&self, family: Family) -> Result<(), String> {
        let (other, wrong) = match family {
            Family::Ipv4 => (Family::Ipv6, [(self.source.is_some(), "from"), (self.preference.is_some(), "pref")]),
            Family::Ipv6 => (Family::Ipv4, [(self.tos.is_some(), "tos"), (false, "")]),
        };
        match wrong.iter().find(|(is_given, _)| *is_given) {
            Some((_, word)) => Err(format!("{word} is for {} routes only; remove it", of(other))),
            None => Ok(()),
        }
    }
}

/// Reads a word about a next hop. Returns false if the word is something else.
fn hop_word(next_hop: &mut NextHop, word: &str, words: &mut Words<'_>) -> Result<bool, String> {
    match word {
        "via" | "gw" => {
            let mut text = words.value("via")?;
            let named = family(text);
            if named.is_some() {
                text = words.next().ok_or("via has no value; add one")?;
            }
            let via = address("via", text)?;
            if named.is_some_and(|named| named != Family::of(via)) {
                return Err(format!("via: {} is {}; correct the word before it", quote(text), of(Family::of(via))));
            }
            next_hop.via = Some(via);
        }
        "dev" | "oif" => next_hop.interface = Some(words.interface("dev")?),
        "onlink" => {
            words.once("onlink")?;
            next_hop.onlink = true;
        }
        "realms" => next_hop.realms = Some(words.realms()?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn check_gateways(family: Family, next_hops: &[NextHop]) -> Result<(), String> {
    for next_hop in next_hops {
        let gateway = next_hop.via.map(|via| (via, Family::of(via)));
        if let Some((via, Family::Ipv4)) = gateway.filter(|_| family == Family::Ipv6) {
            return Err(format!("via: {via} is IPv4, but the route is IPv6; expected an IPv6 address"));
        }
        if next_hop.realms.is_some() && family == Family::Ipv6 {
            return Err("realms is for IPv4 routes only; remove it".into());
        }
    }
    Ok(())
}

/// Returns the scope that ip(8) chooses.
fn usual_scope(kind: RouteKind, next_hops: &[NextHop]) -> u8 {
    const GLOBAL: u8 = 0;
    const LINK: u8 = 253;
    const HOST: u8 = 254;
    match kind {
        RouteKind::Local => HOST,
        RouteKind::Broadcast | RouteKind::Multicast | RouteKind::Anycast => LINK,
        RouteKind::Unicast if matches!(next_hops, [NextHop { via: None, .. }]) => LINK,
        _ => GLOBAL,
    }
}

/// Reads a router preference (RFC 4191 2.1).
fn preference(text: &str) -> Result<u8, String> {
    match text {
        "medium" | "0" => Ok(0),
        "high" | "1" => Ok(1),
        "low" | "3" => Ok(3),
        _ => Err(format!("pref: {} is not valid; expected low, medium or high", quote(text))),
    }
}

/// Reads a time: a number of the metric's own units, or one with the unit s or ms.
fn time(keyword: &str, text: &str, units: u32) -> Result<u32, String> {
    let wrong = || format!("{keyword}: {} is not a time; expected one such as 200ms or 1s", quote(text));
    let (digits, factor) = if let Some(digits) = text.strip_suffix("ms").or(text.strip_suffix("msec")) {
        (digits, units)
    } else if let Some(digits) = text.strip_suffix("secs").or(text.strip_suffix("sec")).or(text.strip_suffix('s')) {
        (digits, units.saturating_mul(1000))
    } else {
        (text, 1)
    };
    let value = number::<u32>(digits).and_then(|value| value.checked_mul(factor)).ok_or_else(wrong)?;
    if value == 0 { Err(wrong()) } else { Ok(value) }
}

#[cfg(test)]
mod tests;
