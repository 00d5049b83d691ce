//! ARP: address resolution for IPv4 over Ethernet (RFC 826).

use super::{Packet, Truncated, ethernet};
use crate::units::MacAddress;

/// An ARP packet for IPv4 over Ethernet.
///
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
    /// Operation: [`OPERATION_REQUEST`], [`OPERATION_REPLY`] or another.
    pub operation: u16,
    /// MAC of the sender.
    pub sender_mac: MacAddress,
    /// IPv4 address of the sender.
    pub sender: [u8; 4],
    /// MAC of the target; has no meaning in a request.
    pub target_mac: MacAddress,
    /// IPv4 address of the target.
    pub target: [u8; 4],
}

/// Operation that asks which host has the target's address (RFC 826).
pub const OPERATION_REQUEST: u16 = 1;
/// Operation that answers with the sender's MAC (RFC 826).
pub const OPERATION_REPLY: u16 = 2;
/// Length of the packet without the Ethernet header.
pub const LENGTH: usize = 28;
/// Offset of the sender's MAC in a packet, in bytes.
pub const SENDER_MAC_OFFSET: usize = 8;

/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0x00, 0x01, 0x08, 0x00, 6, 4];
/// The same with the hardware type of IEEE 802 networks. Hosts must treat both types alike (RFC 1042), and Linux
/// answers both.
const IEEE_802_IPV4: [u8; 6] = [0x00, 0x06, 0x08, 0x00, 6, 4];

impl Arp {
    /// Decodes the packet at `offset`. Returns `None` if it does not resolve IPv4 over Ethernet.
    ///
    /// # Errors
    /// The frame ends before the packet does.
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

    /// Returns the packet without the Ethernet header.
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

    /// Returns whether the packet is an announcement, whose sender and target are the same address (RFC 5227 1.2).
    #[inline(always)]
    pub fn is_gratuitous(&self) -> bool {
        self.sender == self.target
    }

    /// Returns the answer to this request which says that the target has this MAC.
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

/// Returns the frame by which a new Active router replaces the MAC of `address` in the cache of every neighbor: a
/// broadcast request with the address as both sender and target (RFC 5227 2.3). RFC 9568 6.4.2, erratum 7949:
/// "broadcast a gratuitous ARP message containing the Virtual Router IPv4 address and with the target link-layer
/// address set to the Virtual Router MAC address" (conformance 49). The target link-layer address is left zero here,
/// because it has no meaning in a request.
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
    fn a_reply_exchanges_sender_and_target() {
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
    fn a_packet_that_is_cut_anywhere_is_truncated() {
        let frame = gratuitous(VIRTUAL, [192, 0, 2, 1]);
        for end in 0..frame.len() {
            assert_eq!(Arp::decode(&frame[..end], 14), Err(Truncated), "{end} bytes");
        }
    }

    proptest! {
        #[test]
        fn an_emitted_packet_is_decoded_to_the_same_values(
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
