//! The procedure that ARP and Neighbor Discovery share: answer for a virtual address, stay silent, or report a
//! conflict.

use xvrrp_common::abi::{self, Address, ConflictEvent, Counter};
use xvrrp_common::units::{Family, MacAddress};
use xvrrp_common::wire::Truncated;

use crate::cursor::Frame;
use crate::fence;
use crate::heard;
use crate::lease;
use crate::maps::{self, CounterIndex, count};
use crate::monitor;
use crate::router::RouterView;
use crate::verdict::XdpVerdict;

/// An ARP or Neighbor Discovery message that has arrived.
pub trait ResolutionMessage {
    const FAMILY: Family;
    /// Counter of messages that claim a virtual address for another MAC.
    const CONFLICT: Counter;
    /// Counter of requests that were dropped.
    const SUPPRESSED: Counter;
    /// Counter of requests that were answered.
    const ANSWERED: Counter;

    /// Returns an address and the MAC that the message claims it has.
    fn claim(&self) -> Option<(Address, MacAddress)>;

    /// Returns the address whose MAC the message asks for.
    fn wanted(&self) -> Option<Address>;

    /// Returns whether the request is valid, so that it may be answered.
    fn is_valid(&self, frame: &Frame) -> Result<bool, Truncated>;

    /// Turns the request into its own answer, which says that the address has this MAC. A VLAN tag and padding remain.
    fn answer(&self, frame: &mut Frame, mac: MacAddress) -> Result<(), Truncated>;
}

/// Handles a message that has arrived with this VLAN identifier.
#[inline(always)]
pub fn handle<M: ResolutionMessage>(frame: &mut Frame, vlan: u16, message: &M) -> Result<XdpVerdict, Truncated> {
    let ifindex = frame.ifindex();
    if let Some((address, mac)) = message.claim()
        && let Some(router) = maps::router_of_vip(ifindex, vlan, M::FAMILY, address)
        && is_conflict(&router, mac)
    {
        count(CounterIndex::of(&router), M::CONFLICT);
        report_conflict(&router, address, mac);
        monitor::show(frame, M::CONFLICT);
        return Ok(XdpVerdict::Pass);
    }
    // An announcement asks for nothing. The neighbor cache of this host learns from it in any role.
    let Some(wanted) = message.wanted() else {
        return Ok(XdpVerdict::Pass);
    };
    let Some(router) = maps::router_of_vip(ifindex, vlan, M::FAMILY, wanted) else {
        let fenced = !lease::all_surely_run() && fence::forbids(ifindex, vlan, M::FAMILY, &wanted);
        return Ok(if fenced { XdpVerdict::Drop } else { XdpVerdict::Pass });
    };
    if !message.is_valid(frame)? {
        return Ok(XdpVerdict::Pass);
    }
    // RFC 9568 6.4.2: "It MUST NOT respond to ARP requests for the IPv4 address(es) associated with the Virtual
    // Router", and "It MUST NOT respond to ND Neighbor Solicitation messages for the IPv6 address(es) associated with
    // the Virtual Router." The request is dropped so that the network stack does not answer either, if the address is
    // still on this host.
    if !lease::runs(&router) {
        count(CounterIndex::of(&router), M::SUPPRESSED);
        monitor::show(frame, M::SUPPRESSED);
        return Ok(XdpVerdict::Drop);
    }
    monitor::show(frame, M::ANSWERED);
    message.answer(frame, router.answer_mac())?;
    count(CounterIndex::of(&router), M::ANSWERED);
    Ok(XdpVerdict::Transmit)
}

/// Returns whether a claim is neither ours nor the Active router's. A Backup without a virtual MAC cannot know, because
/// the Active router answers with a MAC of its own; it returns false.
#[inline(always)]
fn is_conflict(router: &RouterView, mac: MacAddress) -> bool {
    let active = router.role() == abi::Router::ROLE_ACTIVE;
    (active || router.has(abi::Router::VIRTUAL_MAC)) && mac != router.answer_mac()
}

/// Notifies the agent of a conflicting claim while this host is Active, at most once in [`ConflictEvent::PAUSE`]. The
/// agent announces the address again and logs the claim.
#[inline(always)]
fn report_conflict(router: &RouterView, address: Address, mac: MacAddress) {
    let active = router.role() == abi::Router::ROLE_ACTIVE;
    if active && maps::heard(router).is_some_and(heard::claim_is_due) {
        // If the ring buffer is full, the claim is reported when it is repeated.
        maps::notify(ConflictEvent { address, slot: router.slot(), mac: mac.0, reserved: [0; 6] });
    }
}
