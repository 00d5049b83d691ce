//! Properties of the decoder of Neighbor Discovery.

use xvrrp_common::units::MacAddress;
use xvrrp_common::wire::checksum::Sum;
use xvrrp_common::wire::icmpv6::{self, Advertisement, Kind, Neighbor};
use xvrrp_common::wire::{Truncated, ipv6};

use super::peer::Peer;
use super::{Seen, Watched, padded};

/// Solicited-node group of an address (RFC 4291 2.7.1).
const SOLICITED_NODE: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1];

/// Decodes the bytes as an unfragmented ICMPv6 message from a host with an address and from one without: as they are,
/// and with a corrected checksum, so that the checks after the checksum are reached.
pub fn icmpv6(bytes: &[u8], seen: Seen<'_>) {
    let (peer, none) = (<[u8; 16]>::PEER, ipv6::UNSPECIFIED);
    for (source, destination) in [(peer, ipv6::ALL_NODES), (none, SOLICITED_NODE), (none, ipv6::ALL_NODES)] {
        let ip = <[u8; 16]>::carrier(source, bytes.len());
        let ip = ipv6::Header { next_header: icmpv6::NEXT_HEADER, destination, ..ip };
        neighbor(bytes, &ip, seen);
        let mut repaired = bytes.to_vec();
        if let Some(checksum) = repaired.get_mut(2..4) {
            checksum.fill(0);
            let sum = Sum::of(&repaired).add(ip.pseudo_header()).checksum();
            repaired[2..4].copy_from_slice(&sum);
            neighbor(&repaired, &ip, seen);
        }
    }
}

fn neighbor(message: &[u8], ip: &ipv6::Header, seen: Seen<'_>) {
    let frame = [&vec![0; ip.payload][..], message].concat();
    let long = padded(&frame);
    let watched = Watched::new(&long);
    let decoded = Neighbor::decode(&watched, ip);
    assert!(message.len() < 2 || watched.end.get() <= frame.len(), "the padding was read");
    let neighbor = match Neighbor::decode(frame.as_slice(), ip) {
        Err(Truncated) => {
            assert!(message.len() < 2);
            return seen("truncated");
        }
        Ok(None) => {
            assert_eq!(decoded, Ok(None));
            return seen("something else");
        }
        Ok(Some(neighbor)) => neighbor,
    };
    assert_eq!(decoded, Ok(Some(neighbor)));
    assert_eq!(icmpv6::is_neighbor(frame.as_slice(), ip.payload), Ok(true));
    let valid = icmpv6::is_valid(frame.as_slice(), ip) == Ok(true);
    assert_eq!(icmpv6::is_valid(long.as_slice(), ip) == Ok(true), valid);
    let whole = Sum::of(message).add(ip.pseudo_header()).is_valid();
    assert_eq!(valid, whole && message.len().is_multiple_of(8));
    // RFC 4861 7.1.1: only a probe to a solicited-node group, without an option, has the unspecified source.
    let is_probe = ip.destination == SOLICITED_NODE && neighbor.mac.is_none();
    assert!(neighbor.kind == Kind::Advertisement || ip.source != ipv6::UNSPECIFIED || is_probe);

    let mac = MacAddress([0, 0, 0x5e, 0, 2, 51]);
    let (header, answer) = Advertisement::answer(ip, neighbor.target, mac).emit().expect("the length fits");
    let packet = [&header[..], &answer].concat();
    let ip = ipv6::Header::decode(packet.as_slice(), 0).expect("our own header");
    let expected = Neighbor { kind: Kind::Advertisement, target: neighbor.target, mac: Some(mac) };
    assert_eq!(Neighbor::decode(packet.as_slice(), &ip), Ok(Some(expected)));
    assert_eq!(icmpv6::is_valid(packet.as_slice(), &ip), Ok(true));
    seen(match neighbor.kind {
        _ if !valid => "wrong checksum",
        Kind::Solicitation => "solicitation",
        Kind::Advertisement => "advertisement",
    });
}
