//! Reads `unicast_peers` of a virtual router.

use std::collections::HashMap;
use std::net::IpAddr;

use toml::de::DeValue;
use xvrrp_common::units::{Family, Priority};
use xvrrp_common::wire::vrrp::HOP_LIMIT;

use super::address::parse_peer;
use super::address_list::ListedAddresses;
use super::error::{Reported, all};
use super::keys;
use super::model::{UnicastPeer, VirtualRouterConfig};
use super::section::{Found, Section};
use super::values::check_listed;

/// Reads the peers, with the line of each.
pub(super) fn read(section: &mut Section) -> Result<Vec<(UnicastPeer, usize)>, Reported> {
    let Some((elements, line)) = section.list(&keys::UNICAST_PEERS)? else { return Ok(Vec::new()) };
    if elements.len() > VirtualRouterConfig::MAX_UNICAST_PEERS {
        let wrong = format!("{} peers are too many", elements.len());
        return Err(section.reject(&keys::UNICAST_PEERS, line, wrong));
    }
    let mut first_lines = HashMap::new();
    all(elements.into_iter().map(|element| {
        let line = element.line;
        read_one(section, element).and_then(|peer| match first_lines.insert(peer.address, line) {
            Some(first) => {
                let message = format!("{} is listed twice, first on line {first}; remove one", peer.address);
                Err(section.report(&keys::UNICAST_PEERS, line, message))
            }
            None => Ok((peer, line)),
        })
    }))
}

fn read_one<'i>(section: &mut Section<'_, 'i>, element: Found<'_, 'i>) -> Result<UnicastPeer, Reported> {
    let (address, line, min_ttl) = match element.value {
        DeValue::String(address) => (address.to_string(), element.line, None),
        DeValue::Table(table) => {
            let place = format!("{}: {}", section.place, keys::UNICAST_PEERS.name);
            let mut below = section.below(place, table, element.line);
            let address = below.string(&keys::PEER_ADDRESS).and_then(|text| below.required(&keys::PEER_ADDRESS, text));
            let min_ttl = below.integer(&keys::MIN_TTL, 1..=HOP_LIMIT);
            below.report_unknown_keys(keys::PEER_KEYS);
            (address?.to_owned(), below.line_of(&keys::PEER_ADDRESS), min_ttl?)
        }
        _ => return Err(section.reject_type(&keys::UNICAST_PEERS, element)),
    };
    let address = parse_peer(&address).map_err(|error| section.report(&keys::UNICAST_PEERS, line, error))?;
    Ok(UnicastPeer { address, min_ttl: min_ttl.unwrap_or(HOP_LIMIT) })
}

/// Reports peers that contradict each other or another key of the table.
pub(super) fn check(
    section: &mut Section,
    peers: &[(UnicastPeer, usize)],
    addresses: &ListedAddresses,
    priority: Option<Priority>,
    restricted: bool,
) {
    let Some((_, line)) = peers.first() else { return };
    if restricted {
        let message = "has no effect beside unicast_peers, because only adverts of the peers are accepted; remove \
                       allowed_sources";
        section.report(&keys::ALLOWED_SOURCES, section.line_of(&keys::ALLOWED_SOURCES), message);
    }
    if priority.is_some_and(Priority::is_owner) {
        let message = "the owner (priority = 255) sends from an address that the other routers take over, so they \
                       could not reach it there; lower the priority, or remove unicast_peers";
        section.report(&keys::UNICAST_PEERS, *line, message);
    }
    for (peer, line) in peers {
        if addresses.all().any(|(vip, _)| vip.address == peer.address) {
            let message = format!("{} is a virtual address; expected another router's own address", peer.address);
            section.report(&keys::UNICAST_PEERS, *line, message);
        }
    }
    let is_link_local = |peer: &UnicastPeer| match peer.address {
        IpAddr::V6(address) => Some(address.is_unicast_link_local()),
        IpAddr::V4(_) => None,
    };
    let mut kinds = peers.iter().filter_map(|(peer, line)| Some((is_link_local(peer)?, *line)));
    if let Some((first, _)) = kinds.next()
        && let Some((_, line)) = kinds.find(|(kind, _)| *kind != first)
    {
        let message = "all adverts over IPv6 are sent from one address, which is link-local if the peers are; list \
                       either only link-local IPv6 peers, or none";
        section.report(&keys::UNICAST_PEERS, line, message);
    }
    let listed: Vec<Family> = peers.iter().map(|(peer, _)| Family::of(peer.address)).collect();
    check_listed(section, &keys::UNICAST_PEERS, "peers", addresses, &listed);
}
