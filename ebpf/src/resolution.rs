//! What ARP and Neighbor Discovery have in common: answer for a virtual address, stay silent, or note a conflict.

use xvrrp_common::abi::{self, Address, ConflictEvent, Counter};
use xvrrp_common::units::{Family, MacAddress};
use xvrrp_common::wire::Truncated;

use crate::cursor::Frame;
use crate::heard;
use crate::lease;
use crate::maps::{self, CounterIndex, count};
use crate::monitor;
use crate::router::Router;
use crate::verdict::Verdict;

/// A message of ARP or Neighbor Discovery that arrived.
pub trait Message {
    const FAMILY: Family;
    /// Counts messages that claim a virtual address for another MAC.
    const CONFLICT: Counter;
    /// Counts requests that were dropped.
    const SUPPRESSED: Counter;
    /// Counts requests that were answered.
    const ANSWERED: Counter;

    /// Returns the address that the message says is at a MAC.
    fn claim(&self) -> Option<(Address, MacAddress)>;

    /// Returns the address whose MAC the message asks for.
    fn wanted(&self) -> Option<Address>;

    /// Judges a request for an address that no virtual router on this interface has.
    fn elsewhere(wanted: &Address) -> Verdict;

    /// Returns whether a host may answer the request.
    fn is_valid(&self, frame: &Frame) -> Result<bool, Truncated>;

    /// Makes the request its own answer, with this MAC. A VLAN tag and padding stay.
    fn answer(&self, frame: &mut Frame, mac: MacAddress) -> Result<(), Truncated>;
}

/// Handles a message that arrived with this VLAN identifier.
#[inline(always)]
pub fn handle<M: Message>(frame: &mut Frame, vlan: u16, message: &M) -> Result<Verdict, Truncated> {
    let ifindex = frame.ifindex();
    if let Some((address, mac)) = message.claim()
        && let Some(router) = maps::router_of_vip(ifindex, vlan, M::FAMILY, address)
        && is_conflict(&router, mac)
    {
        count(CounterIndex::of(&router), M::CONFLICT);
        report_conflict(&router, address, mac);
        monitor::show(frame, M::CONFLICT);
        return Ok(Verdict::Pass);
    }
    // An announcement asks nothing, and the neighbor cache of this host learns it in any role.
    let Some(wanted) = message.wanted() else {
        return Ok(Verdict::Pass);
    };
    let Some(router) = maps::router_of_vip(ifindex, vlan, M::FAMILY, wanted) else {
        return Ok(M::elsewhere(&wanted));
    };
    if !message.is_valid(frame)? {
        return Ok(Verdict::Pass);
    }
    // RFC 9568 6.4.2: a Backup "MUST NOT respond to ARP requests" nor to Neighbor Solicitations; nor may its network stack,
    // should the address have been left on it.
    if !lease::runs(&router) {
        count(CounterIndex::of(&router), M::SUPPRESSED);
        monitor::show(frame, M::SUPPRESSED);
        return Ok(Verdict::Drop);
    }
    monitor::show(frame, M::ANSWERED);
    message.answer(frame, router.answer_mac())?;
    count(CounterIndex::of(&router), M::ANSWERED);
    Ok(Verdict::Transmit)
}

/// Returns whether a claim is neither ours nor the Active router's. A Backup without a virtual MAC cannot tell: its Active
/// router answers with a MAC of its own.
#[inline(always)]
fn is_conflict(router: &Router, mac: MacAddress) -> bool {
    let active = router.role() == abi::Router::ROLE_ACTIVE;
    (active || router.has(abi::Router::VIRTUAL_MAC)) && mac != router.answer_mac()
}

/// Notifies the agent of an Active router, which answers the claim and logs it; at most as often as it can handle.
#[inline(always)]
fn report_conflict(router: &Router, address: Address, mac: MacAddress) {
    let active = router.role() == abi::Router::ROLE_ACTIVE;
    if active && maps::heard(router).is_some_and(heard::claim_is_due) {
        // A claim that a full ring buffer loses is reported when it is repeated.
        maps::tell(ConflictEvent { address, slot: router.slot(), mac: mac.0, reserved: [0; 6] });
    }
}
