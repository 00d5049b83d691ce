//! ARP for the virtual addresses: answered where we are Active, silence elsewhere.

use xvrrp_common::abi::{Claim, Counter, Router, ipv4_address};
use xvrrp_common::units::MacAddress;
use xvrrp_common::wire::arp::{Arp, OPERATION_REQUEST};
use xvrrp_common::wire::{Truncated, ethernet};

use crate::Verdict;
use crate::cursor::Frame;
use crate::heard;
use crate::lease;
use crate::maps::{self, CounterIndex, count};

#[inline(always)]
pub fn handle(frame: &mut Frame, header: &ethernet::Header) -> Result<Verdict, Truncated> {
    let Some(arp) = Arp::decode(frame, header.payload)? else {
        return Ok(Verdict::Pass);
    };
    let vlan = header.vlan;
    if let Some(router) = maps::router_of_vip(frame.ifindex(), vlan, arp.sender)
        && is_rival(router, arp.sender_mac)
    {
        count(CounterIndex::of(router), Counter::ArpRivalClaim);
        tell_of_rival(router, &arp);
        return Ok(Verdict::Pass);
    }
    // An announcement asks nothing, and the neighbor cache of this host shall learn it, in any role.
    if arp.operation != OPERATION_REQUEST || arp.is_gratuitous() {
        return Ok(Verdict::Pass);
    }
    let Some(router) = maps::router_of_vip(frame.ifindex(), vlan, arp.target) else {
        return Ok(Verdict::Pass);
    };
    // RFC 9568 6.4.2: a Backup MUST NOT respond; nor may its network stack, should the address have been left on it.
    if !lease::runs(router) {
        count(CounterIndex::of(router), Counter::ArpSuppressed);
        return Ok(Verdict::Drop);
    }
    answer(frame, header, &arp, MacAddress(router.answer_mac))?;
    count(CounterIndex::of(router), Counter::ArpAnswered);
    Ok(Verdict::Transmit)
}

/// Someone else has the address. A Backup without a virtual MAC cannot tell: the Active router answers with its own.
#[inline(always)]
fn is_rival(router: &Router, sender: MacAddress) -> bool {
    (router.role == Router::ROLE_ACTIVE || router.flags & Router::VIRTUAL_MAC != 0) && sender.0 != router.answer_mac
}

/// The agent answers, and logs it; not more often than it can take.
#[inline(always)]
fn tell_of_rival(router: &Router, arp: &Arp) {
    if router.role == Router::ROLE_ACTIVE && maps::heard(router).is_some_and(heard::claim_is_due) {
        let claim =
            Claim { address: ipv4_address(arp.sender), slot: router.slot, mac: arp.sender_mac.0, reserved: [0; 6] };
        // Lost in a full ring buffer, it is told again soon, if it is made again.
        maps::tell(claim);
    }
}

/// Makes the request its own answer (RFC 9568 6.4.3, 8.1.2). A VLAN tag and padding stay.
#[inline(always)]
fn answer(frame: &mut Frame, header: &ethernet::Header, request: &Arp, mac: MacAddress) -> Result<(), Truncated> {
    let requester = ethernet::source(frame)?;
    frame.write(header.payload, request.reply(mac).emit())?;
    frame.write(0, requester.0)?;
    frame.write(ethernet::SOURCE_OFFSET, mac.0)
}
