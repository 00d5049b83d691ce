//! Neighbor Discovery for IPv6 over Ethernet: Neighbor Solicitations and Advertisements (RFC 4861 4.3, 4.4; RFC 4443).

use super::{Packet, Summed, Truncated, ethernet, ipv6};
use crate::units::MacAddress;
use crate::wire::checksum::Sum;

/// A Neighbor Solicitation or Advertisement. A solicitation has no flags.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |     Type      |     Code      |          Checksum             |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |R|S|O|                     Reserved                            |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                                                               |
/// +                       Target Address                          +
/// |                         (128 bits)                            |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |   Options ...
/// +-+-+-+-+-+-+-+-+-+-+-
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// Kind of the message.
    pub kind: Kind,
    /// Address that is asked for or advertised.
    pub target: [u8; 16],
    /// MAC of the sender (in a solicitation) or of the target (in an advertisement), if the first option contains it.
    /// No host puts it in a later option.
    pub mac: Option<MacAddress>,
}

/// The two messages by which Neighbor Discovery resolves addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks for the MAC of the target (RFC 4861 4.3).
    Solicitation,
    /// Gives the MAC of the target (RFC 4861 4.4).
    Advertisement,
}

/// Next Header value of ICMPv6 (RFC 4443 1).
pub const NEXT_HEADER: u8 = 58;
/// Length of a message with a link-layer address as its only option.
pub const LENGTH: usize = SHORTEST + OPTION;
/// Length of a message without options.
pub const SHORTEST: usize = 24;
/// Offset of the checksum, from the start of the message.
pub const CHECKSUM_OFFSET: usize = 2;
/// Offset of the MAC in the first option, from the start of the message.
pub const MAC_OFFSET: usize = SHORTEST + 2;

const TARGET_OFFSET: usize = 8;
/// Length of an option with a link-layer address (RFC 4861 4.6.1).
const OPTION: usize = 8;

const TYPE_SOLICITATION: u8 = 135;
const TYPE_ADVERTISEMENT: u8 = 136;
const OPTION_SOURCE: u8 = 1;
const OPTION_TARGET: u8 = 2;
/// Hop limit of a packet that no router has forwarded (RFC 4861 7.1).
const HOP_LIMIT: u8 = 255;

/// The flags of an advertisement (RFC 4861 4.4).
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Returns whether the ICMPv6 message at `offset` is a Neighbor Solicitation or Advertisement. Nothing else is read of
/// most messages.
///
/// # Errors
/// The frame ends before the message's type.
#[inline(always)]
pub fn is_neighbor<P: Packet + ?Sized>(packet: &P, offset: usize) -> Result<bool, Truncated> {
    let [kind] = packet.read(offset)?;
    Ok(matches!(kind, TYPE_SOLICITATION | TYPE_ADVERTISEMENT))
}

impl Neighbor {
    /// Decodes the message that `ip` carries. Returns `None` if it is anything else, or if RFC 4861 7.1 demands that it
    /// be discarded. [`is_valid`] verifies the checksum.
    ///
    /// # Errors
    /// The frame ends before the message does.
    #[inline(always)]
    pub fn decode<P: Packet + ?Sized>(packet: &P, ip: &ipv6::Header) -> Result<Option<Self>, Truncated> {
        let [kind, code] = packet.read(ip.payload)?;
        let (kind, option) = match kind {
            TYPE_SOLICITATION => (Kind::Solicitation, OPTION_SOURCE),
            TYPE_ADVERTISEMENT => (Kind::Advertisement, OPTION_TARGET),
            _ => return Ok(None),
        };
        if ip.hop_limit != HOP_LIMIT || code != 0 || ip.payload_length < SHORTEST {
            return Ok(None);
        }
        let target = packet.read(ip.payload + TARGET_OFFSET)?;
        let mac = if ip.payload_length >= LENGTH {
            let [found, units, m0, m1, m2, m3, m4, m5] = packet.read::<OPTION>(ip.payload + SHORTEST)?;
            if units == 0 {
                return Ok(None);
            }
            (found == option && units == 1).then_some(MacAddress([m0, m1, m2, m3, m4, m5]))
        } else {
            None
        };
        // RFC 4861 7.1.1, about a solicitation from the unspecified address (a duplicate address probe): "the IP
        // destination address is a solicited-node multicast address", and "there is no source link-layer address option
        // in the message".
        if matches!(kind, Kind::Solicitation)
            && ip.source == ipv6::UNSPECIFIED
            && (mac.is_some() || !ipv6::is_solicited_node(ip.destination))
        {
            return Ok(None);
        }
        Ok(Some(Self { kind, target, mac }))
    }

    /// Returns the address that [`Self::mac`] belongs to.
    #[inline(always)]
    pub fn located(&self, ip: &ipv6::Header) -> [u8; 16] {
        match self.kind {
            Kind::Solicitation => ip.source,
            Kind::Advertisement => self.target,
        }
    }
}

