//! Writes adverts with their headers (RFC 9568 7.2).

use super::family::pseudo_header;
use super::{AUTH_DATA, AUTH_NONE, AUTH_SIMPLE, HEADER, IpAddress, TYPE_ADVERTISEMENT};
use crate::units::{Interval, MacAddress, Priority, Version, Vrid};
use crate::wire::checksum::Sum;
use crate::wire::{ethernet, ipv6};

/// An advert with all its headers.
#[derive(Clone, Copy, Debug)]
pub struct AdvertFrame<'a, A = [u8; 4]> {
    /// Source MAC: the virtual MAC, or the interface's own. RFC 9568 7.2: "Set the source MAC address to the Virtual
    /// Router MAC address".
    pub source_mac: MacAddress,
    /// Source address: the interface's primary address (RFC 9568 5.1.1.1); over IPv6, its link-local address (5.1.2.1).
    pub source: A,
    /// Version of the protocol.
    pub version: Version,
    /// VRID of the virtual router.
    pub vrid: Vrid,
    /// Priority; 0 gives up the role.
    pub priority: Priority,
    /// Interval of our adverts.
    pub interval: Interval,
    /// Addresses of the virtual router in configured order, at most [`IpAddress::MAX_ADDRESSES`]. RFC 9568 5.2.9: "For
    /// IPv6, the first address MUST be the IPv6 link-local address associated with the Virtual Router." The
    /// configuration is checked for that, and for a list without any address, unless it says that they are wanted.
    pub addresses: &'a [A],
    /// Whether the checksum of version 3 over IPv4 covers the pseudo-header. That of version 2 never does, that over
    /// IPv6 always does.
    pub pseudo_header_checksum: bool,
    /// Zero-padded password of version 2, sent with authentication type 1. Version 3 has none.
    pub password: Option<[u8; AUTH_DATA]>,
}

/// Length of the longest frame that [`AdvertFrame::emit`] writes: with as many IPv6 addresses as an advert can carry.
pub const MAX_FRAME: usize =
    ethernet::HEADER + ipv6::HEADER + HEADER + <[u8; 16]>::LENGTH * <[u8; 16] as IpAddress>::MAX_ADDRESSES;

const CHECKSUM_OFFSET: usize = 6;

impl<A: IpAddress> AdvertFrame<'_, A> {
    /// Writes the frame and returns its length. Returns `None` if the buffer is too small, or if this version and
    /// family cannot express the interval or the addresses. RFC 9568 5.2.6, 7.2 (conformance 10, 53): "The Reserve
    /// field MUST be set to zero on transmission", "Send the VRRP packet to the VRRP IPvX multicast group".
    pub fn emit(&self, buffer: &mut [u8]) -> Option<usize> {
        let (ethernet_header, packet) = buffer.split_at_mut_checked(ethernet::HEADER)?;
        let length = self.emit_packet(A::GROUP, packet)?;
        ethernet_header.copy_from_slice(&ethernet::emit(A::GROUP_MAC, self.source_mac, A::ETHER_TYPE));
        Some(ethernet::HEADER + length)
    }

    /// Writes the IP packet alone, addressed to `destination`, and returns its length. Returns `None` as [`Self::emit`]
    /// does.
    pub fn emit_packet(&self, destination: A, buffer: &mut [u8]) -> Option<usize> {
        let addresses = A::bytes(self.addresses);
        let address_count = u8::try_from(self.addresses.len()).ok()?;
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

    /// Returns the two bytes before the checksum, or `None` if they cannot hold the interval or it is 0 (RFC 9568
    /// erratum 8301).
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

/// Returns the sum of the addresses of an advert. Two lists can be compared by their sums, without storing the lists:
/// equal lists have equal sums.
pub fn address_sum<A: IpAddress>(addresses: &[A]) -> u16 {
    Sum::of(A::bytes(addresses)).get()
}
