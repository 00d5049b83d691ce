//! The IPv4 header (RFC 791).

use super::checksum::Sum;
use super::{Packet, Summed, Truncated};

/// An IPv4 header.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Version|  IHL  |Type of Service|          Total Length         |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |         Identification        |Flags|      Fragment Offset    |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  Time to Live |    Protocol   |         Header Checksum       |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                       Source Address                          |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                    Destination Address                        |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                    Options                    |    Padding    |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Time to live: 255 in an advert that no router has forwarded (RFC 9568 5.1.1.3).
    pub time_to_live: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Whether the packet is a fragment.
    pub fragment: Fragment,
    /// Address of the sender.
    pub source: [u8; 4],
    /// Address of the receiver.
    pub destination: [u8; 4],
    /// Offset of the payload in the frame.
    pub payload: usize,
    /// Length of the payload according to the header. It does not include Ethernet padding, and the frame may be
    /// shorter.
    pub payload_length: usize,
}

/// Whether a packet is a fragment, and which (RFC 791).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// Not a fragment.
    Whole,
    /// Fragment with the start of the payload.
    First,
    /// Fragment of a payload that starts in another packet.
    Later,
}

/// Reason why a header cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The frame ends before the header does.
    Truncated,
    /// The version is not 4, the lengths contradict each other, or the header checksum is wrong.
    Malformed,
}