/// Returns whether the message that `ip` carries has a valid checksum, and a length that is a multiple of eight bytes,
/// the unit of options (RFC 4861 4.6).
///
/// # Errors
/// The frame ends before the message does.
#[inline(always)]
pub fn is_valid<P: Summed + ?Sized>(packet: &P, ip: &ipv6::Header) -> Result<bool, Truncated> {
    if !ip.payload_length.is_multiple_of(OPTION) {
        return Ok(false);
    }
    Ok(packet.sum(ip.payload, ip.payload_length)?.add(ip.pseudo_header()).is_valid())
}

/// A Neighbor Advertisement of a router (RFC 9568 8.2.2) that `address` is at `mac`, with its IPv6 header.
#[derive(Clone, Copy, Debug)]
pub struct Advertisement {
    /// Address that is advertised, which is also the source of the packet.
    pub address: [u8; 16],
    /// MAC of the address.
    pub mac: MacAddress,
    /// Host that has asked, or `None` for an announcement to all hosts. RFC 4861 7.2.4, about a solicitation from the
    /// unspecified address: "the node MUST set the Solicited flag to zero and multicast the advertisement to the
    /// all-nodes address."
    pub to: Option<[u8; 16]>,
}

impl Advertisement {
    /// Makes the answer to a solicitation for `address` in this packet.
    #[inline(always)]
    pub fn answer(ip: &ipv6::Header, address: [u8; 16], mac: MacAddress) -> Self {
        Self { address, mac, to: if ip.source == ipv6::UNSPECIFIED { None } else { Some(ip.source) } }
    }

    /// Returns the IPv6 header and the message.
    #[inline(always)]
    pub fn emit(&self) -> Option<([u8; ipv6::HEADER], [u8; LENGTH])> {
        let (destination, flags) = match self.to {
            Some(asker) => (asker, ROUTER | SOLICITED | OVERRIDE),
            None => (ipv6::ALL_NODES, ROUTER | OVERRIDE),
        };
        let header = ipv6::emit(self.address, destination, HOP_LIMIT, NEXT_HEADER, LENGTH)?;
        let mut message = [0; LENGTH];
        message[0] = TYPE_ADVERTISEMENT;
        message[4] = flags;
        message[TARGET_OFFSET..SHORTEST].copy_from_slice(&self.address);
        message[SHORTEST] = OPTION_TARGET;
        message[SHORTEST + 1] = 1;
        message[MAC_OFFSET..].copy_from_slice(&self.mac.0);
        let pseudo_header = ipv6::pseudo_header(&self.address, &destination, NEXT_HEADER, LENGTH);
        let checksum = Sum::of(&message).add(pseudo_header).checksum();
        message[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&checksum);
        Some((header, message))
    }
}

/// Length of the frame that [`unsolicited`] returns.
pub const FRAME: usize = ethernet::HEADER + ipv6::HEADER + LENGTH;

