//! Reads `[[virtual_router]]`, and checks that the virtual routers of a file do not contradict each other.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use toml::de::DeValue;
use xvrrp_common::units::{Family, Interval, Priority, Version, Vrid};

use super::address::{parse_peer, parse_source};
use super::address_list::ListedAddresses;
use super::check::{Names, read_track};
use super::error::{Reported, all};
use super::keys;
use super::mail::read_occasions;
use super::model::{
    Checksum, ElectionRules, MAX_VIRTUAL_ROUTERS, Password, UnicastPeer, VirtualRouterConfig, VirtualRouterLines,
};
use super::notify;
use super::peers;
use super::quote::quote;
use super::routing;
use super::section::Section;
use super::taken::Taken;
use super::values::{check_listed, name_or_number, read_interface};

const ADVERT_INTERVALS: RangeInclusive<Interval> = Interval::MIN_ADVERT..=Interval::MAX_ADVERT;
const ADVERT_INTERVALS_V2: RangeInclusive<Interval> = Interval::from_seconds(1)..=Interval::MAX_ADVERT_V2;
const PREEMPT_DELAYS: RangeInclusive<Interval> = Interval::ZERO..=Interval::from_millis(1_000_000);
const ANNOUNCE_INTERVALS: RangeInclusive<Interval> = Interval::from_millis(10)..=Interval::from_seconds(60);
const ANNOUNCE_REFRESHES: RangeInclusive<Interval> = Interval::ZERO..=Interval::from_millis(86_400_000);

/// Reads all virtual routers. `has_mail` says whether the file has a `[mail]`.
pub(super) fn read_all(
    root: &mut Section,
    checks: &Names,
    has_mail: bool,
    taken: &mut Taken,
) -> Result<Vec<VirtualRouterConfig>, Reported> {
    let Some((elements, line)) = root.list(&keys::VIRTUAL_ROUTER)? else {
        return root.required(&keys::VIRTUAL_ROUTER, None);
    };
    if elements.is_empty() {
        return Err(root.reject(&keys::VIRTUAL_ROUTER, line, "the list is empty"));
    }
    if let Some(first_too_many) = elements.get(MAX_VIRTUAL_ROUTERS) {
        let message = format!(
            "{} virtual routers are too many; expected at most {MAX_VIRTUAL_ROUTERS} in a file",
            elements.len()
        );
        return Err(root.report(&keys::VIRTUAL_ROUTER, first_too_many.line, message));
    }

    all(elements.into_iter().enumerate().map(|(index, element)| match element.value {
        DeValue::Table(table) => {
            let place = format!("virtual_router {}", name_or_number(table, index + 1));
            read_table(&mut root.below(place, table, element.line), taken, checks, has_mail)
        }
        _ => Err(root.reject_type(&keys::VIRTUAL_ROUTER, element)),
    }))
}

fn read_table(
    section: &mut Section,
    taken: &mut Taken,
    checks: &Names,
    has_mail: bool,
) -> Result<VirtualRouterConfig, Reported> {
    let name = taken.claim_name(section);
    let interface = read_interface(section);
    let vrid = read_vrid(section);
    let version = read_version(section);
    let priority = read_priority(section);
    // If the version is wrong, errors in the keys that depend on it are not reported.
    let advert_interval = version.and_then(|version| read_advert_interval(section, version));
    let checksum = version.and_then(|version| read_checksum(section, version));
    let password = version.and_then(|version| read_password(section, version));
    let mut addresses = ListedAddresses::read(section, version.ok(), interface.as_deref().ok(), vrid.ok());
    let preemption = read_preemption(section, priority.ok());
    let carrier_fault = section.boolean(&keys::CARRIER_FAULT, true);
    let election = read_election_rules(section);
    let accept = section.boolean(&keys::ACCEPT, true);
    let lease = read_lease(section);
    let virtual_mac = section.boolean(&keys::VIRTUAL_MAC, true);
    let routers = ListedRouters::read(section, priority.ok());
    let announce_count = read_announce_count(section);
    let announce_interval = read_announce_interval(section);
    let announce_refresh = read_announce_refresh(section);
    let routing = routing::read(section, &keys::ROUTES, &keys::RULES);
    let track = read_track(section, checks, priority.ok());
    let notify = notify::read(section, taken);
    let notify_priority_changes = section.boolean(&keys::NOTIFY_PRIORITY_CHANGES, false);
    let mail = read_occasions(section, has_mail, true);
    section.report_unknown_keys(keys::VIRTUAL_ROUTER_KEYS);

    let family = match (&mut addresses, &routers) {
        (Ok(addresses), Ok(routers)) => routers.check(section, addresses, version.ok(), checksum.as_ref().ok()),
        _ => Ok(Family::Ipv4),
    };
    if let Ok(interface) = &interface {
        claim(section, taken, interface, vrid.ok(), addresses.as_ref().ok(), accept.unwrap_or(true));
    }

    let (addresses, routers) = (addresses?, routers?);
    let (preempt, preempt_delay) = preemption?;
    Ok(VirtualRouterConfig {
        name: name?,
        interface: interface?,
        vrid: vrid?,
        version: version?,
        priority: priority?,
        advert_interval: advert_interval?,
        addresses: addresses.advertised.into_iter().map(|(vip, _)| vip).collect(),
        unadvertised: addresses.unadvertised.into_iter().map(|(vip, _)| vip).collect(),
        address_options: addresses.options,
        family: family?,
        link_local_first: addresses.link_local_first,
        preempt,
        preempt_delay,
        carrier_fault: carrier_fault?,
        election: election?,
        accept: accept?,
        lease: lease?,
        virtual_mac: virtual_mac?,
        checksum: checksum?,
        source_addresses: routers.own,
        allowed_sources: routers.allowed,
        unicast_peers: routers.peers.into_iter().map(|(peer, _)| peer).collect(),
        password: password?,
        announce_count: announce_count?,
        announce_interval: announce_interval?,
        announce_refresh: announce_refresh?,
        routing: Arc::new(routing?),
        track: track?,
        sync_group: None,
        notify: notify?,
        notify_priority_changes: notify_priority_changes?,
        mail: mail?,
        lines: read_lines(section),
    })
}

