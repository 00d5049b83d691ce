//! Properties of the decoders of Ethernet, ARP, IPv4 and IPv6.

use xvrrp_common::units::MacAddress;
use xvrrp_common::wire::Truncated;
use xvrrp_common::wire::arp::{self, Arp};
use xvrrp_common::wire::checksum::Sum;
use xvrrp_common::wire::ethernet;
use xvrrp_common::wire::ipv4::{self, Fragment};
use xvrrp_common::wire::ipv6;

use super::{Seen, Watched, padded};

/// Decodes the bytes as a frame.
pub fn ethernet(bytes: &[u8], seen: Seen<'_>) {
    let decoded = ethernet::Header::decode(bytes);
    assert_eq!(ethernet::destination(bytes).is_ok(), bytes.len() >= 6);
    assert_eq!(ethernet::source(bytes).is_ok(), bytes.len() >= 12);
    let Ok(header) = decoded else {
        // Without a tag, 14 bytes suffice.
        assert!(bytes.len() < ethernet::HEADER || (bytes[12..14] == [0x81, 0x00] && bytes.len() < 18));
        return seen("truncated");
    };
    assert_eq!(ethernet::Header::decode(padded(bytes).as_slice()), decoded);
    assert!(header.payload <= bytes.len() && header.vlan <= 0x0fff);
    assert_eq!(header.ether_type.to_be_bytes(), bytes[header.payload - 2..header.payload]);
    if header.payload == ethernet::HEADER {
        assert_eq!(header.vlan, 0);
        seen(if ethernet::is_tag(header.ether_type) { "tag in tag" } else { "untagged" });
    } else {
        assert_eq!(header.vlan, u16::from_be_bytes([bytes[14] & 0x0f, bytes[15]]));
        seen(if ethernet::is_tag(header.ether_type) { "tag in tag" } else { "tagged" });
    }
}

/// Decodes the bytes as an ARP packet: as they are, and with the first fields of ARP for IPv4 over Ethernet, so that
/// the others are read.
pub fn arp(bytes: &[u8], seen: Seen<'_>) {
    arp_packet(bytes, seen);
    let mut repaired = bytes.to_vec();
    if let Some(start) = repaired.first_chunk_mut() {
        // Ethernet and IPv4, with the lengths of their addresses (RFC 826).
        *start = [0, 1, 8, 0, 6, 4];
        arp_packet(&repaired, seen);
    }
}

fn arp_packet(bytes: &[u8], seen: Seen<'_>) {
    let decoded = Arp::decode(bytes, 0);
    assert_eq!(decoded.is_err(), bytes.len() < arp::LENGTH);
    if decoded.is_ok() {
        assert_eq!(Arp::decode(padded(bytes).as_slice(), 0), decoded);
    }
    match decoded {
        Err(Truncated) => seen("truncated"),
        Ok(None) => seen("other hardware or protocol"),
        Ok(Some(arp)) => {
            // The hardware type may differ, because two types are decoded.
            assert_eq!(arp.emit()[2..], bytes[2..arp::LENGTH]);
            // The answer exchanges sender and target.
            let mac = MacAddress([0, 0, 0x5e, 0, 1, 51]);
            let answer = arp.reply(mac);
            assert_eq!((answer.sender, answer.target, answer.target_mac), (arp.target, arp.sender, arp.sender_mac));
            assert_eq!(Arp::decode(answer.emit().as_slice(), 0), Ok(Some(answer)));
            seen("for us");
        }
    }
}

/// Decodes the bytes as an IPv4 packet: as they are, and with a corrected header checksum, so that the fields after it
/// are read.
pub fn ipv4(bytes: &[u8], seen: Seen<'_>) {
    ipv4_header(bytes, seen);
    let mut repaired = bytes.to_vec();
    let length = 4 * usize::from(bytes.first().map_or(0, |first| first & 0x0f));
    if let Some(header) = repaired.get_mut(..length).filter(|header| header.len() >= ipv4::HEADER) {
        header[10..12].fill(0);
        let checksum = Sum::of(header).checksum();
        header[10..12].copy_from_slice(&checksum);
        ipv4_header(&repaired, seen);
    }
}

fn ipv4_header(bytes: &[u8], seen: Seen<'_>) {
    let watched = Watched::new(bytes);
    let decoded = ipv4::Header::decode(&watched, 0);
    // A header has at most 60 bytes, so more of them are never too few.
    if decoded == Err(ipv4::Error::Truncated) {
        assert!(bytes.len() < 60);
    } else {
        assert_eq!(ipv4::Header::decode(padded(bytes).as_slice(), 0), decoded);
    }
    match decoded {
        Err(ipv4::Error::Truncated) => seen("truncated"),
        Err(ipv4::Error::Malformed) => seen("malformed"),
        Ok(header) => {
            assert!((ipv4::HEADER..=60).contains(&header.payload) && header.payload <= bytes.len());
            assert!(watched.end.get() <= header.payload, "the payload was read");
            assert!(u16::try_from(header.payload + header.payload_length).is_ok());
            assert_eq!(ipv4::protocol(bytes, 0), Ok(header.protocol));
            assert_eq!(ipv4::destination(bytes, 0), Ok(header.destination));
            assert!(Sum::of(&bytes[..header.payload]).is_valid());
            seen(match header.fragment {
                Fragment::Whole => "whole",
                Fragment::First => "first",
                Fragment::Later => "later",
            });
        }
    }
}

/// Decodes the bytes as an IPv6 packet.
pub fn ipv6(bytes: &[u8], seen: Seen<'_>) {
    let watched = Watched::new(bytes);
    let decoded = ipv6::Header::decode(&watched, 0);
    assert!(watched.end.get() <= ipv6::HEADER);
    match decoded {
        Err(ipv6::Error::Truncated) => {
            assert!(bytes.len() < ipv6::HEADER);
            seen("truncated");
        }
        Err(ipv6::Error::Malformed) => {
            assert_ne!(bytes[0] >> 4, 6);
            seen("malformed");
        }
        Ok(header) => {
            assert_eq!(ipv6::Header::decode(padded(bytes).as_slice(), 0), decoded);
            assert_eq!(header.payload, ipv6::HEADER);
            assert_eq!(ipv6::next_header(bytes, 0), Ok(header.next_header));
            assert_eq!(ipv6::destination(bytes, 0), Ok(header.destination));
            let ipv6::Header { source, destination, hop_limit, next_header, payload_length, .. } = header;
            let again =
                ipv6::emit(source, destination, hop_limit, next_header, payload_length).expect("the length fits");
            assert_eq!(ipv6::Header::decode(again.as_slice(), 0), decoded);
            seen("ipv6");
        }
    }
}