/// Returns the frame by which a new Active router replaces the MAC of `address` in the cache of every neighbor.
/// RFC 9568 6.4.2: "send an unsolicited ND Neighbor Advertisement with the Router Flag (R) set, the Solicited Flag (S)
/// clear, the Override flag (O) set, the target address set to the IPv6 address of the Virtual Router, and the target
/// link-layer address set to the Virtual Router MAC address" (conformance 49).
pub fn unsolicited(mac: MacAddress, address: [u8; 16]) -> Option<[u8; FRAME]> {
    let (header, message) = Advertisement { address, mac, to: None }.emit()?;
    let mut frame = [0; FRAME];
    let (link, packet) = frame.split_at_mut(ethernet::HEADER);
    link.copy_from_slice(&ethernet::emit(MacAddress::ALL_NODES, mac, ethernet::TYPE_IPV6));
    let (ip, body) = packet.split_at_mut(ipv6::HEADER);
    ip.copy_from_slice(&header);
    body.copy_from_slice(&message);
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const VIRTUAL: MacAddress = MacAddress([0x00, 0x00, 0x5e, 0x00, 0x02, 0x33]);
    const VIP: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const CLIENT: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    const SOLICITED_NODE: [u8; 16] = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1];
    const CLIENT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

    /// Returns a solicitation from a host, starting with its IPv6 header.
    fn solicitation(source: [u8; 16], mac: Option<MacAddress>) -> Vec<u8> {
        let mut message = [&[TYPE_SOLICITATION, 0, 0, 0, 0, 0, 0, 0], &VIP[..]].concat();
        if let Some(mac) = mac {
            message.extend([OPTION_SOURCE, 1]);
            message.extend(mac.0);
        }
        let header = ipv6::emit(source, SOLICITED_NODE, HOP_LIMIT, NEXT_HEADER, message.len()).unwrap();
        let sum = Sum::of(&message).add(ipv6::pseudo_header(&source, &SOLICITED_NODE, NEXT_HEADER, message.len()));
        message[2..4].copy_from_slice(&sum.checksum());
        [&header[..], &message].concat()
    }

    fn decode(packet: &[u8]) -> Option<Neighbor> {
        Neighbor::decode(packet, &ipv6::Header::decode(packet, 0).unwrap()).unwrap()
    }

    #[test]
    fn an_announcement_has_the_bytes_of_the_rfc() {
        // RFC 9568 6.4.2, 8.2.2 (conformance 49); RFC 4861 4.4
        #[rustfmt::skip]
        let expected = [
            0x33, 0x33, 0, 0, 0, 1, 0x00, 0x00, 0x5e, 0x00, 0x02, 0x33, 0x86, 0xdd,
            0x6c, 0, 0, 0, 0, 32, 58, 255,
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
            0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
            136, 0, 0x1a, 0xf8, 0xa0, 0, 0, 0,
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
            2, 1, 0x00, 0x00, 0x5e, 0x00, 0x02, 0x33,
        ];
        assert_eq!(unsolicited(VIRTUAL, VIP).unwrap(), expected);
    }

    #[test]
    fn an_answer_goes_to_the_host_that_asked_or_to_all_hosts_if_that_one_has_no_address() {
        // RFC 4861 7.2.4
        for (source, mac, destination, flags) in
            [(CLIENT, Some(CLIENT_MAC), CLIENT, 0xe0), (ipv6::UNSPECIFIED, None, ipv6::ALL_NODES, 0xa0)]
        {
            let asked = solicitation(source, mac);
            let ip = ipv6::Header::decode(asked.as_slice(), 0).unwrap();
            let (header, message) = Advertisement::answer(&ip, VIP, VIRTUAL).emit().unwrap();
            let answer = [&header[..], &message].concat();
            let ip = ipv6::Header::decode(answer.as_slice(), 0).unwrap();
            assert_eq!((ip.source, ip.destination, message[4]), (VIP, destination, flags));
            assert_eq!(is_valid(answer.as_slice(), &ip), Ok(true));
            let expected = Neighbor { kind: Kind::Advertisement, target: VIP, mac: Some(VIRTUAL) };
            assert_eq!(decode(&answer), Some(expected));
        }
    }

    #[test]
    fn a_solicitation_contains_the_mac_of_its_sender_unless_it_is_a_probe() {
        let asked = solicitation(CLIENT, Some(CLIENT_MAC));
        assert_eq!(decode(&asked), Some(Neighbor { kind: Kind::Solicitation, target: VIP, mac: Some(CLIENT_MAC) }));
        assert!(is_neighbor(asked.as_slice(), 40).unwrap());
        let probe = solicitation(ipv6::UNSPECIFIED, None);
        assert_eq!(decode(&probe), Some(Neighbor { kind: Kind::Solicitation, target: VIP, mac: None }));
    }

    #[test]
    fn a_message_that_rfc_4861_discards_is_not_decoded() {
        // RFC 4861 7.1.1
        let asked = solicitation(CLIENT, Some(CLIENT_MAC));
        for (at, value) in [(7, 254), (40, 128), (41, 1), (5, 16), (65, 0)] {
            let mut wrong = asked.clone();
            wrong[at] = value;
            assert_eq!(decode(&wrong), None, "byte {at} = {value}");
        }
        assert_eq!(decode(&solicitation(ipv6::UNSPECIFIED, Some(CLIENT_MAC))), None);
        for (at, value) in [(24, 0xfe), (25, 0x05), (35, 0), (36, 0xfe)] {
            let mut elsewhere = solicitation(ipv6::UNSPECIFIED, None);
            elsewhere[at] = value;
            assert_eq!(decode(&elsewhere), None, "byte {at} = {value}");
        }
    }

    #[test]
    fn a_message_that_is_cut_anywhere_is_truncated() {
        let asked = solicitation(CLIENT, Some(CLIENT_MAC));
        let ip = ipv6::Header::decode(asked.as_slice(), 0).unwrap();
        for end in 40..asked.len() {
            assert_eq!(Neighbor::decode(&asked[..end], &ip), Err(Truncated), "{end} bytes");
        }
    }

    proptest! {
        #[test]
        fn a_flipped_bit_makes_the_checksum_invalid(bit in 0_usize..(8 * LENGTH)) {
            let mut asked = solicitation(CLIENT, Some(CLIENT_MAC));
            let ip = ipv6::Header::decode(asked.as_slice(), 0).unwrap();
            prop_assert_eq!(is_valid(asked.as_slice(), &ip), Ok(true));
            asked[ipv6::HEADER + bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(is_valid(asked.as_slice(), &ip), Ok(false));
        }

        #[test]
        fn junk_never_causes_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(ip) = ipv6::Header::decode(bytes.as_slice(), 0) {
                let _ = Neighbor::decode(bytes.as_slice(), &ip);
                let _ = is_valid(bytes.as_slice(), &ip);
            }
        }
    }
}
