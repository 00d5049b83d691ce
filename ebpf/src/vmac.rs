//! Admits frames to a virtual MAC while this host is Active, and drops them otherwise.

use xvrrp_common::abi::{Counter, Router, RouterKey};
use xvrrp_common::units::{Family, Vrid};
use xvrrp_common::wire::{Truncated, ethernet};

use crate::accept;
use crate::cursor::Frame;
use crate::lease;
use crate::maps::{self, CounterIndex, count};

/// The decision about a frame to a virtual MAC.
pub enum Admission {
    /// Passes the frame: the virtual router is not ours, but may be another daemon's.
    NotOurs,
    Refused,
    /// Accepts the frame, which is now addressed to the interface's own MAC.
    Admitted(accept::Rule),
}

/// Decides whether a frame to the virtual MAC of this VRID is admitted. If so, rewrites its destination.
#[inline(always)]
pub fn admit(frame: &mut Frame, header: &ethernet::Header, family: Family, vrid: Vrid) -> Result<Admission, Truncated> {
    // A frame with two tags belongs to a network that is not configured here.
    if ethernet::is_tag(header.ether_type) {
        return Ok(Admission::NotOurs);
    }
    let key = RouterKey { ifindex: frame.ifindex(), vlan: header.vlan, family: family as u8, vrid: vrid.get() };
    let Some(router) = maps::router(key).filter(|router| router.has(Router::VIRTUAL_MAC)) else {
        return Ok(Admission::NotOurs);
    };
    // RFC 9568 6.4.2 (conformance 31): "It MUST discard packets with a destination link-layer MAC address equal to the
    // Virtual Router MAC address."
    if !lease::surely_runs(&router) {
        count(CounterIndex::of(&router), Counter::VirtualMacDropped);
        return Ok(Admission::Refused);
    }
    // RFC 9568 6.4.3 (conformance 41): "It MUST forward packets with a destination link-layer MAC address equal to the
    // Virtual Router MAC address." The network stack only takes frames to the interface's own MAC.
    frame.write(0, router.interface_mac().0)?;
    count(CounterIndex::of(&router), Counter::VirtualMacAdmitted);
    Ok(Admission::Admitted(if !router.has(Router::ACCEPT) {
        accept::Rule::ByVirtualAddress
    } else {
        accept::Rule::Everything
    }))
}
