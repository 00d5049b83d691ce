//! The IPv6 header (RFC 8200).
//!
//! Only the fixed header is read. Adverts (RFC 9568 5.1.2.4) and Neighbor Discovery, which no host sends in fragments
//! (RFC 6980 5), follow it directly. Packets with extension headers are left to the network stack.

use super::checksum::Sum;
use super::{Packet, Truncated};

/// A fixed IPv6 header.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Version| Traffic Class |           Flow Label                  |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |         Payload Length        |  Next Header  |   Hop Limit   |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                                                               |
/// +                         Source Address                        +
/// |                          (128 bits)                           |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                                                               |
/// +                      Destination Address                      +
/// |                          (128 bits)                           |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Protocol of the payload.
    pub next_header: u8,
    /// Hop limit: 255 in an advert that no router has forwarded (RFC 9568 5.1.2.3).
    pub hop_limit: u8,
    /// Address of the sender.
    pub source: [u8; 16],
    /// Address of the receiver.
    pub destination: [u8; 16],
    /// Offset of the payload in the frame.
    pub payload: usize,
    /// Length of the payload according to the header. It does not include Ethernet padding, and the frame may be
    /// shorter.
    pub payload_length: usize,
}

/// Reason why a header cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The frame ends before the header does.
    Truncated,
    /// The version is not 6.
    Malformed,
}

impl From<Truncated> for Error {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// Length of the fixed header.
pub const HEADER: usize = 40;

/// The unspecified address `::`, source of a duplicate address probe (RFC 4862 5.4.2).
pub const UNSPECIFIED: [u8; 16] = [0; 16];
/// Group of all hosts on a link (RFC 4291 2.7.1).
pub const ALL_NODES: [u8; 16] = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01];

/// Prefix of every solicited-node multicast address.
const SOLICITED_NODE: u128 = 0xff_0200_0000_0000_0000_0000_01ff;

/// Traffic class of routing protocols, CS6 (RFC 4594 3.1), which corresponds to "internetwork control" in IPv4.
const TRAFFIC_CLASS: u8 = 0xc0;
const NEXT_HEADER_OFFSET: usize = 6;
/// Offset of the source in a header, in bytes.
pub const SOURCE_OFFSET: usize = 8;
const DESTINATION_OFFSET: usize = 24;

/// Reads the next header of the packet at `offset`. Nothing else is read of most packets.
///
/// # Errors
/// The frame ends before that.
#[inline(always)]
pub fn next_header<P: Packet + ?Sized>(packet: &P, offset: usize) -> Result<u8, Truncated> {
    let [next_header] = packet.read(offset + NEXT_HEADER_OFFSET)?;
    Ok(next_header)
}

/// Reads the destination of the packet at `offset`.
///
/// # Errors
/// The frame ends before that.
#[inline(always)]
pub fn destination<P: Packet + ?Sized>(packet: &P, offset: usize) -> Result<[u8; 16], Truncated> {
    packet.read(offset + DESTINATION_OFFSET)
}

/// Returns whether an address that starts with these bytes is in fe80::/10 (RFC 4291 2.4).
#[inline(always)]
pub const fn is_link_local([high, low]: [u8; 2]) -> bool {
    high == 0xfe && low & 0xc0 == 0x80
}

/// Returns whether the address is a solicited-node multicast address, in ff02::1:ff00:0/104 (RFC 4291 2.7.1).
#[inline(always)]
pub const fn is_solicited_node(address: [u8; 16]) -> bool {
    u128::from_be_bytes(address) >> 24 == SOLICITED_NODE
}

