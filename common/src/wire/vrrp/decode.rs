//! Decodes adverts, with all checks of RFC 9568 7.1 and RFC 3768 7.1 that need nothing but the packet and the
//! configuration.

use super::family::pseudo_header;
use super::{
    AUTH_DATA, AUTH_NONE, AUTH_SIMPLE, Carrier, ChecksumForm, HEADER, IpAddress, TYPE_ADVERTISEMENT, VRID_OFFSET,
};
use crate::units::{Interval, Priority, Version};
use crate::wire::checksum::Sum;
use crate::wire::{Packet, Summed, Truncated};

/// A valid advert. Version 3 (RFC 9568 5.1) and version 2 (RFC 3768 5.1):
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Version| Type  | Virtual Rtr ID|   Priority    | IPvX Addr Cnt |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Reserve| Max Advertise Interval|          Checksum             |  version 3, centiseconds
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |   Auth Type   |   Adver Int   |          Checksum             |  version 2, seconds
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                       IPvX Address(es)                        |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                     Authentication Data                       |  version 2
/// +                               +                               +
/// |                                                               |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Version of the protocol.
    pub version: Version,
    /// Priority of the sender.
    pub priority: Priority,
    /// Advertisement interval of the sender.
    pub interval: Interval,
    /// Number of addresses in the advert.
    pub address_count: u8,
    /// Sum of the addresses, as [`super::address_sum`] computes it.
    pub address_sum: u16,
    /// Form of the checksum.
    pub checksum: ChecksumForm,
}

/// The requirements that an advert must meet, apart from those of the protocol.
#[derive(Clone, Copy, Debug)]
pub struct Policy<A = [u8; 4]> {
    /// Accepted forms of the checksum of version 3 over IPv4. Version 2 only has the plain form, IPv6 only the other.
    pub checksums: Checksums,
    /// Our own interval. Version 2 requires that the sender has the same.
    pub interval: Interval,
    /// Authentication of version 2.
    pub authentication: Authentication,
    /// Source of our own adverts.
    pub own_source: A,
}

/// Lists of addresses that are accepted although RFC 9568 7.1 says that they must be discarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tolerance {
    /// Accepts an advert without addresses: the virtual router itself has none.
    pub no_address: bool,
    /// Accepts any first address over IPv6, not only a link-local one.
    pub any_first: bool,
}

/// Accepted forms of the checksum of version 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// The forms of both RFC 9568 and RFC 5798.
    Either,
    /// Only this form.
    Only(ChecksumForm),
}

/// Authentication of version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Type 0, no authentication.
    None,
    /// Type 1, with this zero-padded password.
    Password([u8; AUTH_DATA]),
}

/// Reason why an advert is discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// The TTL or hop limit is below the minimum.
    TimeToLive,
    /// The packet is a fragment.
    Fragment,
    /// The advert is of another version.
    Version,
    /// The message is not an ADVERTISEMENT.
    Type,
    /// The address count is 0.
    NoAddress,
    /// The advert is shorter or longer than its address count says.
    Length,
    /// The checksum is valid in no accepted form.
    Checksum,
    /// The advertisement interval is 0.
    IntervalZero,
    /// The authentication type or the password differs (version 2).
    Authentication,
    /// The advertisement interval is not ours (version 2).
    IntervalMismatch,
    /// The first address is not link-local (IPv6).
    FirstAddress,
    /// The source is our own primary address.
    OwnSource,
    /// The source is not allowed. The caller checks this, not the decoder.
    ForbiddenSource,
    /// The advert is addressed to the group although only unicast is accepted. The caller checks this, not the decoder.
    Multicast,
}

impl From<Truncated> for Discard {
    fn from(_: Truncated) -> Self {
        Self::Length
    }
}

/// Reads the VRID of the advert in `ip`, however invalid the rest of it is. Returns `None` if the payload ends before
/// the VRID.
#[inline(always)]
pub fn vrid<P: Packet + ?Sized>(packet: &P, ip: &impl Carrier) -> Option<u8> {
    if ip.payload_length() <= VRID_OFFSET {
        return None;
    }
    let [vrid] = packet.read(ip.payload() + VRID_OFFSET).ok()?;
    Some(vrid)
}

