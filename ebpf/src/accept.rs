//! What is addressed to a virtual address, where this host may not take it: `Accept_Mode` is off, or there is no virtual
//! MAC whose frames could be refused as a whole.

use xvrrp_common::abi::{Counter, Router, ipv4_address};
use xvrrp_common::units::Family;
use xvrrp_common::wire::{Truncated, ethernet, ipv4, ipv6};

use crate::cursor::Frame;
use crate::fence;
use crate::lease;
use crate::maps::{self, CounterIndex, count};
use crate::verdict::Verdict;

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

/// Handles a packet of this family (conformance 32, 42).
#[inline(always)]
pub fn handle(frame: &Frame, header: &ethernet::Header, family: Family, rule: Rule) -> Result<Verdict, Truncated> {
    let past_lease = !lease::all_surely_run();
    let look_up = match rule {
        Rule::Everything => false,
        Rule::ByVirtualAddress => true,
        Rule::BySettings => maps::look_up_destinations(),
    };
    if !past_lease && !look_up {
        return Ok(Verdict::Pass);
    }
    let destination = match family {
        Family::Ipv4 => ipv4_address(ipv4::destination(frame, header.payload)?),
        Family::Ipv6 => ipv6::destination(frame, header.payload)?,
    };
    if let Some(router) = maps::router_of_vip(frame.ifindex(), header.vlan, family, destination) {
        let accepts = router.has(Router::ACCEPT);
        // RFC 9568 6.4.3: MUST NOT accept packets addressed to the virtual addresses if Accept_Mode is False. 6.4.2: a
        // Backup MUST NOT in any case; where they come to the virtual MAC, they do not get here.
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
            return Ok(Verdict::Drop);
        }
    }
    let fenced = past_lease && fence::forbids(family, &destination);
    Ok(if fenced { Verdict::Drop } else { Verdict::Pass })
}