impl Header {
    /// Decodes the header of the packet at `offset`.
    ///
    /// # Errors
    /// The frame ends before the header does, or the version is not 6.
    #[inline(always)]
    pub fn decode<P: Packet + ?Sized>(packet: &P, offset: usize) -> Result<Self, Error> {
        let [version_class, _, _, _, l0, l1, next_header, hop_limit] = packet.read(offset)?;
        if version_class >> 4 != 6 {
            return Err(Error::Malformed);
        }
        Ok(Self {
            next_header,
            hop_limit,
            source: packet.read(offset + SOURCE_OFFSET)?,
            destination: packet.read(offset + DESTINATION_OFFSET)?,
            payload: offset + HEADER,
            payload_length: usize::from(u16::from_be_bytes([l0, l1])),
        })
    }

    /// Returns the sum over the pseudo-header of the message that this packet carries.
    #[inline(always)]
    pub fn pseudo_header(&self) -> Sum {
        pseudo_header(&self.source, &self.destination, self.next_header, self.payload_length)
    }
}

/// Returns the sum over the pseudo-header (RFC 8200 8.1).
#[inline(always)]
pub fn pseudo_header(source: &[u8; 16], destination: &[u8; 16], next_header: u8, length: usize) -> Sum {
    let [.., l0, l1] = length.to_be_bytes();
    Sum::of(source).add(Sum::of(destination)).add(Sum::of(&[l0, l1, 0, next_header]))
}

/// Returns a fixed header, or `None` if the payload is too long for one packet.
#[inline(always)]
pub fn emit(
    source: [u8; 16],
    destination: [u8; 16],
    hop_limit: u8,
    next_header: u8,
    payload_length: usize,
) -> Option<[u8; HEADER]> {
    let [l0, l1] = u16::try_from(payload_length).ok()?.to_be_bytes();
    let mut header = [0; HEADER];
    let (fixed, addresses) = header.split_first_chunk_mut()?;
    *fixed = [0x60 | TRAFFIC_CLASS >> 4, TRAFFIC_CLASS << 4, 0, 0, l0, l1, next_header, hop_limit];
    let (from, to) = addresses.split_at_mut(DESTINATION_OFFSET - SOURCE_OFFSET);
    from.copy_from_slice(&source);
    to.copy_from_slice(&destination);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

    #[test]
    fn an_emitted_header_is_decoded_to_the_same_values() {
        let packet = emit(SOURCE, ALL_NODES, 255, 58, 32).unwrap();
        assert_eq!(packet[..8], [0x6c, 0x00, 0, 0, 0, 32, 58, 255]);
        let expected = Header {
            next_header: 58,
            hop_limit: 255,
            source: SOURCE,
            destination: ALL_NODES,
            payload: 40,
            payload_length: 32,
        };
        assert_eq!(Header::decode(packet.as_slice(), 0), Ok(expected));
        assert_eq!(next_header(packet.as_slice(), 0), Ok(58));
        assert_eq!(destination(packet.as_slice(), 0), Ok(ALL_NODES));
    }

    #[test]
    fn a_payload_that_is_too_long_for_the_length_field_is_refused() {
        assert_eq!(emit(SOURCE, ALL_NODES, 255, 58, 65_536), None);
        assert!(emit(SOURCE, ALL_NODES, 255, 58, 65_535).is_some());
    }

    #[test]
    fn another_version_is_malformed() {
        let mut packet = emit(SOURCE, ALL_NODES, 255, 58, 32).unwrap();
        packet[0] = 0x45;
        assert_eq!(Header::decode(packet.as_slice(), 0), Err(Error::Malformed));
    }

    #[test]
    fn a_header_that_is_cut_anywhere_is_truncated() {
        let packet = emit(SOURCE, ALL_NODES, 255, 58, 32).unwrap();
        for end in 0..packet.len() {
            assert_eq!(Header::decode(&packet[..end], 0), Err(Error::Truncated), "{end} bytes");
        }
    }

    #[test]
    fn the_prefix_of_link_local_addresses_has_ten_bits() {
        for (first, expected) in
            [([0xfe, 0x80], true), ([0xfe, 0xbf], true), ([0xfe, 0xc0], false), ([0x20, 0x01], false)]
        {
            assert_eq!(is_link_local(first), expected, "{first:x?}");
        }
    }
}