fn read_lines(section: &Section) -> VirtualRouterLines {
    VirtualRouterLines {
        header: section.line,
        interface: section.line_of(&keys::INTERFACE),
        addresses: section.line_of(&keys::ADDRESSES),
        unicast_peers: section.line_of(&keys::UNICAST_PEERS),
        source_addresses: section.line_of(&keys::SOURCE_ADDRESSES),
    }
}

fn read_election_rules(section: &mut Section) -> Result<ElectionRules, Reported> {
    let down_timer_adverts = section.integer(&keys::DOWN_TIMER_ADVERTS, 2..=100);
    let answer_lower_priority = section.boolean(&keys::ANSWER_LOWER_PRIORITY, true);
    let answer_higher_priority = section.boolean(&keys::ANSWER_HIGHER_PRIORITY, false);
    Ok(ElectionRules {
        down_timer_adverts: down_timer_adverts?.unwrap_or(3),
        answer_lower_priority: answer_lower_priority?,
        answer_higher_priority: answer_higher_priority?,
    })
}

/// Takes the VRID and the addresses on the interface, as far as they could be read.
fn claim(
    section: &mut Section,
    taken: &mut Taken,
    interface: &str,
    vrid: Option<Vrid>,
    addresses: Option<&ListedAddresses>,
    accept: bool,
) {
    if let Some(addresses) = addresses.filter(|_| !accept) {
        addresses.report_devices(section, interface);
    }
    // If the addresses have an error, IPv4 is assumed.
    let uses = |family| addresses.map_or(family == Family::Ipv4, |addresses| addresses.has(family));
    if let Some(vrid) = vrid {
        for family in [Family::Ipv4, Family::Ipv6].into_iter().filter(|family| uses(*family)) {
            taken.claim_vrid(section, interface, family, vrid);
        }
    }
    let devices = addresses.map(|it| it.devices(interface)).unwrap_or_default();
    for (vip, line) in addresses.into_iter().flat_map(ListedAddresses::all) {
        let interface = devices.get(&vip.address).copied().unwrap_or(interface);
        taken.claim_address(section, interface, vip.address, *line);
    }
}

fn read_vrid(section: &mut Section) -> Result<Vrid, Reported> {
    let vrid = section.integer(&keys::VRID, 1..=255)?;
    section.required(&keys::VRID, vrid.and_then(Vrid::new))
}

fn read_version(section: &mut Section) -> Result<Version, Reported> {
    let version = section.integer(&keys::VERSION, 2..=3)?;
    Ok(version.and_then(Version::from_wire).unwrap_or(Version::V3))
}

fn read_advert_interval(section: &mut Section, version: Version) -> Result<Interval, Reported> {
    let (key, range) = match version {
        Version::V2 => (&keys::ADVERT_INTERVAL_V2, ADVERT_INTERVALS_V2),
        Version::V3 => (&keys::ADVERT_INTERVAL, ADVERT_INTERVALS),
    };
    let interval = section.duration(key, range, VirtualRouterConfig::DEFAULT_ADVERT_INTERVAL)?;
    let uneven = match version {
        Version::V2 if interval.to_seconds().is_none() => "not a whole number of seconds",
        Version::V3 if interval.to_centiseconds().is_none() => "not a multiple of 10ms",
        _ => return Ok(interval),
    };
    Err(section.reject(key, section.line_of(key), format_args!("\"{interval}\" is {uneven}")))
}

