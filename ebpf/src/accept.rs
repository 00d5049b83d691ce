//! What is addressed to a virtual address, where this host may not take it: `Accept_Mode` is off, or there is no virtual
//! MAC whose frames could be refused as a whole.

use xvrrp_common::abi::{Counter, Router, ipv4_address};
use xvrrp_common::units::Family;
use xvrrp_common::wire::{Truncated, ethernet, ipv4, ipv6};

use crate::Verdict;
use crate::cursor::Frame;
use crate::lease;
use crate::maps::{self, CounterIndex, count};

/// What is known of a packet before its destination is looked at.
#[derive(Clone, Copy)]
pub enum Rule {
    /// It came to a virtual MAC whose virtual router accepts.
    Everything,
    /// It came to a virtual MAC whose virtual router does not.
    ByVirtualAddress,
    /// It came to the interface's own MAC: only virtual routers without a virtual MAC can mind.
    BySettings,
}

/// Of a packet of this family (conformance 32, 42).
#[inline(always)]
pub fn handle(frame: &Frame, header: &ethernet::Header, family: Family, rule: Rule) -> Result<Verdict, Truncated> {
    match rule {
        Rule::Everything => return Ok(Verdict::Pass),
        Rule::BySettings if !maps::look_up_destinations() => {
            return Ok(Verdict::Pass);
        }
        Rule::BySettings | Rule::ByVirtualAddress => {}
    }
    let destination = match family {
        Family::Ipv4 => ipv4_address(ipv4::destination(frame, header.payload)?),
        Family::Ipv6 => ipv6::destination(frame, header.payload)?,
    };
    let Some(router) = maps::router_of_vip(frame.ifindex(), header.vlan, family, destination) else {
        return Ok(Verdict::Pass);
    };
    // RFC 9568 6.4.3: MUST NOT accept packets addressed to the virtual addresses if Accept_Mode is False. 6.4.2: a Backup
    // MUST NOT in any case; where they come to the virtual MAC, they do not get here.
    let accepted = match rule {
        Rule::ByVirtualAddress => router.has(Router::ACCEPT),
        _ => router.has(Router::VIRTUAL_MAC) || router.has(Router::ACCEPT) && lease::surely_runs(&router),
    };
    if accepted {
        return Ok(Verdict::Pass);
    }
    count(CounterIndex::of(&router), Counter::NotAccepted);
    Ok(Verdict::Drop)
}
