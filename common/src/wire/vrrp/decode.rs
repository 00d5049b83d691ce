//! What is heard: all of RFC 9568 7.1 and RFC 3768 7.1 that a packet alone can be judged by.

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
    /// The version that it is in.
    pub version: Version,
    /// Its sender's priority.
    pub priority: Priority,
    /// Its sender's interval.
    pub interval: Interval,
    /// How many addresses it lists.
    pub address_count: u8,
    /// See [`super::address_sum`].
    pub address_sum: u16,
    /// The form that the checksum had.
    pub checksum: ChecksumForm,
}

/// What a virtual router asks of the adverts that it hears.
#[derive(Clone, Copy, Debug)]
pub struct Policy<A = [u8; 4]> {
    /// Form of version 3 over IPv4; version 2 has the plain form only, IPv6 only the other.
    pub checksums: Checksums,
    /// Our own interval, which version 2 demands of everyone.
    pub interval: Interval,
    /// Authentication of version 2.
    pub authentication: Authentication,
    /// Where our own adverts leave from.
    pub own_source: A,
}

/// The forms of the checksum that are taken from version 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// RFC 9568's and RFC 5798's.
    Either,
    /// This one.
    Only(ChecksumForm),
}

/// Authentication of version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Type 0: none.
    None,
    /// Zero-padded.
    Password([u8; AUTH_DATA]),
}

/// Why an advert is discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// TTL or hop limit is below what it must be at least.
    TimeToLive,
    /// It is a fragment.
    Fragment,
    /// It is in another version.
    Version,
    /// It is no ADVERTISEMENT.
    Type,
    /// It lists no address.
    NoAddress,
    /// It is shorter or longer than its address count says.
    Length,
    /// The checksum is in no form that is accepted.
    Checksum,
    /// Its interval is 0.
    IntervalZero,
    /// Version 2: it has another authentication type or password.
    Authentication,
    /// Version 2: it has another interval than ours.
    IntervalMismatch,
    /// Over IPv6: not link-local.
    FirstAddress,
    /// It comes from our own primary address.
    OwnSource,
    /// Not among the sources that the virtual router is restricted to; this module knows of none.
    ForbiddenSource,
    /// To the group, where only unicast is heard; this module does not look at it.
    Multicast,
}

impl From<Truncated> for Discard {
    fn from(_: Truncated) -> Self {
        Self::Length
    }
}

/// The VRID of the advert in `ip`, however wrong the rest is; `None` if the payload ends before it.
#[inline(always)]
pub fn vrid<P: Packet + ?Sized>(packet: &P, ip: &impl Carrier) -> Option<u8> {
    if ip.payload_length() <= VRID_OFFSET {
        return None;
    }
    let [vrid] = packet.read(ip.payload() + VRID_OFFSET).ok()?;
    Some(vrid)
}

impl Advert {
    /// Judges the payload of `ip` as a virtual router of this version and policy does, in the order of RFC 9568 7.1 and
    /// RFC 3768 7.1. `least_hop_limit` is [`HOP_LIMIT`](super::HOP_LIMIT), but for a unicast peer behind routers. The policy is asked for last: each of its branches would double what the verifier has to walk
    /// through behind it (conformance 15, 18).
    ///
    /// # Errors
    ///
    /// Fails with the reason for which the advert is to be discarded.
    #[inline(always)]
    pub fn decode<P: Summed + ?Sized, C: Carrier>(
        packet: &P,
        ip: &C,
        version: Version,
        least_hop_limit: u8,
        policy: impl FnOnce() -> Policy<C::Address>,
    ) -> Result<Self, Discard> {
        let message = Message::decode(packet, ip, version, least_hop_limit)?;
        let policy = policy();
        let (checksum, interval) = match version {
            Version::V3 => message.check_v3(ip, policy.checksums)?,
            Version::V2 => message.check_v2(policy.interval, policy.authentication)?,
        };
        // RFC 9568 5.2.9, erratum 8300
        if !C::Address::may_be_first(message.first_address) {
            return Err(Discard::FirstAddress);
        }
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

/// A message that is complete and whose length is right, whatever it says.
struct Message {
    priority: u8,
    address_count: u8,
    /// The two bytes before the checksum.
    fields: [u8; 2],
    /// How it starts.
    first_address: [u8; 2],
    /// Sum over the addresses.
    addresses: Sum,
    /// Length of the whole message.
    sum: Sum,
    /// Authentication data of version 2; zero in version 3.
    authentication_data: [u8; AUTH_DATA],
}

impl Message {
    // conformance 1, 2, 3, 4, 5, 9
    #[inline(always)]
    fn decode<P: Summed + ?Sized, C: Carrier>(
        packet: &P,
        ip: &C,
        version: Version,
        least_hop_limit: u8,
    ) -> Result<Self, Discard> {
        // RFC 9568 5.1.1.3, 5.1.2.3
        if ip.hop_limit() < least_hop_limit {
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
        // RFC 9568 7.1
        if version_type >> 4 != version as u8 {
            return Err(Discard::Version);
        }
        // RFC 9568 5.2.2
        if version_type & 0x0f != TYPE_ADVERTISEMENT {
            return Err(Discard::Type);
        }
        // RFC 9568 5.2.5, erratum 8299
        if address_count == 0 {
            return Err(Discard::NoAddress);
        }

        let addresses_length = C::Address::LENGTH * usize::from(address_count);
        let authentication_length = match version {
            Version::V2 => AUTH_DATA,
            Version::V3 => 0,
        };
        // RFC 9568 7.1; nothing may follow either, as keepalived and FRR have it.
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
            first_address: packet.read(start + HEADER)?,
            addresses,
            sum: Sum::of(&header).add(addresses).add(Sum::of(&authentication_data)),
            authentication_data,
        })
    }

    /// RFC 9568 5.2.8 and RFC 5798 5.2.8. The rare message that is valid in both forms has the one that most routers
    /// send. Reserved bits are ignored (RFC 9568 5.2.6, conformance 6, 8, 10).
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
        // RFC 9568 erratum 8301
        if centiseconds == 0 {
            return Err(Discard::IntervalZero);
        }
        Ok((form, Interval::from_centiseconds(centiseconds)))
    }

    /// RFC 3768 7.1 (conformance 6, 8, 12, 17); RFC 2338 7.1 for the password.
    #[inline(always)]
    fn check_v2(
        &self,
        expected: Interval,
        authentication: Authentication,
    ) -> Result<(ChecksumForm, Interval), Discard> {
        // RFC 3768 5.3.8
        if !self.sum.is_valid() {
            return Err(Discard::Checksum);
        }
        let [auth_type, seconds] = self.fields;
        if seconds == 0 {
            return Err(Discard::IntervalZero);
        }
        match authentication {
            Authentication::None if auth_type == AUTH_NONE => {}
            Authentication::Password(password) if auth_type == AUTH_SIMPLE && password == self.authentication_data => {}
            Authentication::None | Authentication::Password(_) => return Err(Discard::Authentication),
        }
        let interval = Interval::from_seconds(seconds);
        if interval != expected {
            return Err(Discard::IntervalMismatch);
        }
        Ok((ChecksumForm::Plain, interval))
    }
}

/// The lower 12 bits of the word that they share with the reserved ones (RFC 9568 5.2.6, 5.2.7).
const MAX_ADVERTISE_INTERVAL: u16 = 0x0fff;
