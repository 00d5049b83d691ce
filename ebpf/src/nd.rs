//! Neighbor Discovery for the virtual addresses: solicitations answered where we are Active, silence elsewhere.

use xvrrp_common::abi::Counter;
use xvrrp_common::units::{Family, MacAddress};
use xvrrp_common::wire::icmpv6::{self, Advertisement, Kind, Neighbor};
use xvrrp_common::wire::{Truncated, ethernet, ipv6};

use crate::Verdict;
use crate::cursor::Frame;
use crate::lease;
use crate::maps::{self, CounterIndex, count};
use crate::rival;

// conformance 29, 39
#[inline(always)]
pub fn handle(frame: &mut Frame, header: &ethernet::Header) -> Result<Verdict, Truncated> {
    let Ok(ip) = ipv6::Header::decode(frame, header.payload) else {
        return Ok(Verdict::Pass);
    };
    let Some(neighbor) = Neighbor::decode(frame, &ip)? else {
        return Ok(Verdict::Pass);
    };
    let (ifindex, vlan) = (frame.ifindex(), header.vlan);
    let located = neighbor.located(&ip);
    if let Some(mac) = neighbor.mac
        && let Some(router) = maps::router_of_vip(ifindex, vlan, Family::Ipv6, located)
        && rival::notice(&router, located, mac, Counter::NdRivalClaim)
    {
        maps::show(frame, Counter::NdRivalClaim);
        return Ok(Verdict::Pass);
    }
    if neighbor.kind == Kind::Advertisement {
        return Ok(Verdict::Pass);
    }
    let Some(router) = maps::router_of_vip(ifindex, vlan, Family::Ipv6, neighbor.target) else {
        return Ok(Verdict::Pass);
    };
    // RFC 4861 7.1.1: the stack discards it.
    if !icmpv6::is_valid(frame, &ip)? {
        return Ok(Verdict::Pass);
    }
    // RFC 9568 6.4.2: a Backup MUST NOT respond; nor may its network stack, should the address have been left on it.
    if !lease::runs(&router) {
        count(CounterIndex::of(&router), Counter::NdSuppressed);
        maps::show(frame, Counter::NdSuppressed);
        return Ok(Verdict::Drop);
    }
    maps::show(frame, Counter::NdAnswered);
    answer(frame, header, &ip, &neighbor, router.answer_mac())?;
    count(CounterIndex::of(&router), Counter::NdAnswered);
    Ok(Verdict::Transmit)
}

/// Makes the solicitation its own answer (RFC 9568 6.4.3, 8.2.2). A VLAN tag stays, and so does, as padding, what the
/// answer is shorter by.
#[inline(always)]
fn answer(
    frame: &mut Frame,
    header: &ethernet::Header,
    ip: &ipv6::Header,
    solicitation: &Neighbor,
    mac: MacAddress,
) -> Result<(), Truncated> {
    let asker = ethernet::source(frame)?;
    let advertisement = Advertisement::answer(ip, solicitation.target, mac);
    let (ip_header, message) = advertisement.emit().ok_or(Truncated)?;
    // A probe without options.
    if ip.payload_length < icmpv6::LENGTH {
        frame.grow(icmpv6::LENGTH - icmpv6::SHORTEST)?;
    }
    frame.write(header.payload, ip_header)?;
    frame.write(header.payload + ipv6::HEADER, message)?;
    frame.write(0, advertisement.to.map_or(MacAddress::ALL_NODES, |_| asker).0)?;
    frame.write(ethernet::SOURCE_OFFSET, mac.0)
}
