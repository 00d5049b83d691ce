//! Frames to a virtual MAC: an Active router admits them, any other drops them.

use xvrrp_common::abi::{Counter, Router, RouterKey};
use xvrrp_common::units::{Family, Vrid};
use xvrrp_common::wire::{Truncated, ethernet};

use crate::accept;
use crate::cursor::Frame;
use crate::lease;
use crate::maps::{self, CounterIndex, count};

pub enum Admission {
    /// Another daemon may have this virtual router.
    NotOurs,
    Refused,
    /// The frame is now addressed to the interface.
    Admitted(accept::Rule),
}

// conformance 31, 41
#[inline(always)]
pub fn admit(frame: &mut Frame, header: &ethernet::Header, family: Family, vrid: Vrid) -> Result<Admission, Truncated> {
    // A second tag leads to a network that is not configured here.
    if ethernet::is_tag(header.ether_type) {
        return Ok(Admission::NotOurs);
    }
    let key = RouterKey { ifindex: frame.ifindex(), vlan: header.vlan, family: family as u8, vrid: vrid.get() };
    let Some(router) = maps::router(key).filter(|router| router.has(Router::VIRTUAL_MAC)) else {
        return Ok(Admission::NotOurs);
    };
    // RFC 9568 6.4.2: a Backup MUST discard frames to the virtual MAC.
    if !lease::surely_runs(&router) {
        count(CounterIndex::of(&router), Counter::VirtualMacDropped);
        return Ok(Admission::Refused);
    }
    // RFC 9568 6.4.3: an Active router MUST forward frames to the virtual MAC; the stack takes its own MAC only.
    frame.write(0, router.interface_mac().0)?;
    count(CounterIndex::of(&router), Counter::VirtualMacAdmitted);
    Ok(Admission::Admitted(if !router.has(Router::ACCEPT) {
        accept::Rule::ByVirtualAddress
    } else {
        accept::Rule::Everything
    }))
}
