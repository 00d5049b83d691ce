//! Packets to a virtual address that this host must not accept, because `Accept_Mode` is off, or because the virtual
//! router has no virtual MAC whose frames could be dropped as a whole.

use xvrrp_common::abi::{Counter, Router, ipv4_address};
use xvrrp_common::units::Family;
use xvrrp_common::wire::{Truncated, ethernet, ipv4, ipv6};

use crate::cursor::Frame;
use crate::fence;
use crate::lease;
use crate::maps::{self, CounterIndex, count};
use crate::verdict::XdpVerdict;

/// Rule by which a packet is judged. It depends on the MAC that the packet was addressed to.
#[derive(Clone, Copy)]
pub enum Rule {
    /// Accepts any destination, because the virtual MAC belongs to a virtual router in `Accept_Mode`.
    Everything,
    /// Looks up the destination, because the virtual MAC belongs to a virtual router without `Accept_Mode`.
    ByVirtualAddress,
    /// Looks up the destination if some virtual router has no virtual MAC, because the packet came to the interface's
    /// own MAC.
    BySettings,
}

/// Drops a packet that this host must not accept.
#[inline(always)]
pub fn handle(frame: &Frame, header: &ethernet::Header, family: Family, rule: Rule) -> Result<XdpVerdict, Truncated> {
    let past_lease = !lease::all_surely_run();
    let look_up = match rule {
        Rule::Everything => false,
        Rule::ByVirtualAddress => true,
        Rule::BySettings => maps::look_up_destinations(),
    };
    if !past_lease && !look_up {
        return Ok(XdpVerdict::Pass);
    }
    let destination = match family {
        Family::Ipv4 => ipv4_address(ipv4::destination(frame, header.payload)?),
        Family::Ipv6 => ipv6::destination(frame, header.payload)?,
    };
    if let Some(router) = maps::router_of_vip(frame.ifindex(), header.vlan, family, destination) {
        let accepts = router.has(Router::ACCEPT);
        // RFC 9568 6.4.3 (conformance 42), about packets to a virtual address: "It MUST accept packets [...] if it is
        // the IPvX address owner or if Accept_Mode is True. Otherwise, it MUST NOT accept these packets." 6.4.2
        // (conformance 32), about a Backup: "It MUST NOT accept packets addressed to the IPvX address(es) associated
        // with the Virtual Router." A Backup has already dropped those that came to the virtual MAC.
        let (accepted, counter) = match rule {
            Rule::Everything => (true, Counter::NotAccepted),
            Rule::ByVirtualAddress => (accepts, Counter::NotAccepted),
            Rule::BySettings if router.has(Router::VIRTUAL_MAC) => {
                (!past_lease || !lease::has_ended(&router), Counter::Fenced)
            }
            Rule::BySettings => (accepts && lease::surely_runs(&router), Counter::NotAccepted),
        };
        if !accepted {
            count(CounterIndex::of(&router), counter);
            return Ok(XdpVerdict::Drop);
        }
    }
    let fenced = past_lease && fence::forbids(frame.ifindex(), header.vlan, family, &destination);
    Ok(if fenced { XdpVerdict::Drop } else { XdpVerdict::Pass })
}
