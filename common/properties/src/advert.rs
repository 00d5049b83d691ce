//! Properties of the decoder of adverts.

use xvrrp_common::units::{Interval, MacAddress, Version, Vrid};
use xvrrp_common::wire::checksum::Sum;
use xvrrp_common::wire::vrrp::{
    Advert, AdvertFrame, Authentication, Carrier, ChecksumForm, Checksums, Discard, HOP_LIMIT, IpAddress, MAX_FRAME,
    Policy, Tolerance, vrid,
};

use super::peer::Peer;
use super::{Seen, Watched, padded};

/// Decodes the bytes as the message of an advert in an unfragmented IPv4 packet: as they are, and with a corrected
/// checksum, so that the checks after the checksum are reached.
pub fn advert(bytes: &[u8], seen: Seen<'_>) {
    advert_over::<[u8; 4]>(bytes, seen);
}

/// Does the same as [`advert`] over IPv6.
pub fn advert_ipv6(bytes: &[u8], seen: Seen<'_>) {
    advert_over::<[u8; 16]>(bytes, seen);
}

fn advert_over<A: Peer>(bytes: &[u8], seen: Seen<'_>) {
    judge::<A>(bytes, seen);
    if bytes.len() < 8 {
        return;
    }
    let mut repaired = bytes.to_vec();
    for covered in [Sum::ZERO, A::pseudo_header(bytes.len())] {
        repaired[6..8].fill(0);
        let checksum = Sum::of(&repaired).add(covered).checksum();
        repaired[6..8].copy_from_slice(&checksum);
        judge::<A>(&repaired, seen);
    }
}

/// Decodes the message for every kind of virtual router.
fn judge<A: Peer>(message: &[u8], seen: Seen<'_>) {
    let password = message.last_chunk().copied().unwrap_or_default();
    let policy = Policy {
        checksums: Checksums::Either,
        interval: Interval::from_seconds(message.get(5).copied().unwrap_or_default()),
        authentication: Authentication::None,
        own_source: A::OURS,
    };
    // There is no version 2 over IPv6.
    let versions: &[Version] = if A::PLAIN_CHECKSUM { &[Version::V3, Version::V2] } else { &[Version::V3] };
    for version in versions {
        for policy in [
            policy,
            Policy { checksums: Checksums::Only(ChecksumForm::Plain), ..policy },
            Policy { checksums: Checksums::Only(ChecksumForm::PseudoHeader), ..policy },
            Policy { authentication: Authentication::Password(password), ..policy },
            Policy { interval: Interval::from_seconds(255), ..policy },
            Policy { own_source: A::PEER, ..policy },
        ] {
            for no_address in [false, true] {
                for any_first in [false, true] {
                    judge_by(message, *version, Tolerance { no_address, any_first }, &policy, seen);
                }
            }
        }
    }
}

fn judge_by<A: Peer>(message: &[u8], version: Version, tolerance: Tolerance, policy: &Policy<A>, seen: Seen<'_>) {
    let ip = A::carrier(A::PEER, message.len());
    let start = ip.payload();
    let frame = [&vec![0; start][..], message].concat();
    let decode = |frame: &[u8], ip: &A::Header| Advert::decode(frame, ip, version, HOP_LIMIT, tolerance, || *policy);
    // Bytes outside the packet do not affect the outcome.
    let long = padded(&frame);
    let watched = Watched::new(&long);
    let decoded = Advert::decode(&watched, &ip, version, HOP_LIMIT, tolerance, || *policy);
    assert!(watched.end.get() <= frame.len(), "the padding was read");
    assert_eq!(decode(&frame, &ip), decoded);
    assert_eq!(vrid(frame.as_slice(), &ip), message.get(1).copied());
    let advert = match decoded {
        Ok(advert) => advert,
        Err(discard) => return seen(name(discard)),
    };
    for cut in [0, message.len() / 2, message.len() - 1] {
        assert_eq!(decode(&frame[..start + cut], &ip), Err(Discard::Length));
        assert_eq!(decode(&frame[..start + cut], &A::shortened(ip, cut)), Err(Discard::Length));
    }
    for (spoiled, discard) in A::spoiled(ip) {
        assert_eq!(decode(&frame, &spoiled), Err(discard));
        // The minimum for a unicast peer behind one router is lower.
        if discard == Discard::TimeToLive {
            let nearly = Advert::decode(frame.as_slice(), &spoiled, version, HOP_LIMIT - 1, tolerance, || *policy);
            assert_eq!(nearly, decoded);
        }
    }
    assert_eq!(message[0], (version as u8) << 4 | 1);
    assert_eq!((advert.priority.get(), advert.address_count), (message[2], message[3]));
    let authentication = if version == Version::V2 { 8 } else { 0 };
    let addresses = message[8..message.len() - authentication].chunks_exact(A::LENGTH);
    assert_eq!((addresses.len(), addresses.remainder()), (usize::from(advert.address_count), &[][..]));
    let addresses: Vec<A> = addresses.map(narrow).collect();
    assert!(tolerance.no_address || !addresses.is_empty());
    if let Some(vrid) = Vrid::new(message[1]) {
        let sent = AdvertFrame {
            source_mac: MacAddress::of_virtual_router(A::FAMILY, vrid),
            source: A::PEER,
            version,
            vrid,
            priority: advert.priority,
            interval: advert.interval,
            addresses: &addresses,
            pseudo_header_checksum: advert.checksum == ChecksumForm::PseudoHeader,
            password: match policy.authentication {
                Authentication::Password(password) => Some(password),
                Authentication::None => None,
            },
        };
        let mut buffer = [0; MAX_FRAME];
        let length = sent.emit(&mut buffer).expect("an advert that was decoded can be emitted");
        // A message that is valid in both forms is decoded as the form with the pseudo-header.
        let again = decode(&buffer[..length], &A::decoded(&buffer[..length]));
        assert_eq!(again.map(|again| Advert { checksum: advert.checksum, ..again }), Ok(advert));
    }
    seen(if version == Version::V3 { "version 3" } else { "version 2" });
}

fn narrow<A: IpAddress>(bytes: &[u8]) -> A {
    let mut wide = [0; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    A::narrow(wide)
}

fn name(discard: Discard) -> &'static str {
    match discard {
        Discard::TimeToLive => "TimeToLive",
        Discard::Fragment => "Fragment",
        Discard::Version => "Version",
        Discard::Type => "Type",
        Discard::NoAddress => "NoAddress",
        Discard::Length => "Length",
        Discard::Checksum => "Checksum",
        Discard::IntervalZero => "IntervalZero",
        Discard::Authentication => "Authentication",
        Discard::IntervalMismatch => "IntervalMismatch",
        Discard::FirstAddress => "FirstAddress",
        Discard::OwnSource => "OwnSource",
        Discard::ForbiddenSource => "ForbiddenSource",
        Discard::Multicast => "Multicast",
    }
}
