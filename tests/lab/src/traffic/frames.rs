//! Builds frames for tests, and changes them.

use xvrrp_common::units::{Interval, MacAddress, Priority, Version, Vrid};
use xvrrp_common::wire::arp::{self, Arp};
use xvrrp_common::wire::checksum::Sum;
use xvrrp_common::wire::ipv6;
use xvrrp_common::wire::vrrp::{AdvertFrame, IpAddress, MAX_FRAME};

/// Offset of the IPv4 header in an untagged frame.
pub const IP: usize = 14;
/// Offset of an advert in an untagged frame without IP options.
pub const MESSAGE: usize = 34;
/// Minimum length of a frame on a wire, without its check sequence (IEEE 802.3 4.4.2).
pub const SHORTEST: usize = 60;

/// Returns a peer's advert for VRID 51 with one address. Tests change the fields that matter to them and [`emit`] it.
pub fn advert() -> AdvertFrame<'static> {
    let vrid = Vrid::new(51).expect("not zero");
    AdvertFrame {
        source_mac: MacAddress::virtual_ipv4(vrid),
        source: [192, 0, 2, 2],
        version: Version::V3,
        vrid,
        priority: Priority::new(200),
        interval: Interval::from_seconds(1),
        addresses: &[[192, 0, 2, 1]],
        pseudo_header_checksum: true,
        password: None,
    }
}

/// Returns the frame of an advert.
pub fn emit<A: IpAddress>(advert: &AdvertFrame<'_, A>) -> Vec<u8> {
    let mut frame = vec![0; MAX_FRAME];
    let length = advert.emit(&mut frame).expect("a frame of a valid advert");
    frame.truncate(length);
    frame
}

/// Returns the frame of an advert that is addressed to one router.
pub fn emit_unicast<A: IpAddress>(advert: &AdvertFrame<'_, A>, destination: A, mac: MacAddress) -> Vec<u8> {
    let mut frame = [&mac.0[..], &advert.source_mac.0, &A::ETHER_TYPE.to_be_bytes(), &[0; MAX_FRAME]].concat();
    let length = advert.emit_packet(destination, &mut frame[IP..]).expect("a packet of a valid advert");
    frame.truncate(IP + length);
    frame
}

/// Returns an IPv6 packet in a frame. If the payload is ICMPv6 or VRRP, its checksum is computed.
pub fn ipv6(
    macs: [MacAddress; 2],
    [source, destination]: [[u8; 16]; 2],
    hop_limit: u8,
    next_header: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut payload = payload.to_vec();
    let checksum = match next_header {
        58 => 2..4,
        112 => 6..8,
        _ => 0..0,
    };
    payload[checksum.clone()].fill(0);
    let sum = Sum::of(&payload).add(ipv6::pseudo_header(&source, &destination, next_header, payload.len()));
    let length = checksum.len();
    payload[checksum].copy_from_slice(&sum.checksum()[..length]);
    let header = ipv6::emit(source, destination, hop_limit, next_header, payload.len()).expect("a short payload");
    let [to, from] = macs;
    [&to.0[..], &from.0, &[0x86, 0xdd], &header, &payload].concat()
}

/// Returns `count` different addresses.
pub fn addresses(count: u8) -> Vec<[u8; 4]> {
    (0..count).map(|last| [198, 51, 100, last]).collect()
}

/// Returns an ARP packet in a frame from its sender, broadcast unless it is a reply.
pub fn arp(arp: &Arp) -> Vec<u8> {
    let destination = if arp.operation == arp::OPERATION_REPLY { arp.target_mac } else { MacAddress::BROADCAST };
    [&destination.0[..], &arp.sender_mac.0, &[0x08, 0x06], &arp.emit()].concat()
}

/// Returns the first packet of a TCP connection to this address.
pub fn tcp(destination_mac: MacAddress, destination: [u8; 4]) -> Vec<u8> {
    let tcp = [0xc0, 0x00, 0x00, 0x50, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0x72, 0x10, 0, 0, 0, 0];
    ipv4(destination_mac, 64, 6, destination, &tcp)
}

/// Returns an IPv4 packet from the host 192.0.2.9 in a frame.
pub fn ipv4(
    destination_mac: MacAddress,
    time_to_live: u8,
    protocol: u8,
    destination: [u8; 4],
    payload: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("a short packet").to_be_bytes();
    let mut frame = [
        &destination_mac.0[..],
        &[2, 0, 0, 0, 0, 9, 0x08, 0x00, 0x45, 0],
        &length,
        &[0, 0, 0, 0, time_to_live, protocol, 0, 0, 192, 0, 2, 9],
        &destination,
        payload,
    ]
    .concat();
    fix_ip_checksum(&mut frame);
    frame
}

/// Returns the frame with a VLAN tag.
pub fn tagged(frame: &[u8], tag_type: u16, tci: u16) -> Vec<u8> {
    [&frame[..12], &tag_type.to_be_bytes(), &tci.to_be_bytes(), &frame[12..]].concat()
}

/// Returns the frame with only this byte changed.
pub fn with_byte(frame: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at] = value;
    frame
}

/// Returns the frame with this byte of the IPv4 header changed and the checksum of the header updated.
pub fn with_ip_byte(frame: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut frame = with_byte(frame, IP + at, value);
    fix_ip_checksum(&mut frame);
    frame
}

/// Returns the advert with this byte of the message changed and the checksum updated, in the plain form.
pub fn with_message_byte(frame: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut frame = with_byte(frame, MESSAGE + at, value);
    frame[MESSAGE + 6..MESSAGE + 8].fill(0);
    let checksum = Sum::of(&frame[MESSAGE..]).checksum();
    frame[MESSAGE + 6..MESSAGE + 8].copy_from_slice(&checksum);
    frame
}

/// Returns the frame with options in its IPv4 header. Their length must be a multiple of four.
pub fn with_ip_options(frame: &[u8], options: &[u8]) -> Vec<u8> {
    let mut frame = [&frame[..MESSAGE], options, &frame[MESSAGE..]].concat();
    frame[IP] = 0x40 | u8::try_from((20 + options.len()) / 4).expect("at most 40 bytes of options");
    set_total_length(&mut frame, |length| length + options.len());
    frame
}

/// Changes the total length in the IPv4 header of a frame.
pub fn set_total_length(frame: &mut [u8], change: impl Fn(usize) -> usize) {
    let length = usize::from(u16::from_be_bytes([frame[IP + 2], frame[IP + 3]]));
    let length = u16::try_from(change(length)).expect("a short packet");
    frame[IP + 2..IP + 4].copy_from_slice(&length.to_be_bytes());
    fix_ip_checksum(frame);
}

/// Returns the frame padded to the minimum length on a wire.
pub fn padded(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame.resize(SHORTEST.max(frame.len()), 0xee);
    frame
}

fn fix_ip_checksum(frame: &mut [u8]) {
    let length = 4 * usize::from(frame[IP] & 0x0f);
    frame[IP + 10..IP + 12].fill(0);
    let checksum = Sum::of(&frame[IP..IP + length]).checksum();
    frame[IP + 10..IP + 12].copy_from_slice(&checksum);
}
