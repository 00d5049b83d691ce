//! What this host says of the virtual addresses in ARP: with the virtual MAC, and only while Active.
//!
//! The network stack sends ARP with the virtual address and the interface's own MAC whenever it speaks to a neighbor,
//! and that would overwrite what the neighbor has learned (RFC 9568 8.1.2).

use xvrrp_common::abi::{Counter, Router};
use xvrrp_common::wire::arp::{Arp, SENDER_MAC_OFFSET};
use xvrrp_common::wire::{Truncated, ethernet};

use crate::cursor::Skb;
use crate::lease;
use crate::maps::{self, CounterIndex, count};

/// What becomes of a frame that leaves.
pub enum Verdict {
    Pass,
    Drop,
}

#[inline(always)]
pub fn handle(skb: &mut Skb) -> Result<Verdict, Truncated> {
    let protocol = skb.protocol();
    if protocol != ethernet::TYPE_ARP && !ethernet::is_tag(protocol) {
        return Ok(Verdict::Pass);
    }
    let header = ethernet::Header::decode(skb)?;
    if header.ether_type != ethernet::TYPE_ARP {
        return Ok(Verdict::Pass);
    }
    let vlan = match (skb.pending_tag(), header.vlan) {
        (None, vlan) => vlan,
        (Some(tci), 0) => ethernet::vlan_identifier(tci),
        // Two tags: a network that we do not know.
        (Some(_), _) => return Ok(Verdict::Pass),
    };
    let Some(arp) = Arp::decode(skb, header.payload)? else {
        return Ok(Verdict::Pass);
    };
    let Some(router) = maps::router_of_vip(skb.ifindex(), vlan, arp.sender) else {
        return Ok(Verdict::Pass);
    };
    if !lease::runs(router) {
        count(CounterIndex::of(router), Counter::EgressArpDropped);
        return Ok(Verdict::Drop);
    }
    let mac = router.answer_mac;
    if router.flags & Router::VIRTUAL_MAC == 0 || (arp.sender_mac.0 == mac && ethernet::source(skb)?.0 == mac) {
        return Ok(Verdict::Pass);
    }
    skb.write(ethernet::SOURCE_OFFSET, mac)?;
    skb.write(header.payload + SENDER_MAC_OFFSET, mac)?;
    count(CounterIndex::of(router), Counter::EgressArpRewritten);
    Ok(Verdict::Pass)
}
