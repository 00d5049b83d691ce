//! What is sent (RFC 9568 7.2).

use super::family::pseudo_header;
use super::{AUTH_DATA, AUTH_NONE, AUTH_SIMPLE, HEADER, IpAddress, TYPE_ADVERTISEMENT};
use crate::units::{Interval, MacAddress, Priority, Version, Vrid};
use crate::wire::checksum::Sum;
use crate::wire::{ethernet, ipv6};

/// An advert with everything around it.
#[derive(Clone, Copy, Debug)]
pub struct AdvertFrame<'a, A = [u8; 4]> {
    /// The virtual MAC (RFC 9568 7.2), or the interface's own.
    pub source_mac: MacAddress,
    /// The interface's primary address (RFC 9568 5.1.1.1), its link-local one over IPv6 (5.1.2.1).
    pub source: A,
    /// The version that it is in.
    pub version: Version,
    /// The virtual router that it is for.
    pub vrid: Vrid,
    /// 0 gives up the role.
    pub priority: Priority,
    /// The interval of our adverts.
    pub interval: Interval,
    /// One to [`IpAddress::MAX_ADDRESSES`], in configured order. Over IPv6 the first is link-local (RFC 9568 5.2.9).
    pub addresses: &'a [A],
    /// Version 3 over IPv4: whether the checksum covers the pseudo-header. Version 2 never has it, IPv6 always.
    pub pseudo_header_checksum: bool,
    /// Version 2: authentication type 1 with this zero-padded password. Version 3 has none.
    pub password: Option<[u8; AUTH_DATA]>,
}

/// The longest frame that [`AdvertFrame::emit`] writes: as many IPv6 addresses as an advert can carry.
pub const MAX_FRAME: usize =
    ethernet::HEADER + ipv6::HEADER + HEADER + <[u8; 16]>::LENGTH * <[u8; 16] as IpAddress>::MAX_ADDRESSES;

const CHECKSUM_OFFSET: usize = 6;

impl<A: IpAddress> AdvertFrame<'_, A> {
    /// Writes the frame and returns its length. `None` if the buffer is too small, or if the interval or the addresses
    /// cannot be said in this version and family (conformance 10, 53).
    pub fn emit(&self, buffer: &mut [u8]) -> Option<usize> {
        let (ethernet_header, packet) = buffer.split_at_mut_checked(ethernet::HEADER)?;
        let length = self.emit_packet(A::GROUP, packet)?;
        ethernet_header.copy_from_slice(&ethernet::emit(A::GROUP_MAC, self.source_mac, A::ETHER_TYPE));
        Some(ethernet::HEADER + length)
    }

    /// Writes the IP packet alone, addressed to a unicast peer, and returns its length; `None` as above.
    pub fn emit_packet(&self, destination: A, buffer: &mut [u8]) -> Option<usize> {
        let addresses = A::bytes(self.addresses);
        let start = addresses.first_chunk().filter(|start| A::may_be_first(**start));
        let address_count = start.and(u8::try_from(self.addresses.len()).ok())?;
        if self.addresses.len() > A::MAX_ADDRESSES {
            return None;
        }
        let (b4, b5) = self.version_fields()?;
        let authentication: &[u8] = match self.version {
            Version::V2 => &self.password.unwrap_or_default(),
            Version::V3 => &[],
        };
        let message_length = HEADER + addresses.len() + authentication.len();

        let length = A::HEADER + message_length;
        let (ip_header, message) = buffer.get_mut(..length)?.split_at_mut(A::HEADER);
        self.source.emit_header(destination, ip_header, message_length)?;

        let version_type = (self.version as u8) << 4 | TYPE_ADVERTISEMENT;
        let (header, body) = message.split_at_mut(HEADER);
        header.copy_from_slice(&[version_type, self.vrid.get(), self.priority.get(), address_count, b4, b5, 0, 0]);
        let (body, trailer) = body.split_at_mut(addresses.len());
        body.copy_from_slice(addresses);
        trailer.copy_from_slice(authentication);

        let mut sum = Sum::of(message);
        if self.version == Version::V3 && (self.pseudo_header_checksum || !A::PLAIN_CHECKSUM) {
            sum = sum.add(pseudo_header(self.source, destination, message_length));
        }
        message.get_mut(CHECKSUM_OFFSET..HEADER)?.copy_from_slice(&sum.checksum());
        Some(length)
    }

    /// The two bytes before the checksum; `None` for an interval that they cannot hold, or 0 (RFC 9568 erratum 8301).
    fn version_fields(&self) -> Option<(u8, u8)> {
        if self.interval == Interval::ZERO {
            return None;
        }
        match self.version {
            Version::V3 => {
                let [high, low] = self.interval.to_centiseconds()?.to_be_bytes();
                Some((high, low))
            }
            Version::V2 => {
                let auth_type = if self.password.is_some() { AUTH_SIMPLE } else { AUTH_NONE };
                Some((auth_type, self.interval.to_seconds()?))
            }
        }
    }
}

/// The sum of an advert's addresses, by which two lists are compared without keeping either: equal lists have equal
/// sums.
pub fn address_sum<A: IpAddress>(addresses: &[A]) -> u16 {
    Sum::of(A::bytes(addresses)).get()
}
