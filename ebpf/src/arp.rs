//! Answers ARP requests for the virtual addresses.

use xvrrp_common::abi::{Address, Counter, ipv4_address};
use xvrrp_common::units::{Family, MacAddress};
use xvrrp_common::wire::arp::Arp;
use xvrrp_common::wire::{Truncated, ethernet};

use crate::cursor::Frame;
use crate::fence;
use crate::resolution::{self, ResolutionMessage};
use crate::verdict::XdpVerdict;

/// An ARP packet and its Ethernet header.
struct ArpRequest<'a> {
    arp: Arp,
    header: &'a ethernet::Header,
}

/// Handles a frame that carries ARP.
// RFC 9568 6.4.2 (conformance 28), about a Backup: "It MUST NOT respond to ARP requests for the IPv4 address(es)
// associated with the Virtual Router."
#[inline(always)]
pub fn handle(frame: &mut Frame, header: &ethernet::Header) -> Result<XdpVerdict, Truncated> {
    let Some(arp) = Arp::decode(frame, header.payload)? else {
        return Ok(XdpVerdict::Pass);
    };
    resolution::handle(frame, header.vlan, &ArpRequest { arp, header })
}

impl ResolutionMessage for ArpRequest<'_> {
    const FAMILY: Family = Family::Ipv4;
    const CONFLICT: Counter = Counter::ArpConflict;
    const SUPPRESSED: Counter = Counter::ArpSuppressed;
    const ANSWERED: Counter = Counter::ArpAnswered;

    #[inline(always)]
    fn claim(&self) -> Option<(Address, MacAddress)> {
        Some((ipv4_address(self.arp.sender), self.arp.sender_mac))
    }

    #[inline(always)]
    fn wanted(&self) -> Option<Address> {
        fence::is_request(&self.arp).then(|| ipv4_address(self.arp.target))
    }

    #[inline(always)]
    fn is_valid(&self, _: &Frame) -> Result<bool, Truncated> {
        Ok(true)
    }

    /// Turns the request into an ARP reply. RFC 9568 6.4.3 (conformance 38): "It MUST respond to ARP requests for the
    /// IPv4 address(es) associated with the Virtual Router." 8.1.2: "The Active Router MUST NOT respond with its
    /// physical MAC address in the ARP response."
    #[inline(always)]
    fn answer(&self, frame: &mut Frame, mac: MacAddress) -> Result<(), Truncated> {
        let requester = ethernet::source(frame)?;
        frame.write(self.header.payload, self.arp.reply(mac).emit())?;
        frame.write(0, requester.0)?;
        frame.write(ethernet::SOURCE_OFFSET, mac.0)
    }
}
