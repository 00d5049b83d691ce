//! Rewrites ARP and Neighbor Discovery that this host sends for a virtual address to the virtual MAC, and drops it
//! while this host is not Active.
//!
//! The network stack uses the interface's own MAC whenever it resolves a neighbor from a virtual address. The neighbor
//! would then replace the virtual MAC in its cache. RFC 9568 8.1.2: "The Active Router MUST NOT respond with its
//! physical MAC address in the ARP response." RFC 9568 8.2.2, about the source link-layer address option: "It MUST NOT
//! use its physical MAC address".

use xvrrp_common::abi::{Counter, Router, ipv4_address};
use xvrrp_common::units::Family;
use xvrrp_common::wire::arp::{Arp, SENDER_MAC_OFFSET};
use xvrrp_common::wire::checksum::Sum;
use xvrrp_common::wire::icmpv6::{self, Neighbor};
use xvrrp_common::wire::{Packet, Truncated, ethernet, ipv6};

use crate::cursor::Skb;
use crate::lease;
use crate::maps::{self, CounterIndex, count};
use crate::verdict::TcVerdict;

/// Handles a frame that is about to leave. RFC 9568 6.4.2 (conformance 28): "It MUST NOT respond to ARP requests for
/// the IPv4 address(es) associated with the Virtual Router." 8.1.2 (conformance 56): "The Active Router MUST NOT
/// respond with its physical MAC address in the ARP response."
#[inline(always)]
pub fn handle(skb: &mut Skb) -> Result<TcVerdict, Truncated> {
    let protocol = skb.protocol();
    if !matches!(protocol, ethernet::TYPE_ARP | ethernet::TYPE_IPV6) && !ethernet::is_tag(protocol) {
        return Ok(TcVerdict::Pass);
    }
    let mut header = ethernet::Header::decode(skb)?;
    header.vlan = match (skb.pending_tag(), header.vlan) {
        (None, vlan) => vlan,
        (Some(tci), 0) => ethernet::vlan_identifier(tci),
        // A frame with two tags belongs to a network that is not configured here.
        (Some(_), _) => return Ok(TcVerdict::Pass),
    };
    match header.ether_type {
        ethernet::TYPE_ARP => arp(skb, &header),
        ethernet::TYPE_IPV6 => nd(skb, &header),
        _ => Ok(TcVerdict::Pass),
    }
}

#[inline(always)]
fn arp(skb: &mut Skb, header: &ethernet::Header) -> Result<TcVerdict, Truncated> {
    let Some(arp) = Arp::decode(skb, header.payload)? else {
        return Ok(TcVerdict::Pass);
    };
    let sender = ipv4_address(arp.sender);
    let Some(router) = maps::router_of_vip(skb.ifindex(), header.vlan, Family::Ipv4, sender) else {
        return Ok(TcVerdict::Pass);
    };
    if !lease::runs(&router) {
        count(CounterIndex::of(&router), Counter::EgressArpDropped);
        return Ok(TcVerdict::Drop);
    }
    let mac = router.answer_mac().0;
    if !router.has(Router::VIRTUAL_MAC) || (arp.sender_mac.0 == mac && ethernet::source(skb)?.0 == mac) {
        return Ok(TcVerdict::Pass);
    }
    skb.write(ethernet::SOURCE_OFFSET, mac)?;
    skb.write(header.payload + SENDER_MAC_OFFSET, mac)?;
    count(CounterIndex::of(&router), Counter::EgressArpRewritten);
    Ok(TcVerdict::Pass)
}

#[inline(always)]
fn nd(skb: &mut Skb, header: &ethernet::Header) -> Result<TcVerdict, Truncated> {
    let message = header.payload + ipv6::HEADER;
    if ipv6::next_header(skb, header.payload)? != icmpv6::NEXT_HEADER || !icmpv6::is_neighbor(skb, message)? {
        return Ok(TcVerdict::Pass);
    }
    let Ok(ip) = ipv6::Header::decode(skb, header.payload) else {
        return Ok(TcVerdict::Pass);
    };
    let Some(neighbor) = Neighbor::decode(skb, &ip)? else {
        return Ok(TcVerdict::Pass);
    };
    let located = neighbor.located(&ip);
    let Some(router) = maps::router_of_vip(skb.ifindex(), header.vlan, Family::Ipv6, located) else {
        return Ok(TcVerdict::Pass);
    };
    if !lease::runs(&router) {
        count(CounterIndex::of(&router), Counter::EgressNdDropped);
        return Ok(TcVerdict::Drop);
    }
    let mac = router.answer_mac().0;
    // This is not an `Option` because the compiler would read its content before its tag. Before Linux 6.3, the
    // verifier rejects a program that reads stack memory which it has not written.
    let before = neighbor.mac.map_or(mac, |option| option.0);
    if !router.has(Router::VIRTUAL_MAC) || (before == mac && ethernet::source(skb)?.0 == mac) {
        return Ok(TcVerdict::Pass);
    }
    skb.write(ethernet::SOURCE_OFFSET, mac)?;
    if before != mac {
        let checksum = skb.read(message + icmpv6::CHECKSUM_OFFSET)?;
        skb.write(message + icmpv6::CHECKSUM_OFFSET, Sum::updated(checksum, &before, &mac))?;
        skb.write(message + icmpv6::MAC_OFFSET, mac)?;
    }
    count(CounterIndex::of(&router), Counter::EgressNdRewritten);
    Ok(TcVerdict::Pass)
}