impl From<Truncated> for Error {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// Length of the header without options.
pub const HEADER: usize = 20;

/// Type of service of routing protocols: precedence "internetwork control" (RFC 791 3.1), which keepalived and FRR send
/// too.
const INTERNETWORK_CONTROL: u8 = 0xc0;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;
const PROTOCOL_OFFSET: usize = 9;
const DESTINATION_OFFSET: usize = 16;

/// Reads the protocol of the packet at `offset`. Nothing else is read of most packets.
///
/// # Errors
/// The frame ends before that.
#[inline(always)]
pub fn protocol<P: Packet + ?Sized>(packet: &P, offset: usize) -> Result<u8, Truncated> {
    let [protocol] = packet.read(offset + PROTOCOL_OFFSET)?;
    Ok(protocol)
}

/// Reads the destination of the packet at `offset`.
///
/// # Errors
/// The frame ends before that.
#[inline(always)]
pub fn destination<P: Packet + ?Sized>(packet: &P, offset: usize) -> Result<[u8; 4], Truncated> {
    packet.read(offset + DESTINATION_OFFSET)
}

impl Header {
    /// Decodes and verifies the header at `offset`, with its checksum, because XDP runs before the network stack would
    /// verify it. Options, fragments and truncation at any byte lead to no misinterpretation (RFC 9568 5.1,
    /// conformance 16).
    ///
    /// # Errors
    /// The frame ends before the header does, or the header is inconsistent.
    #[inline(always)]
    pub fn decode<P: Summed + ?Sized>(packet: &P, offset: usize) -> Result<Self, Error> {
        let bytes = packet.read::<HEADER>(offset)?;
        let [version_ihl, _, tl0, tl1, _, _, fr0, fr1, time_to_live, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
            bytes;
        let header_length = usize::from(version_ihl & 0x0f) * 4;
        let total_length = usize::from(u16::from_be_bytes([tl0, tl1]));
        if version_ihl >> 4 != 4 || header_length < HEADER || total_length < header_length {
            return Err(Error::Malformed);
        }
        let mut sum = Sum::of(&bytes);
        if header_length > HEADER {
            sum = sum.add(packet.sum(offset + HEADER, header_length - HEADER)?);
        }
        if !sum.is_valid() {
            return Err(Error::Malformed);
        }
        let flags = u16::from_be_bytes([fr0, fr1]);
        Ok(Self {
            time_to_live,
            protocol,
            fragment: if flags & FRAGMENT_OFFSET != 0 {
                Fragment::Later
            } else if flags & MORE_FRAGMENTS != 0 {
                Fragment::First
            } else {
                Fragment::Whole
            },
            source: [s0, s1, s2, s3],
            destination: [d0, d1, d2, d3],
            payload: offset + header_length,
            payload_length: total_length - header_length,
        })
    }
}

/// Returns a header without options, or `None` if the payload is too long for one packet. The identification is 0,
/// which RFC 6864 4.1 allows for packets that are never fragmented.
pub(super) fn emit(
    source: [u8; 4],
    destination: [u8; 4],
    time_to_live: u8,
    protocol: u8,
    payload_length: usize,
) -> Option<[u8; HEADER]> {
    let [l0, l1] = u16::try_from(HEADER + payload_length).ok()?.to_be_bytes();
    let [f0, f1] = DONT_FRAGMENT.to_be_bytes();
    let [s0, s1, s2, s3] = source;
    let [d0, d1, d2, d3] = destination;
    #[rustfmt::skip]
    let mut header = [
        0x45, INTERNETWORK_CONTROL, l0, l1,
        0, 0, f0, f1,
        time_to_live, protocol, 0, 0,
        s0, s1, s2, s3,
        d0, d1, d2, d3,
    ];
    let [c0, c1] = Sum::of(&header).checksum();
    header[10] = c0;
    header[11] = c1;
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: [u8; 4] = [192, 0, 2, 2];
    const GROUP: [u8; 4] = [224, 0, 0, 18];

    fn fix_checksum(packet: &mut [u8]) {
        packet[10..12].fill(0);
        let length = usize::from(packet[0] & 0x0f) * 4;
        let checksum = Sum::of(&packet[..length]).checksum();
        packet[10..12].copy_from_slice(&checksum);
    }

    #[test]
    fn an_emitted_header_is_decoded_to_the_same_values() {
        let packet = emit(SOURCE, GROUP, 255, 112, 12).unwrap();
        let expected = Header {
            time_to_live: 255,
            protocol: 112,
            fragment: Fragment::Whole,
            source: SOURCE,
            destination: GROUP,
            payload: 20,
            payload_length: 12,
        };
        assert_eq!(Header::decode(packet.as_slice(), 0), Ok(expected));
        assert_eq!(protocol(packet.as_slice(), 0), Ok(112));
        assert_eq!(destination(packet.as_slice(), 0), Ok(GROUP));
    }

    #[test]
    fn a_payload_that_is_too_long_for_the_length_field_is_refused() {
        assert_eq!(emit(SOURCE, GROUP, 255, 112, 65_516), None);
        assert!(emit(SOURCE, GROUP, 255, 112, 65_515).is_some());
    }

    #[test]
    fn the_payload_starts_after_the_options() {
        let mut packet = emit(SOURCE, GROUP, 255, 112, 16).unwrap().to_vec();
        packet[0] = 0x46;
        packet.extend([0x94, 0x04, 0x00, 0x00]); // router alert (RFC 2113)
        fix_checksum(&mut packet);
        let header = Header::decode(packet.as_slice(), 0).unwrap();
        assert_eq!((header.payload, header.payload_length), (24, 12));
        packet[23] ^= 1;
        assert_eq!(Header::decode(packet.as_slice(), 0), Err(Error::Malformed));
    }

    #[test]
    fn fragments_are_distinguished_from_whole_packets() {
        for (flags, fragment) in [
            (0x0000_u16, Fragment::Whole),
            (0x4000, Fragment::Whole),
            (0x2000, Fragment::First),
            (0x2001, Fragment::Later),
            (0x0001, Fragment::Later),
        ] {
            let mut packet = emit(SOURCE, GROUP, 255, 112, 12).unwrap();
            packet[6..8].copy_from_slice(&flags.to_be_bytes());
            fix_checksum(&mut packet);
            assert_eq!(
                Header::decode(packet.as_slice(), 0).map(|header| header.fragment),
                Ok(fragment),
                "flags {flags:#06x}"
            );
        }
    }

    #[test]
    fn inconsistent_headers_are_malformed() {
        let packet = emit(SOURCE, GROUP, 255, 112, 12).unwrap();
        for (at, value) in [(0, 0x65), (0, 0x44), (3, 19), (8, 254)] {
            let mut wrong = packet;
            wrong[at] = value;
            if at != 8 {
                fix_checksum(&mut wrong);
            }
            assert_eq!(Header::decode(wrong.as_slice(), 0), Err(Error::Malformed), "byte {at} = {value:#04x}");
        }
    }

    #[test]
    fn a_header_that_is_cut_anywhere_is_truncated() {
        let mut packet = emit(SOURCE, GROUP, 255, 112, 16).unwrap().to_vec();
        packet[0] = 0x46;
        packet.extend([0x94, 0x04, 0x00, 0x00]);
        fix_checksum(&mut packet);
        for end in 0..packet.len() {
            assert_eq!(Header::decode(&packet[..end], 0), Err(Error::Truncated), "{end} bytes");
        }
    }
}
