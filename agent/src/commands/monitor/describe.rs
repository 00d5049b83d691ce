//! Describes a frame in words. The frame may be malformed in any way, since that is what operators look for.

use std::net::IpAddr;

use xvrrp_common::units::MacAddress;
use xvrrp_common::wire::arp::{Arp, OPERATION_REQUEST};
use xvrrp_common::wire::icmpv6::{self, Kind, Neighbor};
use xvrrp_common::wire::{Packet, Truncated, ethernet, ipv4, ipv6};

/// Returns one line of text about an Ethernet frame.
pub fn describe(frame: &[u8]) -> String {
    let described = ethernet::Header::decode(frame).and_then(|header| {
        let described = payload(frame, &header)?;
        Ok(if header.vlan == 0 { described } else { format!("VLAN {} {described}", header.vlan) })
    });
    described.unwrap_or_else(|Truncated| format!("a truncated frame of {} bytes", frame.len()))
}

fn payload(frame: &[u8], header: &ethernet::Header) -> Result<String, Truncated> {
    let from = ethernet::source(frame)?;
    match header.ether_type {
        ethernet::TYPE_ARP => {
            Ok(Arp::decode(frame, header.payload)?.map_or_else(|| format!("ARP from {from}"), |it| arp(&it)))
        }
        ethernet::TYPE_IPV4 => match ipv4::Header::decode(frame, header.payload) {
            Ok(ip) => advert(frame, ip.source.into(), ip.destination.into(), ip.time_to_live, ip.payload),
            Err(_) => Ok(format!("from {from}, an invalid IPv4 header")),
        },
        ethernet::TYPE_IPV6 => match ipv6::Header::decode(frame, header.payload) {
            Ok(ip) if ip.next_header == icmpv6::NEXT_HEADER => {
                Ok(Neighbor::decode(frame, &ip)?.map_or_else(|| format!("ICMPv6 from {from}"), |it| neighbor(&it, &ip)))
            }
            Ok(ip) => advert(frame, ip.source.into(), ip.destination.into(), ip.hop_limit, ip.payload),
            Err(_) => Ok(format!("from {from}, an invalid IPv6 header")),
        },
        other => Ok(format!("from {from}, EtherType {other:#06x}")),
    }
}

/// Describes the IP payload as an advert (RFC 9568 5.1, RFC 3768 5.3), even if it is not a valid one.
fn advert(frame: &[u8], from: IpAddr, to: IpAddr, time_to_live: u8, offset: usize) -> Result<String, Truncated> {
    let [kind, vrid, priority, count, high, low] = frame.read(offset)?;
    let (version, kind) = (kind >> 4, kind & 15);
    // Version 2 has the authentication type, then seconds; version 3 has centiseconds in twelve bits.
    let interval = match version {
        2 => format!("{low} s"),
        _ => format!("{} ms", u32::from(u16::from_be_bytes([high & 15, low])) * 10),
    };
    let kind = if kind == 1 { "advert".to_owned() } else { format!("type {kind}") };
    let time_to_live = if time_to_live == 255 { String::new() } else { format!(" TTL {time_to_live}") };
    Ok(format!(
        "{from} > {to} VRRPv{version} {kind} VRID {vrid} priority {priority} interval {interval} addresses {count}{time_to_live}"
    ))
}

fn arp(arp: &Arp) -> String {
    let (sender, target) = (IpAddr::from(arp.sender), IpAddr::from(arp.target));
    match arp.operation {
        _ if arp.is_gratuitous() => format!("ARP {sender} is at {} (gratuitous)", arp.sender_mac),
        OPERATION_REQUEST => format!("ARP who has {target}? tell {sender} at {}", arp.sender_mac),
        _ => format!("ARP {sender} is at {}, to {target}", arp.sender_mac),
    }
}

fn neighbor(neighbor: &Neighbor, ip: &ipv6::Header) -> String {
    let (target, source) = (IpAddr::from(neighbor.target), IpAddr::from(ip.source));
    let mac = neighbor.mac.map_or_else(String::new, |mac: MacAddress| format!(" at {mac}"));
    match neighbor.kind {
        Kind::Solicitation => format!("ND who has {target}? tell {source}{mac}"),
        Kind::Advertisement => format!("ND {target} is{mac}, from {source}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an advert of version 3 in a frame with a valid IPv4 checksum.
    fn frame(time_to_live: u8) -> Vec<u8> {
        let mut frame = vec![1, 0, 0x5e, 0, 0, 18, 0, 0, 0x5e, 0, 1, 51, 8, 0];
        let mut header = vec![0x45, 0, 0, 32, 0, 0, 0, 0, time_to_live, 112, 0, 0, 192, 0, 2, 2, 224, 0, 0, 18];
        let sum: u32 = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
        let sum = !((sum & 0xffff) + (sum >> 16));
        (header[10], header[11]) = ((sum >> 8 & 255).try_into().unwrap(), (sum & 255).try_into().unwrap());
        frame.extend(header);
        frame.extend([0x31, 51, 100, 1, 0, 10, 0, 0, 192, 0, 2, 1]);
        frame
    }

    #[test]
    fn an_advert_is_described_by_what_operators_compare_and_by_a_wrong_ttl() {
        let expected = "192.0.2.2 > 224.0.0.18 VRRPv3 advert VRID 51 priority 100 interval 100 ms addresses 1";
        assert_eq!(describe(&frame(255)), expected);
        assert_eq!(describe(&frame(254)), format!("{expected} TTL 254"));
    }

    #[test]
    fn arp_is_described_by_who_claims_which_address() {
        let mac = MacAddress([2, 0, 0, 0, 0, 9]);
        let frame = xvrrp_common::wire::arp::gratuitous(mac, [192, 0, 2, 1]);
        assert_eq!(describe(&frame), "ARP 192.0.2.1 is at 02:00:00:00:00:09 (gratuitous)");
    }

    #[test]
    fn a_solicitation_is_described_by_who_asks_and_by_its_vlan() {
        let address = |last| [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        let macs = [0x33, 0x33, 0xff, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x81, 0, 0, 7];
        let header = [0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255];
        let message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &address(1), &[1, 1, 2, 0, 0, 0, 0, 9]].concat();
        let frame = [&macs[..], &header, &address(9), &address(1), &message].concat();
        let expected = "VLAN 7 ND who has 2001:db8::1? tell 2001:db8::9 at 02:00:00:00:00:09";
        assert_eq!(describe(&frame), expected);
    }

    #[test]
    fn malformed_frames_are_described_too() {
        let frame = frame(255);
        for length in 0..frame.len() {
            assert!(!describe(&frame[..length]).is_empty());
        }
        for place in 0..frame.len() {
            for byte in [0, 0x7f, 0xff] {
                let mut wrong = frame.clone();
                wrong[place] = byte;
                assert!(!describe(&wrong).is_empty());
            }
        }
    }
}
