//! VRRP adverts over IPv4: version 3 (RFC 9568) and version 2 (RFC 3768, authentication from RFC 2338).

mod decode;
mod emit;
#[cfg(test)]
mod tests;

pub use decode::{Advert, Authentication, Checksums, Discard, Policy, vrid};
pub use emit::{AdvertFrame, MAX_ADDRESSES, MAX_FRAME, address_sum};

use super::checksum::Sum;

/// IP protocol number (RFC 9568 5.1.1.4).
pub const PROTOCOL: u8 = 112;
/// Where adverts over IPv4 go (RFC 9568 5.1.1.2).
pub const GROUP: [u8; 4] = [224, 0, 0, 18];
/// The only TTL of an advert that was not routed (RFC 9568 5.1.1.3).
pub const TIME_TO_LIVE: u8 = 255;

/// The only type of message (RFC 9568 5.2.2).
const TYPE_ADVERTISEMENT: u8 = 1;
/// Length of both versions' header.
const HEADER: usize = 8;
const VRID_OFFSET: usize = 1;
/// Length of an IPv4 address.
const ADDRESS: usize = 4;
/// Length of version 2's authentication data (RFC 2338 5.3.10).
const AUTH_DATA: usize = 8;
/// No authentication (RFC 3768 5.3.6).
const AUTH_NONE: u8 = 0;
/// A password in clear text (RFC 2338 5.3.6).
const AUTH_SIMPLE: u8 = 1;

/// Which bytes the checksum of an advert covers besides the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumForm {
    /// Nothing else: version 2, and version 3 over IPv4 in RFC 9568 5.2.8.
    Plain,
    /// The pseudo-header: version 3 over IPv4 in RFC 5798 5.2.8, as keepalived and FRR send it.
    PseudoHeader,
}

/// The sum over the pseudo-header (RFC 5798 5.2.8, after RFC 2460 8.1).
#[inline(always)]
fn pseudo_header(source: [u8; 4], destination: [u8; 4], message_length: usize) -> Sum {
    let [.., l0, l1] = message_length.to_be_bytes();
    Sum::of(&source).add(Sum::of(&destination)).add(Sum::of(&[0, PROTOCOL, l0, l1]))
}
