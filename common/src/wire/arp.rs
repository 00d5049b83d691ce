//! Address resolution for IPv4 over Ethernet (RFC 826).

use super::{Packet, Truncated, ethernet};
use crate::units::MacAddress;

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |       Hardware type 1         |     Protocol type 0x0800      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Hw. length 6  | Pr. length 4  |           Operation           |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                    Sender hardware address                    |
/// +                               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                               |  Sender protocol address      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                               |                               |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+    Target hardware address    +
/// |                                                               |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                    Target protocol address                    |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// [`OPERATION_REQUEST`], [`OPERATION_REPLY`] or another.
    pub operation: u16,
    /// The sender's MAC.
    pub sender_mac: MacAddress,
    /// The sender's IPv4 address.
    pub sender: [u8; 4],
    /// The target's MAC; of no meaning in a request.
    pub target_mac: MacAddress,
    /// The target's IPv4 address.
    pub target: [u8; 4],
}

/// Asks who has the target's address (RFC 826).
pub const OPERATION_REQUEST: u16 = 1;
/// Answers that the sender has its address (RFC 826).
pub const OPERATION_REPLY: u16 = 2;
/// Length of the packet without the Ethernet header.
pub const LENGTH: usize = 28;
/// Where the sender's MAC stands in a packet, in bytes.
pub const SENDER_MAC_OFFSET: usize = 8;

/// Ethernet, IPv4, and the lengths of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0x00, 0x01, 0x08, 0x00, 6, 4];
/// The hardware type of IEEE 802 networks with the same lengths. RFC 1042 has hosts treat both types alike, and Linux answers
/// both.
const IEEE_802_IPV4: [u8; 6] = [0x00, 0x06, 0x08, 0x00, 6, 4];

impl Arp {
    /// `None` if it does not resolve IPv4 over Ethernet.
    ///
    /// # Errors
    ///
    /// Fails if the frame ends before the packet does.
    #[inline(always)]
    pub fn decode<P: Packet + ?Sized>(packet: &P, offset: usize) -> Result<Option<Self>, Truncated> {
        let bytes = packet.read::<LENGTH>(offset)?;
        let (kind, rest) = bytes.split_first_chunk().ok_or(Truncated)?;
        if kind != &ETHERNET_IPV4 && kind != &IEEE_802_IPV4 {
            return Ok(None);
        }
        let (operation, rest) = rest.split_first_chunk().ok_or(Truncated)?;
        let (sender_mac, rest) = rest.split_first_chunk().ok_or(Truncated)?;
        let (sender, rest) = rest.split_first_chunk().ok_or(Truncated)?;
        let (target_mac, rest) = rest.split_first_chunk().ok_or(Truncated)?;
        let target = rest.first_chunk().ok_or(Truncated)?;
        Ok(Some(Self {
            operation: u16::from_be_bytes(*operation),
            sender_mac: MacAddress(*sender_mac),
            sender: *sender,
            target_mac: MacAddress(*target_mac),
            target: *target,
        }))
    }

    /// The packet without the Ethernet header.
    #[inline(always)]
    pub const fn emit(&self) -> [u8; LENGTH] {
        let [oh, ol] = self.operation.to_be_bytes();
        let [s0, s1, s2, s3, s4, s5] = self.sender_mac.0;
        let [p0, p1, p2, p3] = self.sender;
        let [t0, t1, t2, t3, t4, t5] = self.target_mac.0;
        let [q0, q1, q2, q3] = self.target;
        [
            0x00, 0x01, 0x08, 0x00, 6, 4, oh, ol, s0, s1, s2, s3, s4, s5, p0, p1, p2, p3, t0, t1, t2, t3, t4, t5, q0,
            q1, q2, q3,
        ]
    }

    /// An announcement: its sender speaks of itself (RFC 5227 1.2).
    #[inline(always)]
    pub fn is_gratuitous(&self) -> bool {
        self.sender == self.target
    }

    /// The answer that `mac` gives to this request.
    #[inline(always)]
    pub const fn reply(&self, mac: MacAddress) -> Self {
        Self {
            operation: OPERATION_REPLY,
            sender_mac: mac,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
        }
    }
}

/// The frame by which a new Active router moves `address` to `mac` in every neighbor's cache: a broadcast request with
/// the address as sender and as target (RFC 9568 6.4.2, 8.1.2, conformance 49).
pub fn gratuitous(mac: MacAddress, address: [u8; 4]) -> [u8; 42] {
    let arp = Arp {
        operation: OPERATION_REQUEST,
        sender_mac: mac,
        sender: address,
        target_mac: MacAddress::default(),
        target: address,
    };
    let mut frame = [0; ethernet::HEADER + LENGTH];
    let (header, body) = frame.split_at_mut(ethernet::HEADER);
    header.copy_from_slice(&ethernet::emit(MacAddress::BROADCAST, mac, ethernet::TYPE_ARP));
    body.copy_from_slice(&arp.emit());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VIRTUAL: MacAddress = MacAddress([0x00, 0x00, 0x5e, 0x00, 0x01, 0x33]);

    #[test]
    fn a_gratuitous_request_names_the_address_as_sender_and_target() {
        // RFC 9568 6.4.2, 8.1.2 (conformance 49)
        #[rustfmt::skip]
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x5e, 0x00, 0x01, 0x33, 0x08, 0x06,
            0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01,
            0x00, 0x00, 0x5e, 0x00, 0x01, 0x33, 192, 0, 2, 1,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 192, 0, 2, 1,
        ];
        assert_eq!(gratuitous(VIRTUAL, [192, 0, 2, 1]), expected);
    }

    #[test]
    fn a_reply_turns_sender_and_target_round() {
        // RFC 826, "Packet Reception"
        let request = Arp {
            operation: OPERATION_REQUEST,
            sender_mac: MacAddress([2, 0, 0, 0, 0, 9]),
            sender: [192, 0, 2, 9],
            target_mac: MacAddress::default(),
            target: [192, 0, 2, 1],
        };
        let expected = Arp {
            operation: OPERATION_REPLY,
            sender_mac: VIRTUAL,
            sender: [192, 0, 2, 1],
            target_mac: MacAddress([2, 0, 0, 0, 0, 9]),
            target: [192, 0, 2, 9],
        };
        assert_eq!(request.reply(VIRTUAL), expected);
    }

    #[test]
    fn other_hardware_and_protocols_are_left_alone() {
        let frame = gratuitous(VIRTUAL, [192, 0, 2, 1]);
        for at in 14..20 {
            let mut other = frame;
            other[at] ^= 0x40;
            assert_eq!(Arp::decode(other.as_slice(), 14), Ok(None), "byte {at}");
        }
    }

    #[test]
    fn a_packet_cut_anywhere_is_truncated() {
        let frame = gratuitous(VIRTUAL, [192, 0, 2, 1]);
        for end in 0..frame.len() {
            assert_eq!(Arp::decode(&frame[..end], 14), Err(Truncated), "{end} bytes");
        }
    }

    proptest! {
        #[test]
        fn what_was_emitted_is_decoded_again(
            operation in any::<u16>(),
            sender_mac in any::<[u8; 6]>(),
            sender in any::<[u8; 4]>(),
            target_mac in any::<[u8; 6]>(),
            target in any::<[u8; 4]>(),
        ) {
            let arp = Arp {
                operation,
                sender_mac: MacAddress(sender_mac),
                sender,
                target_mac: MacAddress(target_mac),
                target,
            };
            prop_assert_eq!(Arp::decode(arp.emit().as_slice(), 0), Ok(Some(arp)));
        }
    }
}
