//! VRRP adverts: version 3 (RFC 9568) over IPv4 and IPv6, and version 2 (RFC 3768, authentication from RFC 2338).

mod decode;
mod emit;
mod family;
#[cfg(test)]
mod tests;

pub use decode::{Advert, Authentication, Checksums, Discard, Policy, vrid};
pub use emit::{AdvertFrame, MAX_FRAME, address_sum};
pub use family::{Carrier, IpAddress};

/// IP protocol number (RFC 9568 5.1.1.4, 5.1.2.4).
pub const PROTOCOL: u8 = 112;
/// Where adverts over IPv4 go (RFC 9568 5.1.1.2).
pub const GROUP: [u8; 4] = [224, 0, 0, 18];
/// Where adverts over IPv6 go, ff02::12 (RFC 9568 5.1.2.2).
pub const GROUP_IPV6: [u8; 16] = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12];
/// The only TTL or hop limit of an advert that was not routed (RFC 9568 5.1.1.3, 5.1.2.3).
pub const HOP_LIMIT: u8 = 255;

/// The only type of message (RFC 9568 5.2.2).
const TYPE_ADVERTISEMENT: u8 = 1;
/// Length of both versions' header.
const HEADER: usize = 8;
const VRID_OFFSET: usize = 1;
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
    /// The pseudo-header: version 3 over IPv6, and over IPv4 in RFC 5798 5.2.8, as keepalived and FRR send it.
    PseudoHeader,
}
