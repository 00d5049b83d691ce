use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::units::{Interval, MacAddress, Priority, Version, Vrid};
use crate::wire::checksum::Sum;
use crate::wire::{ipv4, ipv6};

const SOURCE: [u8; 4] = [192, 0, 2, 2];
const IP: usize = 14;
const MESSAGE: usize = 34;
const STRICT: Tolerance = Tolerance { no_address: false, any_first: false };

fn frame(version: Version, addresses: &[[u8; 4]]) -> AdvertFrame<'_> {
    let vrid = Vrid::new(51).unwrap();
    AdvertFrame {
        source_mac: MacAddress::virtual_ipv4(vrid),
        source: SOURCE,
        version,
        vrid,
        priority: Priority::new(200),
        interval: Interval::from_seconds(1),
        addresses,
        pseudo_header_checksum: true,
        password: None,
    }
}

fn policy() -> Policy {
    Policy {
        checksums: Checksums::Either,
        interval: Interval::from_seconds(1),
        authentication: Authentication::None,
        own_source: [192, 0, 2, 3],
    }
}

fn emitted(frame: &AdvertFrame<'_>) -> Vec<u8> {
    let mut buffer = [0; MAX_FRAME];
    let length = frame.emit(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

fn decoded(packet: &[u8], version: Version, policy: Policy) -> Result<Advert, Discard> {
    Advert::decode(packet, &ipv4::Header::decode(packet, IP).unwrap(), version, HOP_LIMIT, STRICT, || policy)
}

/// Sets a byte of the message and corrects its checksum, in the plain form.
fn with_byte(packet: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[MESSAGE + at] = value;
    packet[MESSAGE + 6..MESSAGE + 8].fill(0);
    let checksum = Sum::of(&packet[MESSAGE..]).checksum();
    packet[MESSAGE + 6..MESSAGE + 8].copy_from_slice(&checksum);
    packet
}

#[test]
fn a_version_3_frame_has_the_bytes_of_the_rfc() {
    // RFC 9568 5.1, 5.2, 7.2, 7.3. The checksums were computed by scapy.
    #[rustfmt::skip]
    let expected = [
        0x01, 0x00, 0x5e, 0x00, 0x00, 0x12, 0x00, 0x00, 0x5e, 0x00, 0x01, 0x33, 0x08, 0x00,
        0x45, 0xc0, 0x00, 0x20, 0x00, 0x00, 0x40, 0x00, 0xff, 0x70, 0xd8, 0x98, 192, 0, 2, 2, 224, 0, 0, 18,
        0x31, 51, 200, 1, 0x00, 0x64, 0xa1, 0xd3, 192, 0, 2, 1,
    ];
    assert_eq!(emitted(&frame(Version::V3, &[[192, 0, 2, 1]])), expected);
}

#[test]
fn the_plain_form_differs_only_by_the_pseudo_header() {
    // RFC 9568 5.2.8, RFC 5798 5.2.8
    let plain = AdvertFrame { pseudo_header_checksum: false, ..frame(Version::V3, &[[192, 0, 2, 1]]) };
    let expected = !Sum::of(&[0x31, 51, 200, 1, 0x00, 0x64, 192, 0, 2, 1]).get();
    let packet = emitted(&plain);
    assert_eq!(packet[MESSAGE + 6..MESSAGE + 8], expected.to_be_bytes());
    assert_eq!(decoded(&packet, Version::V3, policy()).unwrap().checksum, ChecksumForm::Plain);
}

#[test]
fn a_version_2_frame_ends_with_its_password() {
    // RFC 3768 5.1, RFC 2338 5.3.6, 5.3.10
    let sent = AdvertFrame { password: Some(*b"secret\0\0"), ..frame(Version::V2, &[[192, 0, 2, 1]]) };
    let packet = emitted(&sent);
    assert_eq!(packet.len(), MESSAGE + 20);
    assert_eq!(packet[MESSAGE..MESSAGE + 6], [0x21, 51, 200, 1, 1, 1]);
    assert_eq!(&packet[MESSAGE + 12..], b"secret\0\0");
    assert!(Sum::of(&packet[MESSAGE..]).is_valid());
    assert_eq!(&packet[16..18], &40_u16.to_be_bytes());
}

#[test]
fn an_advert_that_the_version_cannot_express_is_not_emitted() {
    let one = [[192, 0, 2, 1]];
    let many = [[192, 0, 2, 1]; 256];
    let v3 = frame(Version::V3, &one);
    let v2 = frame(Version::V2, &one);
    let mut buffer = [0; MAX_FRAME + 4];
    for refused in [
        AdvertFrame { interval: Interval::from_millis(15), ..v3 },
        AdvertFrame { interval: Interval::ZERO, ..v3 },
        AdvertFrame { interval: Interval::from_millis(40_960), ..v3 },
        AdvertFrame { interval: Interval::from_millis(100), ..v2 },
        AdvertFrame { interval: Interval::ZERO, ..v2 },
        AdvertFrame { addresses: &many, ..v3 },
    ] {
        assert_eq!(refused.emit(&mut buffer), None, "{refused:?}");
    }
    assert_eq!(v3.emit(&mut buffer[..MESSAGE + 11]), None);
    assert_eq!(v3.emit(&mut buffer[..MESSAGE + 12]), Some(MESSAGE + 12));
}

#[test]
fn the_longest_frame_fits_the_buffer() {
    let addresses = [[192, 0, 2, 1]; <[u8; 4]>::MAX_ADDRESSES];
    assert_eq!(decoded(&emitted(&frame(Version::V2, &addresses)), Version::V2, policy()).unwrap().address_count, 255);
    assert_eq!(decoded(&emitted(&frame(Version::V3, &addresses)), Version::V3, policy()).unwrap().address_count, 255);
}

#[test]
fn the_checksum_is_accepted_only_in_the_configured_forms() {
    // RFC 9568 5.2.8, RFC 5798 5.2.8
    for (pseudo_header_checksum, form, other) in [
        (true, ChecksumForm::PseudoHeader, ChecksumForm::Plain),
        (false, ChecksumForm::Plain, ChecksumForm::PseudoHeader),
    ] {
        let packet = emitted(&AdvertFrame { pseudo_header_checksum, ..frame(Version::V3, &[[192, 0, 2, 1]]) });
        let accepting = |checksums| {
            let policy = Policy { checksums, ..policy() };
            decoded(&packet, Version::V3, policy)
        };
        assert_eq!(accepting(Checksums::Either).map(|advert| advert.checksum), Ok(form));
        assert_eq!(accepting(Checksums::Only(form)).map(|advert| advert.checksum), Ok(form));
        assert_eq!(accepting(Checksums::Only(other)), Err(Discard::Checksum));
    }
}

#[test]
fn each_invalid_field_has_its_own_reason() {
    let v3 = emitted(&frame(Version::V3, &[[192, 0, 2, 1]]));
    let v2 = emitted(&frame(Version::V2, &[[192, 0, 2, 1]]));
    for (version, packet, expected) in [
        (Version::V3, with_byte(&v3, 0, 0x21), Discard::Version), // RFC 9568 7.1
        (Version::V3, with_byte(&v3, 0, 0x41), Discard::Version),
        (Version::V2, with_byte(&v2, 0, 0x31), Discard::Version), // RFC 3768 7.1
        (Version::V3, with_byte(&v3, 0, 0x32), Discard::Type),    // RFC 9568 5.2.2
        (Version::V3, with_byte(&v3, 0, 0x30), Discard::Type),
        (Version::V3, with_byte(&v3, 3, 0), Discard::NoAddress), // RFC 9568 5.2.5
        (Version::V3, with_byte(&v3, 3, 2), Discard::Length),    // RFC 9568 7.1
        (Version::V2, with_byte(&v2, 3, 2), Discard::Length),
        (Version::V2, with_byte(&v2, 3, 3), Discard::Length),
        (Version::V3, with_byte(&v3, 5, 0), Discard::IntervalZero), // RFC 9568 erratum 8301
        (Version::V2, with_byte(&v2, 5, 0), Discard::IntervalZero),
        (Version::V2, with_byte(&v2, 5, 2), Discard::IntervalMismatch), // RFC 3768 7.1
        (Version::V2, with_byte(&v2, 4, 1), Discard::Authentication),   // RFC 3768 7.1
        (Version::V2, with_byte(&v2, 4, 2), Discard::Authentication),
    ] {
        assert_eq!(decoded(&packet, version, policy()), Err(expected));
    }
}

#[test]
fn reserved_bits_are_ignored() {
    // RFC 9568 5.2.6: "The Reserve field MUST be set to zero on transmission and ignored on reception."
    let v3 = emitted(&frame(Version::V3, &[[192, 0, 2, 1]]));
    let advert = decoded(&with_byte(&v3, 4, 0xf0), Version::V3, policy()).unwrap();
    assert_eq!(advert.interval, Interval::from_seconds(1));
}

#[test]
fn a_password_must_match_in_type_and_data() {
    // RFC 2338 7.1
    let sent = AdvertFrame { password: Some(*b"secret\0\0"), ..frame(Version::V2, &[[192, 0, 2, 1]]) };
    let packet = emitted(&sent);
    let with = |authentication| {
        let policy = Policy { authentication, ..policy() };
        decoded(&packet, Version::V2, policy)
    };
    assert!(with(Authentication::Password(*b"secret\0\0")).is_ok());
    assert_eq!(with(Authentication::Password(*b"secret\0x")), Err(Discard::Authentication));
    assert_eq!(with(Authentication::None), Err(Discard::Authentication));
}

#[test]
fn an_advert_from_our_own_address_is_discarded() {
    let packet = emitted(&frame(Version::V3, &[[192, 0, 2, 1]]));
    let own = Policy { own_source: SOURCE, ..policy() };
    assert_eq!(decoded(&packet, Version::V3, own), Err(Discard::OwnSource));
}

#[test]
fn a_routed_or_fragmented_advert_is_discarded() {
    let packet = emitted(&frame(Version::V3, &[[192, 0, 2, 1]]));
    let ip = ipv4::Header::decode(packet.as_slice(), IP).unwrap();
    let judge = |ip| Advert::decode(packet.as_slice(), &ip, Version::V3, HOP_LIMIT, STRICT, policy);
    // RFC 9568 5.1.1.3: "A VRRP Router receiving a packet with the TTL not equal to 255 MUST discard the packet"
    for time_to_live in [0, 1, 254] {
        assert_eq!(judge(ipv4::Header { time_to_live, ..ip }), Err(Discard::TimeToLive));
    }
    for fragment in [ipv4::Fragment::First, ipv4::Fragment::Later] {
        assert_eq!(judge(ipv4::Header { fragment, ..ip }), Err(Discard::Fragment));
    }
}

#[test]
fn an_advert_that_is_cut_anywhere_is_discarded() {
    let addresses = [[192, 0, 2, 1], [192, 0, 2, 9], [198, 51, 100, 7]];
    for version in [Version::V2, Version::V3] {
        let packet = emitted(&frame(version, &addresses));
        let ip = ipv4::Header::decode(packet.as_slice(), IP).unwrap();
        for end in MESSAGE..packet.len() {
            let cut = &packet[..end];
            assert_eq!(
                Advert::decode(cut, &ip, version, HOP_LIMIT, STRICT, policy),
                Err(Discard::Length),
                "{end} bytes"
            );
            let shorter = ipv4::Header { payload_length: end - MESSAGE, ..ip };
            assert_eq!(
                Advert::decode(cut, &shorter, version, HOP_LIMIT, STRICT, policy),
                Err(Discard::Length),
                "{end} bytes"
            );
        }
    }
}

#[test]
fn the_vrid_is_found_only_inside_the_payload() {
    let packet = emitted(&frame(Version::V3, &[[192, 0, 2, 1]]));
    let ip = ipv4::Header::decode(packet.as_slice(), IP).unwrap();
    assert_eq!(vrid(packet.as_slice(), &ip), Some(51));
    // Ethernet padding after a payload of one byte is not a VRID.
    assert_eq!(vrid(packet.as_slice(), &ipv4::Header { payload_length: 1, ..ip }), None);
    assert_eq!(vrid(&packet[..=MESSAGE], &ip), None);
}

#[test]
fn ethernet_padding_is_not_part_of_the_message() {
    let mut packet = emitted(&frame(Version::V3, &[[192, 0, 2, 1]]));
    packet.resize(60, 0xff);
    assert!(decoded(&packet, Version::V3, policy()).is_ok());
}

#[test]
fn an_advert_to_a_unicast_peer_has_its_address_and_a_checksum_over_that_address() {
    // RFC 5798 5.2.8
    let sent = AdvertFrame { pseudo_header_checksum: true, ..frame(Version::V3, &[[192, 0, 2, 1]]) };
    let mut buffer = [0; MAX_FRAME];
    let length = sent.emit_packet([203, 0, 113, 7], &mut buffer).unwrap();
    let packet = &buffer[..length];
    let ip = ipv4::Header::decode(packet, 0).unwrap();
    assert_eq!((ip.source, ip.destination, ip.time_to_live), (SOURCE, [203, 0, 113, 7], 255));
    let heard = Advert::decode(packet, &ip, Version::V3, HOP_LIMIT, STRICT, policy);
    assert_eq!(heard.map(|advert| advert.checksum), Ok(ChecksumForm::PseudoHeader));
    assert_eq!(sent.emit_packet([203, 0, 113, 7], &mut buffer[..length - 1]), None);
    // A packet to the group is the same as the frame without its Ethernet header.
    let length = sent.emit_packet(GROUP, &mut buffer).unwrap();
    assert_eq!(&emitted(&sent)[IP..], &buffer[..length]);
}

#[test]
fn a_hop_limit_is_refused_exactly_if_it_is_below_the_minimum() {
    // RFC 9568 5.1.1.3
    let packet = emitted(&frame(Version::V3, &[[192, 0, 2, 1]]));
    let ip = ipv4::Header::decode(packet.as_slice(), IP).unwrap();
    for (time_to_live, min, heard) in [(254, 255, false), (254, 254, true), (253, 254, false), (1, 1, true)] {
        let ip = ipv4::Header { time_to_live, ..ip };
        let judged = Advert::decode(packet.as_slice(), &ip, Version::V3, min, STRICT, policy);
        assert_eq!(judged.err(), (!heard).then_some(Discard::TimeToLive), "{time_to_live} where {min} is the least");
    }
}

// Over IPv6

const LINK_LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const VIPS: [[u8; 16]; 2] = [
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x33],
    [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
];
const MESSAGE_6: usize = 54;

fn frame6(addresses: &[[u8; 16]]) -> AdvertFrame<'_, [u8; 16]> {
    let AdvertFrame { version, vrid, priority, interval, .. } = frame(Version::V3, &[]);
    AdvertFrame {
        source_mac: MacAddress::virtual_ipv6(vrid),
        source: LINK_LOCAL,
        version,
        vrid,
        priority,
        interval,
        addresses,
        // Has no effect over IPv6.
        pseudo_header_checksum: false,
        password: None,
    }
}

fn emitted6(frame: &AdvertFrame<'_, [u8; 16]>) -> Vec<u8> {
    let mut buffer = [0; MAX_FRAME];
    let length = frame.emit(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

fn decoded6(packet: &[u8]) -> Result<Advert, Discard> {
    tolerated6(packet, STRICT)
}

fn tolerated6(packet: &[u8], tolerance: Tolerance) -> Result<Advert, Discard> {
    let Policy { interval, authentication, .. } = policy();
    let mut own_source = LINK_LOCAL;
    own_source[15] = 3;
    // Over IPv6, the accepted forms have no effect either.
    let policy = Policy { checksums: Checksums::Only(ChecksumForm::Plain), interval, authentication, own_source };
    Advert::decode(packet, &ipv6::Header::decode(packet, IP).unwrap(), Version::V3, HOP_LIMIT, tolerance, || policy)
}

/// Corrects the checksum.
fn resummed6(mut packet: Vec<u8>) -> Vec<u8> {
    packet[MESSAGE_6 + 6..MESSAGE_6 + 8].fill(0);
    let ip = ipv6::Header::decode(packet.as_slice(), IP).unwrap();
    let checksum = Sum::of(&packet[MESSAGE_6..]).add(ip.pseudo_header()).checksum();
    packet[MESSAGE_6 + 6..MESSAGE_6 + 8].copy_from_slice(&checksum);
    packet
}

#[test]
fn a_frame_over_ipv6_has_the_bytes_of_the_rfc() {
    // RFC 9568 5.1.2, 5.2, 7.2, 7.3 (conformance 50, 53, 54)
    #[rustfmt::skip]
    let expected = [
        0x33, 0x33, 0x00, 0x00, 0x00, 0x12, 0x00, 0x00, 0x5e, 0x00, 0x02, 0x33, 0x86, 0xdd,
        0x6c, 0x00, 0x00, 0x00, 0x00, 0x28, 112, 255,
        0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
        0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12,
        0x31, 51, 200, 2, 0x00, 0x64, 0xdb, 0xc7,
        0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x33,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    ];
    assert_eq!(emitted6(&frame6(&VIPS)), expected);
}

#[test]
fn an_advert_over_ipv6_is_decoded_and_its_checksum_always_covers_the_pseudo_header() {
    // RFC 9568 5.2.8 (conformance 6)
    let packet = emitted6(&frame6(&VIPS));
    let expected = Advert {
        version: Version::V3,
        priority: Priority::new(200),
        interval: Interval::from_seconds(1),
        address_count: 2,
        address_sum: address_sum(&VIPS),
        checksum: ChecksumForm::PseudoHeader,
    };
    assert_eq!(decoded6(&packet), Ok(expected));
    let mut plain = packet.clone();
    plain[MESSAGE_6 + 6..MESSAGE_6 + 8].fill(0);
    let checksum = Sum::of(&plain[MESSAGE_6..]).checksum();
    plain[MESSAGE_6 + 6..MESSAGE_6 + 8].copy_from_slice(&checksum);
    assert_eq!(decoded6(&plain), Err(Discard::Checksum));
}

#[test]
fn the_first_address_over_ipv6_is_link_local() {
    // RFC 9568 5.2.9, erratum 8300 (conformance 15)
    let mut packet = emitted6(&frame6(&VIPS));
    packet[MESSAGE_6 + 8] = 0x20;
    assert_eq!(decoded6(&resummed6(packet)), Err(Discard::FirstAddress));
}

#[test]
fn another_first_address_over_ipv6_is_accepted_only_where_that_is_tolerated() {
    // RFC 9568 5.2.9, erratum 8300 (conformance 15)
    let packet = emitted6(&frame6(&VIPS[1..]));
    assert_eq!(decoded6(&packet), Err(Discard::FirstAddress));
    let tolerant = Tolerance { any_first: true, ..STRICT };
    let count = tolerated6(&packet, tolerant).map(|advert| advert.address_count);
    assert_eq!(count, Ok(1));
    // Nothing else is tolerated with it.
    let mut none = packet;
    none[MESSAGE_6 + 3] = 0;
    assert_eq!(tolerated6(&resummed6(none), tolerant), Err(Discard::NoAddress));
}

#[test]
fn an_advert_without_addresses_is_accepted_only_where_that_is_tolerated() {
    // RFC 9568 5.2.5, erratum 8299 (conformance 9)
    let tolerant = Tolerance { no_address: true, ..STRICT };
    for version in [Version::V3, Version::V2] {
        let packet = emitted(&frame(version, &[]));
        let length = if version == Version::V3 { 8 } else { 16 };
        assert_eq!((packet.len(), packet[MESSAGE + 3]), (MESSAGE + length, 0));
        assert_eq!(decoded(&packet, version, policy()), Err(Discard::NoAddress));
        let ip = ipv4::Header::decode(packet.as_slice(), IP).unwrap();
        let judge = |packet: &[u8]| Advert::decode(packet, &ip, version, HOP_LIMIT, tolerant, policy);
        let advert = judge(&packet).unwrap();
        assert_eq!((advert.address_count, advert.address_sum), (0, address_sum::<[u8; 4]>(&[])));
        assert_eq!(judge(&with_byte(&packet, 3, 1)), Err(Discard::Length));
    }
    let packet = emitted6(&frame6(&[]));
    assert_eq!(decoded6(&packet), Err(Discard::NoAddress));
    assert_eq!(tolerated6(&packet, tolerant).map(|advert| advert.address_count), Ok(0));
    assert_eq!(tolerated6(&emitted6(&frame6(&VIPS[1..])), tolerant), Err(Discard::FirstAddress));
}

#[test]
fn each_invalid_field_over_ipv6_has_its_own_reason() {
    let packet = emitted6(&frame6(&VIPS));
    for (at, value, expected) in [
        (IP + 7, 254, Discard::TimeToLive), // RFC 9568 5.1.2.3
        (MESSAGE_6, 0x21, Discard::Version),
        (MESSAGE_6, 0x32, Discard::Type),
        (MESSAGE_6 + 3, 0, Discard::NoAddress),
        (MESSAGE_6 + 3, 1, Discard::Length),
        (MESSAGE_6 + 5, 0, Discard::IntervalZero),
        (IP + 8 + 15, 3, Discard::OwnSource),
    ] {
        let mut wrong = packet.clone();
        wrong[at] = value;
        assert_eq!(decoded6(&resummed6(wrong)), Err(expected), "byte {at} = {value}");
    }
}

#[test]
fn an_advert_over_ipv6_that_is_cut_anywhere_is_discarded() {
    let packet = emitted6(&frame6(&VIPS));
    for end in MESSAGE_6..packet.len() {
        assert_eq!(decoded6(&packet[..end]), Err(Discard::Length), "{end} bytes");
    }
}

#[test]
fn an_advert_over_ipv6_has_at_most_as_many_addresses_as_fit_a_packet() {
    let mut buffer = [0; 2 * MAX_FRAME];
    let max = <[u8; 16]>::MAX_ADDRESSES;
    assert_eq!(emitted6(&frame6(&[VIPS[0]; 90])).len(), MAX_FRAME);
    assert_eq!(decoded6(&emitted6(&frame6(&[VIPS[0]; 90]))).map(|advert| usize::from(advert.address_count)), Ok(max));
    assert_eq!(frame6(&[VIPS[0]; 91]).emit(&mut buffer), None);
}

proptest! {
    #[test]
    fn an_advert_over_ipv6_with_a_flipped_bit_is_discarded(bit in 0_usize..(8 * 40)) {
        let mut packet = emitted6(&frame6(&VIPS));
        packet[MESSAGE_6 + bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decoded6(&packet).is_err());
    }

    #[test]
    fn an_emitted_advert_is_decoded_to_the_same_values(
        source in any::<[u8; 4]>(),
        v3 in any::<bool>(),
        vrid_ in 1_u8..=255,
        priority in any::<u8>(),
        centiseconds in 1_u16..=0xfff,
        seconds in 1_u8..=255,
        addresses in proptest::collection::vec(any::<[u8; 4]>(), 1..=255),
        pseudo_header_checksum in any::<bool>(),
        password in any::<Option<[u8; 8]>>(),
    ) {
        let (version, interval) = if v3 {
            (Version::V3, Interval::from_centiseconds(centiseconds))
        } else {
            (Version::V2, Interval::from_seconds(seconds))
        };
        let form = if v3 && pseudo_header_checksum { ChecksumForm::PseudoHeader } else { ChecksumForm::Plain };
        let sent = AdvertFrame {
            source_mac: MacAddress::BROADCAST,
            source,
            version,
            vrid: Vrid::new(vrid_).unwrap(),
            priority: Priority::new(priority),
            interval,
            addresses: &addresses,
            pseudo_header_checksum,
            password,
        };
        let packet = emitted(&sent);
        let policy = Policy {
            checksums: Checksums::Only(form),
            interval,
            authentication: password.map_or(Authentication::None, Authentication::Password),
            own_source: source.map(|byte| !byte),
        };
        let expected = Advert {
            version,
            priority: sent.priority,
            interval,
            address_count: u8::try_from(addresses.len()).unwrap(),
            address_sum: address_sum(&addresses),
            checksum: form,
        };
        prop_assert_eq!(decoded(&packet, version, policy), Ok(expected));
        prop_assert_eq!(vrid(packet.as_slice(), &ipv4::Header::decode(packet.as_slice(), IP).unwrap()), Some(vrid_));
    }

    #[test]
    fn an_advert_with_a_flipped_bit_is_discarded(bit in 0_usize..(8 * 20), v3 in any::<bool>()) {
        let version = if v3 { Version::V3 } else { Version::V2 };
        let sent = AdvertFrame { pseudo_header_checksum: false, ..frame(version, &[[192, 0, 2, 1]]) };
        let mut packet = emitted(&sent);
        let at = MESSAGE + (bit / 8) % (packet.len() - MESSAGE);
        packet[at] ^= 1 << (bit % 8);
        // With the pseudo-header, a message with a flipped bit might be valid, so only the plain form is accepted.
        let policy = Policy { checksums: Checksums::Only(ChecksumForm::Plain), ..policy() };
        prop_assert!(decoded(&packet, version, policy).is_err());
    }

    #[test]
    fn junk_never_causes_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(ip) = ipv4::Header::decode(bytes.as_slice(), 0) {
            let _ = Advert::decode(bytes.as_slice(), &ip, Version::V3, HOP_LIMIT, STRICT, policy);
        }
    }
}
