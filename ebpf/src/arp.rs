//! ARP for the virtual addresses: answered where we are Active, silence elsewhere.

use xvrrp_common::abi::{Counter, ipv4_address};
use xvrrp_common::units::{Family, MacAddress};
use xvrrp_common::wire::arp::Arp;
use xvrrp_common::wire::{Truncated, ethernet};

use crate::Verdict;
use crate::cursor::Frame;
use crate::fence;
use crate::lease;
use crate::maps::{self, CounterIndex, count};
use crate::rival;

// conformance 28
#[inline(always)]
pub fn handle(frame: &mut Frame, header: &ethernet::Header) -> Result<Verdict, Truncated> {
    let Some(arp) = Arp::decode(frame, header.payload)? else {
        return Ok(Verdict::Pass);
    };
    let router_of = |address| maps::router_of_vip(frame.ifindex(), header.vlan, Family::Ipv4, ipv4_address(address));
    if let Some(router) = router_of(arp.sender)
        && rival::notice(&router, ipv4_address(arp.sender), arp.sender_mac, Counter::ArpRivalClaim)
    {
        maps::show(frame, Counter::ArpRivalClaim);
        return Ok(Verdict::Pass);
    }
    // An announcement asks nothing, and the neighbor cache of this host shall learn it, in any role.
    if !fence::is_question(&arp) {
        return Ok(Verdict::Pass);
    }
    let Some(router) = router_of(arp.target) else {
        // Linux answers for the addresses of all its interfaces.
        let forbidden = !lease::all_surely_run() && fence::forbids(Family::Ipv4, &ipv4_address(arp.target));
        return Ok(if forbidden { Verdict::Drop } else { Verdict::Pass });
    };
    // RFC 9568 6.4.2: a Backup MUST NOT respond; nor may its network stack, should the address have been left on it.
    if !lease::runs(&router) {
        count(CounterIndex::of(&router), Counter::ArpSuppressed);
        maps::show(frame, Counter::ArpSuppressed);
        return Ok(Verdict::Drop);
    }
    maps::show(frame, Counter::ArpAnswered);
    answer(frame, header, &arp, router.answer_mac())?;
    count(CounterIndex::of(&router), Counter::ArpAnswered);
    Ok(Verdict::Transmit)
}

/// Makes the request its own answer (RFC 9568 6.4.3, 8.1.2, conformance 38). A VLAN tag and padding stay.
#[inline(always)]
fn answer(frame: &mut Frame, header: &ethernet::Header, request: &Arp, mac: MacAddress) -> Result<(), Truncated> {
    let requester = ethernet::source(frame)?;
    frame.write(header.payload, request.reply(mac).emit())?;
    frame.write(0, requester.0)?;
    frame.write(ethernet::SOURCE_OFFSET, mac.0)
}