impl Advert {
    /// Decodes and verifies the payload of `ip` for a virtual router of this version and policy, in the order of
    /// RFC 9568 7.1 and RFC 3768 7.1.
    ///
    /// `min_hop_limit` is [`HOP_LIMIT`](super::HOP_LIMIT), except for a unicast peer behind routers. `policy` is
    /// called as late as possible, because each branch in it doubles the paths that the verifier has to follow
    /// afterwards.
    ///
    /// # Errors
    /// The advert must be discarded, for the reason that the error names.
    #[inline(always)]
    pub fn decode<P: Summed + ?Sized, C: Carrier>(
        packet: &P,
        ip: &C,
        version: Version,
        min_hop_limit: u8,
        tolerance: Tolerance,
        policy: impl FnOnce() -> Policy<C::Address>,
    ) -> Result<Self, Discard> {
        let message = Message::decode(packet, ip, version, min_hop_limit, tolerance)?;
        let policy = policy();
        let (checksum, interval) = match version {
            Version::V3 => message.check_v3(ip, policy.checksums)?,
            Version::V2 => message.check_v2(policy.interval, policy.authentication)?,
        };
        // RFC 9568 7.1, erratum 8300 (conformance 15): "It MUST verify that the first address in the IPvX Address(es)
        // field is an IPv6 link-local address."
        if !tolerance.any_first && message.address_count > 0 && !C::Address::may_be_first(message.first_address) {
            return Err(Discard::FirstAddress);
        }
        // A router's own packet never counts as a peer's (RFC 9568 7.1, conformance 18).
        if ip.source() == policy.own_source {
            return Err(Discard::OwnSource);
        }
        Ok(Self {
            version,
            priority: Priority::new(message.priority),
            interval,
            address_count: message.address_count,
            address_sum: message.addresses.get(),
            checksum,
        })
    }
}

/// A message that is complete and has the right length, but whose content is not verified.
struct Message {
    priority: u8,
    address_count: u8,
    /// The two bytes before the checksum.
    fields: [u8; 2],
    /// The first two bytes of the first address; zero if there is none.
    first_address: [u8; 2],
    /// Sum over the addresses.
    addresses: Sum,
    /// Sum over the whole message.
    sum: Sum,
    /// Authentication data of version 2; zero in version 3.
    authentication_data: [u8; AUTH_DATA],
}

impl Message {
    #[inline(always)]
    fn decode<P: Summed + ?Sized, C: Carrier>(
        packet: &P,
        ip: &C,
        version: Version,
        min_hop_limit: u8,
        tolerance: Tolerance,
    ) -> Result<Self, Discard> {
        // RFC 9568 5.1.1.3 (conformance 1, 2): "A VRRP Router receiving a packet with the TTL not equal to 255 MUST
        // discard the packet"; 5.1.2.3 says the same of the Hop Limit.
        if ip.hop_limit() < min_hop_limit {
            return Err(Discard::TimeToLive);
        }
        if ip.is_fragment() {
            return Err(Discard::Fragment);
        }
        let (start, length) = (ip.payload(), ip.payload_length());
        if length < HEADER {
            return Err(Discard::Length);
        }
        let header = packet.read::<HEADER>(start)?;
        let [version_type, _, priority, address_count, b4, b5, _, _] = header;
        // RFC 9568 7.1 (conformance 3): "It MUST verify that the VRRP version is 3."
        if version_type >> 4 != version as u8 {
            return Err(Discard::Version);
        }
        // RFC 9568 5.2.2 (conformance 4): "A packet with unknown type MUST be discarded."
        if version_type & 0x0f != TYPE_ADVERTISEMENT {
            return Err(Discard::Type);
        }
        // RFC 9568 7.1, erratum 8299 (conformance 9): "It MUST verify that IPvX Addr Count is non zero."
        if address_count == 0 && !tolerance.no_address {
            return Err(Discard::NoAddress);
        }

        let addresses_length = C::Address::LENGTH * usize::from(address_count);
        let authentication_length = match version {
            Version::V2 => AUTH_DATA,
            Version::V3 => 0,
        };
        // RFC 9568 7.1 (conformance 5): "It MUST verify that the received packet contains the complete VRRP packet". In
        // addition, nothing may follow it, which keepalived and FRR demand too.
        if length != HEADER + addresses_length + authentication_length {
            return Err(Discard::Length);
        }
        let addresses = packet.sum(start + HEADER, addresses_length)?;
        let authentication_data = match version {
            Version::V2 => packet.read(start + HEADER + addresses_length)?,
            Version::V3 => [0; AUTH_DATA],
        };
        Ok(Self {
            priority,
            address_count,
            fields: [b4, b5],
            first_address: if address_count == 0 { [0; 2] } else { packet.read(start + HEADER)? },
            addresses,
            sum: Sum::of(&header).add(addresses).add(Sum::of(&authentication_data)),
            authentication_data,
        })
    }

