//! The fence: drops packets to a virtual address that arrive on another interface than its virtual router's, or at an
//! interface's own MAC.
//!
//! The address stays on this host until the agent removes it, and a dead agent does not do that. Such packets are
//! therefore dropped once the lease has ended, and while an agent that has given up the role is removing the address.
//! Otherwise they pass, because a Backup may forward them to the Active router.

use xvrrp_common::abi::{Address, Counter, VipKey, ipv4_address};
use xvrrp_common::units::Family;
use xvrrp_common::wire::arp::{Arp, OPERATION_REQUEST};
use xvrrp_common::wire::icmpv6::{self, Kind, Neighbor};
use xvrrp_common::wire::{Truncated, ethernet, ipv4, ipv6};

use crate::cursor::Network;
use crate::lease;
use crate::maps::{self, CounterIndex, count};
use crate::verdict::TcVerdict;

/// Handles a packet that has arrived on an interface without a virtual router.
#[inline(always)]
pub fn handle(packet: &Network) -> Result<TcVerdict, Truncated> {
    if lease::all_surely_run() || packet.is_for_another_host() {
        return Ok(TcVerdict::Pass);
    }
    let (family, address) = match packet.protocol() {
        ethernet::TYPE_IPV4 => (Family::Ipv4, ipv4_address(ipv4::destination(packet, 0)?)),
        ethernet::TYPE_IPV6 => (Family::Ipv6, ipv6_address(packet)?),
        ethernet::TYPE_ARP => match Arp::decode(packet, 0)? {
            Some(arp) if is_request(&arp) => (Family::Ipv4, ipv4_address(arp.target)),
            _ => return Ok(TcVerdict::Pass),
        },
        _ => return Ok(TcVerdict::Pass),
    };
    Ok(if forbids(packet.ifindex(), 0, family, &address) { TcVerdict::Drop } else { TcVerdict::Pass })
}

/// Returns whether the packet asks for the MAC of its target.
#[inline(always)]
pub fn is_request(arp: &Arp) -> bool {
    arp.operation == OPERATION_REQUEST && !arp.is_gratuitous()
}

/// Returns the address that a packet is for: the target of a Neighbor Solicitation, or the destination of any other
/// packet.
#[inline(always)]
fn ipv6_address(packet: &Network) -> Result<Address, Truncated> {
    if ipv6::next_header(packet, 0)? == icmpv6::NEXT_HEADER
        && icmpv6::is_neighbor(packet, ipv6::HEADER)?
        && let Ok(ip) = ipv6::Header::decode(packet, 0)
        && let Some(Neighbor { kind: Kind::Solicitation, target, .. }) = Neighbor::decode(packet, &ip)?
    {
        return Ok(target);
    }
    ipv6::destination(packet, 0)
}

/// Returns whether this host must not serve the address now, and counts the packet if so. That is the case if, of the
/// virtual routers that have the address, one is Active past its lease or has just given up the role, and none is
/// Active within its lease.
///
/// A link-local address is found on the interface that the packet arrived on, because each interface has link-local
/// addresses of its own.
#[inline(never)]
pub fn forbids(ifindex: u32, vlan: u16, family: Family, address: &Address) -> bool {
    let mut ended = None;
    for nth in 0..VipKey::MAX_SHARED {
        let Some(router) = maps::router_of_vip_anywhere(family, *address, nth) else { break };
        if lease::runs(&router) {
            return false;
        }
        if lease::has_ended(&router) {
            ended = Some(CounterIndex::of(&router));
        }
    }
    if ended.is_none()
        && let Some(router) = maps::router_of_vip_from_elsewhere(ifindex, vlan, family, *address)
        && lease::has_ended(&router)
    {
        ended = Some(CounterIndex::of(&router));
    }
    if let Some(index) = ended {
        count(index, Counter::Fenced);
    }
    ended.is_some()
}
