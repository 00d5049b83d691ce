//! What is sent (RFC 9568 7.2).

use super::{
    ADDRESS, AUTH_DATA, AUTH_NONE, AUTH_SIMPLE, GROUP, HEADER, PROTOCOL, TIME_TO_LIVE, TYPE_ADVERTISEMENT,
    pseudo_header,
};
use crate::units::{Interval, MacAddress, Priority, Version, Vrid};
use crate::wire::checksum::Sum;
use crate::wire::{ethernet, ipv4};

/// An advert over IPv4 with everything around it.
#[derive(Clone, Copy, Debug)]
pub struct AdvertFrame<'a> {
    /// The virtual MAC (RFC 9568 7.2), or the interface's own.
    pub source_mac: MacAddress,
    /// The interface's primary address (RFC 9568 5.1.1.1).
    pub source: [u8; 4],
    pub version: Version,
    pub vrid: Vrid,
    pub priority: Priority,
    pub interval: Interval,
    /// One to 255, in configured order.
    pub addresses: &'a [[u8; 4]],
    /// Version 3: whether the checksum covers the pseudo-header. Version 2 never has it.
    pub pseudo_header_checksum: bool,
    /// Version 2: authentication type 1 with this zero-padded password. Version 3 has none.
    pub password: Option<[u8; AUTH_DATA]>,
}

/// As many addresses as the count field can say.
pub const MAX_ADDRESSES: usize = u8::MAX as usize;

/// The longest frame that [`AdvertFrame::emit`] writes: version 2 with [`MAX_ADDRESSES`].
pub const MAX_FRAME: usize = MESSAGE_OFFSET + HEADER + ADDRESS * MAX_ADDRESSES + AUTH_DATA;

const MESSAGE_OFFSET: usize = ethernet::HEADER + ipv4::HEADER;
const CHECKSUM_OFFSET: usize = 6;

impl AdvertFrame<'_> {
    /// Writes the frame and returns its length. `None` if the buffer is too small, or if the interval or the number of
    /// addresses cannot be said in this version.
    pub fn emit(&self, buffer: &mut [u8]) -> Option<usize> {
        let address_count = u8::try_from(self.addresses.len()).ok().filter(|count| *count > 0)?;
        let (b4, b5) = self.version_fields()?;
        let authentication: &[u8] = match self.version {
            Version::V2 => &self.password.unwrap_or_default(),
            Version::V3 => &[],
        };
        let message_length = HEADER + ADDRESS * self.addresses.len() + authentication.len();

        let frame = buffer.get_mut(..MESSAGE_OFFSET + message_length)?;
        let (headers, message) = frame.split_at_mut(MESSAGE_OFFSET);
        let (ethernet_header, ip_header) = headers.split_at_mut(ethernet::HEADER);
        ethernet_header.copy_from_slice(&ethernet::emit(
            MacAddress::VRRP_IPV4_MULTICAST,
            self.source_mac,
            ethernet::TYPE_IPV4,
        ));
        ip_header.copy_from_slice(&ipv4::emit(self.source, GROUP, TIME_TO_LIVE, PROTOCOL, message_length)?);

        let version_type = (self.version as u8) << 4 | TYPE_ADVERTISEMENT;
        let (header, body) = message.split_at_mut(HEADER);
        header.copy_from_slice(&[version_type, self.vrid.get(), self.priority.get(), address_count, b4, b5, 0, 0]);
        let (addresses, trailer) = body.split_at_mut(ADDRESS * self.addresses.len());
        addresses.copy_from_slice(self.addresses.as_flattened());
        trailer.copy_from_slice(authentication);

        let mut sum = Sum::of(message);
        if self.version == Version::V3 && self.pseudo_header_checksum {
            sum = sum.add(pseudo_header(self.source, GROUP, message_length));
        }
        message[CHECKSUM_OFFSET..HEADER].copy_from_slice(&sum.checksum());
        Some(MESSAGE_OFFSET + message_length)
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
pub fn address_sum(addresses: &[[u8; 4]]) -> u16 {
    Sum::of(addresses.as_flattened()).get()
}