    /// Verifies checksum and interval of version 3. RFC 9568 7.1 (conformance 6): "It MUST verify the VRRP checksum." A
    /// message that happens to be valid in both forms (RFC 9568 5.2.8, RFC 5798 5.2.8) is taken to have the form that
    /// most routers send. RFC 9568 5.2.6 (conformance 10): "The Reserve field MUST be set to zero on transmission and
    /// ignored on reception."
    #[inline(always)]
    fn check_v3<C: Carrier>(&self, ip: &C, accepted: Checksums) -> Result<(ChecksumForm, Interval), Discard> {
        let plain = C::Address::PLAIN_CHECKSUM;
        let covered = self.sum.add(pseudo_header(ip.source(), ip.destination(), ip.payload_length()));
        let form = if covered.is_valid() && !(plain && accepted == Checksums::Only(ChecksumForm::Plain)) {
            ChecksumForm::PseudoHeader
        } else if plain && self.sum.is_valid() && accepted != Checksums::Only(ChecksumForm::PseudoHeader) {
            ChecksumForm::Plain
        } else {
            return Err(Discard::Checksum);
        };
        let centiseconds = u16::from_be_bytes(self.fields) & MAX_ADVERTISE_INTERVAL;
        // RFC 9568 7.1, erratum 8301 (conformance 8): "It MUST verify that the Max Advertise Interval is non zero."
        if centiseconds == 0 {
            return Err(Discard::IntervalZero);
        }
        Ok((form, Interval::from_centiseconds(centiseconds)))
    }

    /// Verifies checksum, authentication and interval of version 2. Passwords are from RFC 2338 7.1.
    #[inline(always)]
    fn check_v2(
        &self,
        expected: Interval,
        authentication: Authentication,
    ) -> Result<(ChecksumForm, Interval), Discard> {
        // RFC 3768 7.1 (conformance 6): "MUST verify the VRRP checksum"
        if !self.sum.is_valid() {
            return Err(Discard::Checksum);
        }
        let [auth_type, seconds] = self.fields;
        // As in version 3, an interval of zero is discarded (conformance 8).
        if seconds == 0 {
            return Err(Discard::IntervalZero);
        }
        // RFC 3768 7.1 (conformance 17): "MUST verify that the Auth Type matches the locally configured authentication
        // method".
        match authentication {
            Authentication::None if auth_type == AUTH_NONE => {}
            Authentication::Password(password) if auth_type == AUTH_SIMPLE && password == self.authentication_data => {}
            Authentication::None | Authentication::Password(_) => return Err(Discard::Authentication),
        }
        let interval = Interval::from_seconds(seconds);
        // RFC 3768 7.1 (conformance 12): "MUST verify that the Adver Interval in the packet is the same as the locally
        // configured for this virtual router"
        if interval != expected {
            return Err(Discard::IntervalMismatch);
        }
        Ok((ChecksumForm::Plain, interval))
    }
}

/// Mask of the interval, whose 12 bits share a word with the reserved bits (RFC 9568 5.2.6, 5.2.7).
const MAX_ADVERTISE_INTERVAL: u16 = 0x0fff;
