//! The IPv6 header (RFC 8200).
//!
//! Only the fixed header is read. What this program looks for follows it directly: adverts (RFC 9568 5.1.2.4) and
//! Neighbor Discovery, which no host sends in fragments (RFC 6980 5). A packet with extension headers is somebody else's.

use super::checksum::Sum;
use super::{Packet, Truncated};

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
    /// What follows the header.
    pub next_header: u8,
    /// 255 for an advert that nobody has forwarded (RFC 9568 5.1.2.3).
    pub hop_limit: u8,
    /// The sender's address.
    pub source: [u8; 16],
    /// The receiver's address.
    pub destination: [u8; 16],
    /// Where the payload starts in the frame.
    pub payload: usize,
    /// Length of the payload by the header's word: Ethernet padding does not count, and the frame may be shorter.
    pub payload_length: usize,
}

/// Why a header cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The frame ends before the packet does.
    Truncated,
    /// Not version 6.
    Malformed,
}

impl From<Truncated> for Error {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// Length of the fixed header.
pub const HEADER: usize = 40;

/// `::`, the source of a probe for a duplicate (RFC 4862 5.4.2).
pub const UNSPECIFIED: [u8; 16] = [0; 16];
/// All hosts of a link (RFC 4291 2.7.1).
pub const ALL_NODES: [u8; 16] = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01];

/// What every solicited-node multicast address starts with.
const SOLICITED_NODE: u128 = 0xff_0200_0000_0000_0000_0000_01ff;

/// Traffic class of routing protocols, CS6 (RFC 4594 3.1), as IPv4's "internetwork control".
const TRAFFIC_CLASS: u8 = 0xc0;
const NEXT_HEADER_OFFSET: usize = 6;
/// Where the source stands in a header, in bytes.
pub const SOURCE_OFFSET: usize = 8;
const DESTINATION_OFFSET: usize = 24;

/// What follows the fixed header of the packet at `offset`: all that most packets are ever asked for.
///
/// # Errors
///
/// Fails if the frame is too short for it.
#[inline(always)]
pub fn next_header<P: Packet + ?Sized>(packet: &P, offset: usize) -> Result<u8, Truncated> {
    let [next_header] = packet.read(offset + NEXT_HEADER_OFFSET)?;
    Ok(next_header)
}

/// Reads the destination of the packet at `offset`.
///
/// # Errors
///
/// Fails if the frame is too short for it.
#[inline(always)]
pub fn destination<P: Packet + ?Sized>(packet: &P, offset: usize) -> Result<[u8; 16], Truncated> {
    packet.read(offset + DESTINATION_OFFSET)
}

/// Returns whether an address that starts so is in fe80::/10 (RFC 4291 2.4).
#[inline(always)]
pub const fn is_link_local([high, low]: [u8; 2]) -> bool {
    high == 0xfe && low & 0xc0 == 0x80
}

/// Returns whether it is a solicited-node multicast address, in ff02::1:ff00:0/104 (RFC 4291 2.7.1).
#[inline(always)]
pub const fn is_solicited_node(address: [u8; 16]) -> bool {
    u128::from_be_bytes(address) >> 24 == SOLICITED_NODE
}

impl Header {
    /// Decodes the header of the packet at `offset`.
    ///
    /// # Errors
    ///
    /// Fails if the frame ends before the packet does, or the header contradicts itself.
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

    /// The sum over the pseudo-header of what this packet carries.
    #[inline(always)]
    pub fn pseudo_header(&self) -> Sum {
        pseudo_header(&self.source, &self.destination, self.next_header, self.payload_length)
    }
}

/// The sum over the pseudo-header (RFC 8200 8.1).
#[inline(always)]
pub fn pseudo_header(source: &[u8; 16], destination: &[u8; 16], next_header: u8, length: usize) -> Sum {
    let [.., l0, l1] = length.to_be_bytes();
    Sum::of(source).add(Sum::of(destination)).add(Sum::of(&[l0, l1, 0, next_header]))
}

/// A fixed header; `None` if the payload is too long for one packet.
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
    fn what_was_emitted_is_decoded_again() {
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
    fn a_payload_that_no_length_field_can_hold_is_refused() {
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
    fn a_header_cut_anywhere_is_truncated() {
        let packet = emit(SOURCE, ALL_NODES, 255, 58, 32).unwrap();
        for end in 0..packet.len() {
            assert_eq!(Header::decode(&packet[..end], 0), Err(Error::Truncated), "{end} bytes");
        }
    }

    #[test]
    fn link_local_is_a_prefix_of_ten_bits() {
        for (first, expected) in
            [([0xfe, 0x80], true), ([0xfe, 0xbf], true), ([0xfe, 0xc0], false), ([0x20, 0x01], false)]
        {
            assert_eq!(is_link_local(first), expected, "{first:x?}");
        }
    }
}
