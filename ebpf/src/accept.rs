//! `Accept_Mode` off: what is addressed to a virtual address is not for this host.

use xvrrp_common::abi::{Counter, Router};
use xvrrp_common::wire::{Truncated, ethernet, ipv4};

use crate::Verdict;
use crate::cursor::Frame;
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

/// Of an IPv4 packet.
#[inline(always)]
pub fn handle(frame: &Frame, header: &ethernet::Header, rule: Rule) -> Result<Verdict, Truncated> {
    let concerned = match rule {
        Rule::Everything => return Ok(Verdict::Pass),
        Rule::ByVirtualAddress => Router::ACCEPT,
        Rule::BySettings if !maps::refuse_by_destination() => return Ok(Verdict::Pass),
        Rule::BySettings => Router::ACCEPT | Router::VIRTUAL_MAC,
    };
    let destination = ipv4::destination(frame, header.payload)?;
    let Some(router) = maps::router_of_vip(frame.ifindex(), header.vlan, destination) else {
        return Ok(Verdict::Pass);
    };
    // RFC 9568 6.4.3: MUST NOT accept packets addressed to the virtual addresses if Accept_Mode is False.
    if router.role == Router::ROLE_ACTIVE && router.flags & concerned == 0 {
        count(CounterIndex::of(router), Counter::NotAccepted);
        return Ok(Verdict::Drop);
    }
    Ok(Verdict::Pass)
}
