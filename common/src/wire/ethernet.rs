//! Ethernet II (RFC 894) with at most one IEEE 802.1Q tag.

use super::{Packet, Truncated};
use crate::units::MacAddress;

/// An Ethernet header, with a tag or without.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                          Destination                          |
/// +                               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                               |                               |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+            Source             +
/// |                                                               |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |         Type or 0x8100        | PCP |D|    VLAN identifier    |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Type, if there is a tag       |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// EtherType of the payload. It is that of a tag ([`is_tag`]) if the frame has two tags or a service tag.
    pub ether_type: u16,
    /// VLAN identifier; 0 without a tag and for a priority tag (IEEE 802.1Q 6.9.1).
    pub vlan: u16,
    /// Offset of the payload. On each path it is a constant for the verifier, because every tag has the same length.
    pub payload: usize,
}

/// Length of the header without a tag.
pub const HEADER: usize = 14;
/// Offset of the source in a frame, in bytes.
pub const SOURCE_OFFSET: usize = 6;

/// EtherType of IPv4 (RFC 894).
pub const TYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP (RFC 826).
pub const TYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6 (RFC 2464).
pub const TYPE_IPV6: u16 = 0x86dd;
const TYPE_VLAN: u16 = 0x8100;
const TYPE_SERVICE_VLAN: u16 = 0x88a8;

const TYPE_OFFSET: usize = 12;
const TAG: usize = 4;
/// The lower 12 bits of the tag control information.
const VLAN_IDENTIFIER: u16 = 0x0fff;

impl Header {
    /// Decodes the header of a frame. A VLAN tag, padding or truncation at any byte leads to no misinterpretation
    /// (RFC 9568 5.1, conformance 16).
    ///
    /// # Errors
    /// The frame ends before its payload.
    #[inline(always)]
    pub fn decode<P: Packet + ?Sized>(packet: &P) -> Result<Self, Truncated> {
        let ether_type = u16::from_be_bytes(packet.read(TYPE_OFFSET)?);
        if ether_type != TYPE_VLAN {
            return Ok(Self { ether_type, vlan: 0, payload: HEADER });
        }
        let [tci @ .., high, low] = packet.read::<TAG>(HEADER)?;
        Ok(Self {
            ether_type: u16::from_be_bytes([high, low]),
            vlan: vlan_identifier(u16::from_be_bytes(tci)),
            payload: HEADER + TAG,
        })
    }
}

/// Reads the destination.
///
/// # Errors
/// The frame ends before that.
#[inline(always)]
pub fn destination<P: Packet + ?Sized>(packet: &P) -> Result<MacAddress, Truncated> {
    packet.read(0).map(MacAddress)
}

/// Reads the source.
///
/// # Errors
/// The frame ends before that.
#[inline(always)]
pub fn source<P: Packet + ?Sized>(packet: &P) -> Result<MacAddress, Truncated> {
    packet.read(SOURCE_OFFSET).map(MacAddress)
}

/// Returns whether the type is that of a VLAN tag. Where the payload's type is expected, such a tag means that the
/// frame belongs to a network that is not configured here.
#[inline(always)]
pub const fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, TYPE_VLAN | TYPE_SERVICE_VLAN)
}

/// Returns the VLAN identifier in the control information of a tag.
#[inline(always)]
pub const fn vlan_identifier(tci: u16) -> u16 {
    tci & VLAN_IDENTIFIER
}

/// Returns a header without a tag.
pub(super) fn emit(destination: MacAddress, source: MacAddress, ether_type: u16) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..SOURCE_OFFSET].copy_from_slice(&destination.0);
    header[SOURCE_OFFSET..TYPE_OFFSET].copy_from_slice(&source.0);
    header[TYPE_OFFSET..].copy_from_slice(&ether_type.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    #[test]
    fn an_untagged_frame_has_vlan_0() {
        let frame = emit(MacAddress::BROADCAST, HOST, TYPE_ARP);
        let expected = Header { ether_type: TYPE_ARP, vlan: 0, payload: 14 };
        assert_eq!(Header::decode(frame.as_slice()), Ok(expected));
        assert_eq!(destination(frame.as_slice()), Ok(MacAddress::BROADCAST));
        assert_eq!(source(frame.as_slice()), Ok(HOST));
    }

    #[test]
    fn the_vlan_of_a_tag_is_read_without_its_priority_bits() {
        let mut frame = emit(MacAddress::BROADCAST, HOST, TYPE_VLAN).to_vec();
        frame.extend([0xe0, 0x07, 0x08, 0x00]);
        let expected = Header { ether_type: TYPE_IPV4, vlan: 7, payload: 18 };
        assert_eq!(Header::decode(frame.as_slice()), Ok(expected));
        frame[14..16].copy_from_slice(&[0xe0, 0x00]);
        assert_eq!(Header::decode(frame.as_slice()).map(|header| header.vlan), Ok(0));
    }

    #[test]
    fn a_second_tag_and_a_service_tag_are_recognized() {
        let mut frame = emit(MacAddress::BROADCAST, HOST, TYPE_VLAN).to_vec();
        frame.extend([0x00, 0x07, 0x81, 0x00, 0x00, 0x08, 0x08, 0x00]);
        assert!(is_tag(Header::decode(frame.as_slice()).unwrap().ether_type));
        let frame = emit(MacAddress::BROADCAST, HOST, TYPE_SERVICE_VLAN);
        assert!(is_tag(Header::decode(frame.as_slice()).unwrap().ether_type));
    }

    #[test]
    fn a_header_that_is_cut_anywhere_is_truncated() {
        let mut frame = emit(MacAddress::BROADCAST, HOST, TYPE_VLAN).to_vec();
        frame.extend([0x00, 0x07, 0x08, 0x00]);
        for end in 0..frame.len() {
            assert_eq!(Header::decode(&frame[..end]), Err(Truncated), "{end} bytes");
        }
    }
}
