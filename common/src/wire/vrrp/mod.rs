//! VRRP adverts: version 3 (RFC 9568) over IPv4 and IPv6, and version 2 (RFC 3768, with authentication from RFC 2338).

mod decode;
mod emit;
mod family;
#[cfg(test)]
mod tests;

pub use decode::{Advert, Authentication, Checksums, Discard, Policy, Tolerance, vrid};
pub use emit::{AdvertFrame, MAX_FRAME, address_sum};
pub use family::{Carrier, IpAddress};

/// IP protocol number of VRRP (RFC 9568 5.1.1.4, 5.1.2.4).
pub const PROTOCOL: u8 = 112;
/// Destination of adverts over IPv4 (RFC 9568 5.1.1.2).
pub const GROUP: [u8; 4] = [224, 0, 0, 18];
/// Destination of adverts over IPv6, ff02::12 (RFC 9568 5.1.2.2).
pub const GROUP_IPV6: [u8; 16] = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12];
/// TTL or hop limit of an advert that no router has forwarded. RFC 9568 5.1.1.3: "The TTL MUST be set to 255." 5.1.2.3:
/// "The Hop Limit MUST be set to 255."
pub const HOP_LIMIT: u8 = 255;

/// The only type of message (RFC 9568 5.2.2).
const TYPE_ADVERTISEMENT: u8 = 1;
/// Length of the header in both versions.
const HEADER: usize = 8;
const VRID_OFFSET: usize = 1;
/// Length of the authentication data in version 2 (RFC 2338 5.3.10).
const AUTH_DATA: usize = 8;
/// Authentication type without authentication (RFC 3768 5.3.6).
const AUTH_NONE: u8 = 0;
/// Authentication type of a password in clear text (RFC 2338 5.3.6).
const AUTH_SIMPLE: u8 = 1;

/// Form of the checksum of an advert: the data that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumForm {
    /// Covers the message alone: version 2, and version 3 over IPv4 in RFC 9568 5.2.8.
    Plain,
    /// Covers the pseudo-header too: version 3 over IPv6, and over IPv4 in RFC 5798 5.2.8, as keepalived and FRR send
    /// it.
    PseudoHeader,
}
