//! The differences between adverts over IPv4 and over IPv6.

use super::{HOP_LIMIT, PROTOCOL};
use crate::units::{Family, MacAddress};
use crate::wire::checksum::Sum;
use crate::wire::{ethernet, ipv4, ipv6};

/// An address of the family that a virtual router is in.
pub trait IpAddress: Copy + PartialEq {
    /// Family of the address.
    const FAMILY: Family;
    /// Multicast group that adverts are sent to.
    const GROUP: Self;
    /// MAC of that group.
    const GROUP_MAC: MacAddress;
    /// EtherType of an advert.
    const ETHER_TYPE: u16;
    /// Length of an address in bytes.
    const LENGTH: usize;
    /// Largest number of addresses in an advert.
    const MAX_ADDRESSES: usize;
    /// Length of the IP header that [`Self::emit_header`] writes.
    const HEADER: usize;
    /// Whether version 3 has a second form of checksum, without the pseudo-header (RFC 9568 5.2.8).
    const PLAIN_CHECKSUM: bool;

    /// Returns the bytes of the addresses in the order in which an advert lists them.
    fn bytes(addresses: &[Self]) -> &[u8];

    /// Returns the address in 16 bytes, padded with zeros. Within a family, this keeps the order of the addresses.
    fn widen(self) -> [u8; 16];

    /// Converts an address back that [`Self::widen`] has returned.
    fn narrow(wide: [u8; 16]) -> Self;

    /// Returns whether an address that starts with these bytes may be the first in an advert (RFC 9568 5.2.9, erratum
    /// 8300).
    fn may_be_first(start: [u8; 2]) -> bool;

    /// Writes the IP header of an advert from this address with a message of this length. Returns `None` if the header
    /// does not fit the buffer, or the message does not fit a packet.
    fn emit_header(self, destination: Self, buffer: &mut [u8], message_length: usize) -> Option<()>;
}

impl IpAddress for [u8; 4] {
    const FAMILY: Family = Family::Ipv4;
    const GROUP: Self = super::GROUP;
    const GROUP_MAC: MacAddress = MacAddress::VRRP_IPV4_MULTICAST;
    const ETHER_TYPE: u16 = ethernet::TYPE_IPV4;
    const LENGTH: usize = 4;
    /// Largest value of the count field (RFC 9568 5.2.5).
    const MAX_ADDRESSES: usize = u8::MAX as usize;
    const HEADER: usize = ipv4::HEADER;
    const PLAIN_CHECKSUM: bool = true;

    #[inline(always)]
    fn bytes(addresses: &[Self]) -> &[u8] {
        addresses.as_flattened()
    }

    #[inline(always)]
    fn widen(self) -> [u8; 16] {
        let [a, b, c, d] = self;
        [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    #[inline(always)]
    fn narrow(wide: [u8; 16]) -> Self {
        let [a, b, c, d, ..] = wide;
        [a, b, c, d]
    }

    #[inline(always)]
    fn may_be_first(_: [u8; 2]) -> bool {
        true
    }

    fn emit_header(self, destination: Self, buffer: &mut [u8], message_length: usize) -> Option<()> {
        let header = ipv4::emit(self, destination, HOP_LIMIT, PROTOCOL, message_length)?;
        buffer.first_chunk_mut().map(|start| *start = header)
    }
}

impl IpAddress for [u8; 16] {
    const FAMILY: Family = Family::Ipv6;
    const GROUP: Self = super::GROUP_IPV6;
    const GROUP_MAC: MacAddress = MacAddress::VRRP_IPV6_MULTICAST;
    const ETHER_TYPE: u16 = ethernet::TYPE_IPV6;
    const LENGTH: usize = 16;
    /// Number of addresses that fit a packet of 1500 bytes, because adverts are never fragmented.
    const MAX_ADDRESSES: usize = (1500 - ipv6::HEADER - super::HEADER) / Self::LENGTH;
    const HEADER: usize = ipv6::HEADER;
    const PLAIN_CHECKSUM: bool = false;

    #[inline(always)]
    fn bytes(addresses: &[Self]) -> &[u8] {
        addresses.as_flattened()
    }

    #[inline(always)]
    fn widen(self) -> [u8; 16] {
        self
    }

    #[inline(always)]
    fn narrow(wide: [u8; 16]) -> Self {
        wide
    }

    #[inline(always)]
    fn may_be_first(start: [u8; 2]) -> bool {
        ipv6::is_link_local(start)
    }

    fn emit_header(self, destination: Self, buffer: &mut [u8], message_length: usize) -> Option<()> {
        let header = ipv6::emit(self, destination, HOP_LIMIT, PROTOCOL, message_length)?;
        buffer.first_chunk_mut().map(|start| *start = header)
    }
}

/// The IP header of an advert.
pub trait Carrier {
    /// Type of the addresses in this family.
    type Address: IpAddress;

    /// Returns the address of the sender.
    fn source(&self) -> Self::Address;
    /// Returns the address of the receiver.
    fn destination(&self) -> Self::Address;
    /// Returns the TTL or hop limit.
    fn hop_limit(&self) -> u8;
    /// Returns whether the packet is a fragment.
    fn is_fragment(&self) -> bool;
    /// Returns the offset of the message in the frame, in bytes.
    fn payload(&self) -> usize;
    /// Returns the length of the message in bytes.
    fn payload_length(&self) -> usize;
}

impl Carrier for ipv4::Header {
    type Address = [u8; 4];

    #[inline(always)]
    fn source(&self) -> [u8; 4] {
        self.source
    }

    #[inline(always)]
    fn destination(&self) -> [u8; 4] {
        self.destination
    }

    #[inline(always)]
    fn hop_limit(&self) -> u8 {
        self.time_to_live
    }

    #[inline(always)]
    fn is_fragment(&self) -> bool {
        self.fragment != ipv4::Fragment::Whole
    }

    #[inline(always)]
    fn payload(&self) -> usize {
        self.payload
    }

    #[inline(always)]
    fn payload_length(&self) -> usize {
        self.payload_length
    }
}

impl Carrier for ipv6::Header {
    type Address = [u8; 16];

    #[inline(always)]
    fn source(&self) -> [u8; 16] {
        self.source
    }

    #[inline(always)]
    fn destination(&self) -> [u8; 16] {
        self.destination
    }

    #[inline(always)]
    fn hop_limit(&self) -> u8 {
        self.hop_limit
    }

    /// Returns false: a fragment has an extension header, so the message would not directly follow the fixed header.
    #[inline(always)]
    fn is_fragment(&self) -> bool {
        false
    }

    #[inline(always)]
    fn payload(&self) -> usize {
        self.payload
    }

    #[inline(always)]
    fn payload_length(&self) -> usize {
        self.payload_length
    }
}

/// Returns the sum over the pseudo-header: over IPv6 that of RFC 8200 8.1 (RFC 9568 5.2.8), over IPv4 that of RFC 5798
/// 5.2.8.
#[inline(always)]
pub(super) fn pseudo_header<A: IpAddress>(source: A, destination: A, message_length: usize) -> Sum {
    let [.., l0, l1] = message_length.to_be_bytes();
    Sum::of(A::bytes(&[source])).add(Sum::of(A::bytes(&[destination]))).add(Sum::of(&[0, PROTOCOL, l0, l1]))
}