fn read_announce_count(section: &mut Section) -> Result<u8, Reported> {
    let count = section.integer(&keys::ANNOUNCE_COUNT, 1..=60)?;
    Ok(count.unwrap_or(VirtualRouterConfig::DEFAULT_ANNOUNCE_COUNT))
}

fn read_announce_interval(section: &mut Section) -> Result<Interval, Reported> {
    section.duration(&keys::ANNOUNCE_INTERVAL, ANNOUNCE_INTERVALS, VirtualRouterConfig::DEFAULT_ANNOUNCE_INTERVAL)
}

fn read_announce_refresh(section: &mut Section) -> Result<Interval, Reported> {
    let refresh = section.duration(&keys::ANNOUNCE_REFRESH, ANNOUNCE_REFRESHES, Interval::ZERO)?;
    if refresh == Interval::ZERO || refresh >= Interval::from_seconds(1) {
        return Ok(refresh);
    }
    let line = section.line_of(&keys::ANNOUNCE_REFRESH);
    Err(section.reject(&keys::ANNOUNCE_REFRESH, line, format_args!("\"{refresh}\" is too short")))
}

fn read_lease(section: &mut Section) -> Result<bool, Reported> {
    match section.string(&keys::LEASE)? {
        None | Some("on") => Ok(true),
        Some("off") => Ok(false),
        Some(other) => Err(section.reject(
            &keys::LEASE,
            section.line_of(&keys::LEASE),
            format_args!("{} is not valid", quote(other)),
        )),
    }
}

fn read_checksum(section: &mut Section, version: Version) -> Result<Checksum, Reported> {
    let Some(text) = section.string(&keys::CHECKSUM)? else {
        return Ok(Checksum::Auto);
    };
    let line = section.line_of(&keys::CHECKSUM);
    if version == Version::V2 {
        let message = "version 2 has only one form (RFC 3768 5.3.8); remove checksum, or set version = 3";
        return Err(section.report(&keys::CHECKSUM, line, message));
    }
    match text {
        "auto" => Ok(Checksum::Auto),
        "pseudo-header" => Ok(Checksum::PseudoHeader),
        "plain" => Ok(Checksum::Plain),
        _ => Err(section.reject(&keys::CHECKSUM, line, format_args!("{} is not a form of checksum", quote(text)))),
    }
}

/// Reads the password. Messages do not show it.
fn read_password(section: &mut Section, version: Version) -> Result<Option<Password>, Reported> {
    let Some(found) = section.get(&keys::PASSWORD) else {
        return Ok(None);
    };
    if version == Version::V3 {
        let message = "version 3 has no authentication (RFC 5798 removed it); remove password, or set version = 2";
        return Err(section.report(&keys::PASSWORD, found.line, message));
    }
    let Some(text) = found.value.as_str() else {
        return Err(section.reject(&keys::PASSWORD, found.line, "is not a string"));
    };
    if text.chars().any(char::is_control) {
        return Err(section.reject(&keys::PASSWORD, found.line, "has control characters"));
    }
    let mut padded = [0; 8];
    match padded.get_mut(..text.len()) {
        Some(start) if !text.is_empty() => start.copy_from_slice(text.as_bytes()),
        _ => {
            return Err(section.reject(&keys::PASSWORD, found.line, format_args!("has {} bytes", text.len())));
        }
    }
    Ok(Some(Password(padded)))
}

fn read_allowed_sources(section: &mut Section) -> Result<Vec<IpAddr>, Reported> {
    let Some((elements, line)) = section.list(&keys::ALLOWED_SOURCES)? else {
        return Ok(Vec::new());
    };
    if elements.len() > VirtualRouterConfig::MAX_ALLOWED_SOURCES {
        let wrong = format!("{} addresses are too many", elements.len());
        return Err(section.reject(&keys::ALLOWED_SOURCES, line, wrong));
    }
    let sources = section.each(&keys::ALLOWED_SOURCES, elements, parse_source)?;
    let mut first_lines = HashMap::new();
    for (source, line) in &sources {
        if let Some(first) = first_lines.insert(*source, *line) {
            let message = format!("{source} is listed twice, first on line {first}; remove one");
            return Err(section.report(&keys::ALLOWED_SOURCES, *line, message));
        }
    }
    Ok(sources.into_iter().map(|(source, _)| source).collect())
}

/// Returns the name of an address family, for messages.
const fn name_of(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "IPv6" } else { "IPv4" }
}

