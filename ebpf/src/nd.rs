//! Answers Neighbor Solicitations for the virtual addresses.

use xvrrp_common::abi::{Address, Counter};
use xvrrp_common::units::{Family, MacAddress};
use xvrrp_common::wire::icmpv6::{self, Advertisement, Kind, Neighbor};
use xvrrp_common::wire::{Truncated, ethernet, ipv6};

use crate::cursor::Frame;
use crate::resolution::{self, ResolutionMessage};
use crate::verdict::XdpVerdict;

/// A Neighbor Discovery message and its headers.
struct Solicitation<'a> {
    neighbor: Neighbor,
    ip: ipv6::Header,
    header: &'a ethernet::Header,
}

/// Handles a frame that carries a Neighbor Solicitation or Advertisement.
// RFC 9568 6.4.2 (conformance 29), about a Backup: "It MUST NOT respond to ND Neighbor Solicitation messages for the
// IPv6 address(es) associated with the Virtual Router."
#[inline(always)]
pub fn handle(frame: &mut Frame, header: &ethernet::Header) -> Result<XdpVerdict, Truncated> {
    let Ok(ip) = ipv6::Header::decode(frame, header.payload) else {
        return Ok(XdpVerdict::Pass);
    };
    let Some(neighbor) = Neighbor::decode(frame, &ip)? else {
        return Ok(XdpVerdict::Pass);
    };
    resolution::handle(frame, header.vlan, &Solicitation { neighbor, ip, header })
}

impl ResolutionMessage for Solicitation<'_> {
    const FAMILY: Family = Family::Ipv6;
    const CONFLICT: Counter = Counter::NdConflict;
    const SUPPRESSED: Counter = Counter::NdSuppressed;
    const ANSWERED: Counter = Counter::NdAnswered;

    #[inline(always)]
    fn claim(&self) -> Option<(Address, MacAddress)> {
        Some((self.neighbor.located(&self.ip), self.neighbor.mac?))
    }

    #[inline(always)]
    fn wanted(&self) -> Option<Address> {
        (self.neighbor.kind == Kind::Solicitation).then_some(self.neighbor.target)
    }

    /// Verifies the checksum. RFC 4861 7.1.1: "A node MUST silently discard any received Neighbor Solicitation messages
    /// that do not satisfy all of the following validity checks". The network stack does that with an invalid one.
    #[inline(always)]
    fn is_valid(&self, frame: &Frame) -> Result<bool, Truncated> {
        icmpv6::is_valid(frame, &self.ip)
    }

    /// Turns the solicitation into an advertisement. RFC 9568 6.4.3 (conformance 39): "It MUST respond to ND Neighbor
    /// Solicitation messages (with the Router Flag (R) set) for the IPv6 address(es) associated with the Virtual
    /// Router." 8.2.2: "The Active Router MUST NOT respond with its physical MAC address." Bytes that the advertisement
    /// does not need remain as padding.
    #[inline(always)]
    fn answer(&self, frame: &mut Frame, mac: MacAddress) -> Result<(), Truncated> {
        let asker = ethernet::source(frame)?;
        let advertisement = Advertisement::answer(&self.ip, self.neighbor.target, mac);
        let (ip_header, message) = advertisement.emit().ok_or(Truncated)?;
        // A duplicate address probe has no options, so the answer is longer than the solicitation.
        if self.ip.payload_length < icmpv6::LENGTH {
            frame.grow(icmpv6::LENGTH - icmpv6::SHORTEST)?;
        }
        frame.write(self.header.payload, ip_header)?;
        frame.write(self.header.payload + ipv6::HEADER, message)?;
        frame.write(0, advertisement.to.map_or(MacAddress::ALL_NODES, |_| asker).0)?;
        frame.write(ethernet::SOURCE_OFFSET, mac.0)
    }
}