fn read_source_addresses(section: &mut Section) -> Result<Vec<IpAddr>, Reported> {
    let Some((elements, _)) = section.list(&keys::SOURCE_ADDRESSES)? else { return Ok(Vec::new()) };
    let sources = section.each(&keys::SOURCE_ADDRESSES, elements, parse_peer)?;
    for (nth, (source, line)) in sources.iter().enumerate() {
        if sources.iter().take(nth).any(|(other, _)| other.is_ipv6() == source.is_ipv6()) {
            let message = format!("{source} is the second {} address; list one of each family", name_of(*source));
            return Err(section.report(&keys::SOURCE_ADDRESSES, *line, message));
        }
    }
    Ok(sources.into_iter().map(|(source, _)| source).collect())
}

/// The addresses of routers that a virtual router lists: of this one, and of the others.
struct ListedRouters {
    own: Vec<IpAddr>,
    allowed: Vec<IpAddr>,
    peers: Vec<(UnicastPeer, usize)>,
    /// Priority of this one.
    priority: Option<Priority>,
}

impl ListedRouters {
    fn read(section: &mut Section, priority: Option<Priority>) -> Result<Self, Reported> {
        let own = read_source_addresses(section);
        let allowed = read_allowed_sources(section);
        let peers = peers::read(section);
        Ok(Self { own: own?, allowed: allowed?, peers: peers?, priority })
    }

    /// Reads the family of adverts without addresses, and reports what does not fit the families of the adverts.
    fn check(
        &self,
        section: &mut Section,
        addresses: &mut ListedAddresses,
        version: Option<Version>,
        checksum: Option<&Checksum>,
    ) -> Result<Family, Reported> {
        let listed = self.peers.iter().map(|(peer, _)| peer.address).chain(self.allowed.iter().copied());
        let family = addresses.read_family(section, version, listed)?;
        check_families(section, addresses, checksum, &self.allowed);
        self.check_own(section, addresses);
        peers::check(section, &self.peers, addresses, self.priority, !self.allowed.is_empty());
        Ok(family)
    }

    /// Reports source addresses that adverts cannot be sent from.
    fn check_own(&self, section: &mut Section, addresses: &ListedAddresses) {
        let line = section.line_of(&keys::SOURCE_ADDRESSES);
        for source in &self.own {
            let family = Family::of(*source);
            let peers = self.peers.iter().map(|(peer, _)| peer.address).filter(|peer| Family::of(*peer) == family);
            let is_far = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if !v6.is_unicast_link_local());
            let message = if !addresses.has(family) {
                format!("there are no adverts over {}; remove {source}", name_of(*source))
            } else if is_far(source) && !peers.clone().any(|peer| is_far(&peer)) {
                format!("{source} is not link-local, as the source of adverts on the link is (RFC 9568 5.1.2.1)")
            } else if source.is_ipv6() && !is_far(source) && peers.clone().any(|peer| is_far(&peer)) {
                format!("{source} is link-local, so unicast_peers that are not on the link do not accept it")
            } else {
                continue;
            };
            section.report(&keys::SOURCE_ADDRESSES, line, message);
        }
    }
}

/// Reports values with which one of the two families would hear nothing, or that apply to neither family.
fn check_families(
    section: &mut Section,
    addresses: &ListedAddresses,
    checksum: Option<&Checksum>,
    allowed_sources: &[IpAddr],
) {
    if !addresses.has(Family::Ipv4) && checksum == Some(&Checksum::Plain) {
        let message = "over IPv6 the checksum always covers the pseudo-header (RFC 9568 5.2.8); remove checksum";
        section.report(&keys::CHECKSUM, section.line_of(&keys::CHECKSUM), message);
    }
    if !allowed_sources.is_empty() {
        let listed: Vec<Family> = allowed_sources.iter().map(|source| Family::of(*source)).collect();
        check_listed(section, &keys::ALLOWED_SOURCES, "sources", addresses, &listed);
    }
}

fn read_priority(section: &mut Section) -> Result<Priority, Reported> {
    let priority = section.integer(&keys::PRIORITY, 1..=255)?;
    Ok(priority.map_or(Priority::DEFAULT, Priority::new))
}

/// Reads whether the virtual router preempts, and after which delay.
fn read_preemption(section: &mut Section, priority: Option<Priority>) -> Result<(bool, Interval), Reported> {
    let preempt = section.boolean(&keys::PREEMPT, true);
    let delay = section.duration(&keys::PREEMPT_DELAY, PREEMPT_DELAYS, Interval::ZERO);
    let (preempt, delay) = (preempt?, delay?);
    if !preempt && priority.is_some_and(Priority::is_owner) {
        let message = "false contradicts priority = 255: the address owner always preempts (RFC 9568 6.1); \
                       remove preempt, or lower the priority";
        section.report(&keys::PREEMPT, section.line_of(&keys::PREEMPT), message);
    }
    if !preempt && delay > Interval::ZERO {
        let message = "has no effect with preempt = false; remove one of the two";
        section.report(&keys::PREEMPT_DELAY, section.line_of(&keys::PREEMPT_DELAY), message);
    }
    Ok((preempt, delay))
}
