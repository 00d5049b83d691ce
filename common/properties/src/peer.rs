//! A peer in either family, and the headers of its packets.

use xvrrp_common::wire::checksum::Sum;
use xvrrp_common::wire::ipv4::{self, Fragment};
use xvrrp_common::wire::vrrp::{Carrier, Discard, HOP_LIMIT, IpAddress, PROTOCOL};
use xvrrp_common::wire::{ethernet, ipv6};

pub trait Peer: IpAddress + std::fmt::Debug {
    type Header: Carrier<Address = Self> + Copy;

    const PEER: Self;
    const OURS: Self;

    /// Returns the header of an advert that directly follows the Ethernet header.
    fn carrier(source: Self, payload_length: usize) -> Self::Header;
    /// Returns headers that no advert may have, with the reason for which it is discarded.
    fn spoiled(header: Self::Header) -> Vec<(Self::Header, Discard)>;
    fn shortened(header: Self::Header, payload_length: usize) -> Self::Header;
    fn decoded(frame: &[u8]) -> Self::Header;
    fn pseudo_header(length: usize) -> Sum;
}

impl Peer for [u8; 4] {
    type Header = ipv4::Header;

    const PEER: Self = [192, 0, 2, 2];
    const OURS: Self = [192, 0, 2, 3];

    fn carrier(source: Self, payload_length: usize) -> ipv4::Header {
        ipv4::Header {
            time_to_live: HOP_LIMIT,
            protocol: PROTOCOL,
            fragment: Fragment::Whole,
            source,
            destination: Self::GROUP,
            payload: ethernet::HEADER + ipv4::HEADER,
            payload_length,
        }
    }

    fn spoiled(header: ipv4::Header) -> Vec<(ipv4::Header, Discard)> {
        vec![
            (ipv4::Header { time_to_live: 254, ..header }, Discard::TimeToLive),
            (ipv4::Header { fragment: Fragment::First, ..header }, Discard::Fragment),
        ]
    }

    fn shortened(header: ipv4::Header, payload_length: usize) -> ipv4::Header {
        ipv4::Header { payload_length, ..header }
    }

    fn decoded(frame: &[u8]) -> ipv4::Header {
        ipv4::Header::decode(frame, ethernet::HEADER).expect("our own header")
    }

    fn pseudo_header(length: usize) -> Sum {
        let length = u16::try_from(length).unwrap_or_default().to_be_bytes();
        Sum::of(&Self::PEER).add(Sum::of(&Self::GROUP)).add(Sum::of(&[0, PROTOCOL])).add(Sum::of(&length))
    }
}

impl Peer for [u8; 16] {
    type Header = ipv6::Header;

    const PEER: Self = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    const OURS: Self = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3];

    fn carrier(source: Self, payload_length: usize) -> ipv6::Header {
        ipv6::Header {
            next_header: PROTOCOL,
            hop_limit: HOP_LIMIT,
            source,
            destination: Self::GROUP,
            payload: ethernet::HEADER + ipv6::HEADER,
            payload_length,
        }
    }

    fn spoiled(header: ipv6::Header) -> Vec<(ipv6::Header, Discard)> {
        vec![(ipv6::Header { hop_limit: 254, ..header }, Discard::TimeToLive)]
    }

    fn shortened(header: ipv6::Header, payload_length: usize) -> ipv6::Header {
        ipv6::Header { payload_length, ..header }
    }

    fn decoded(frame: &[u8]) -> ipv6::Header {
        ipv6::Header::decode(frame, ethernet::HEADER).expect("our own header")
    }

    fn pseudo_header(length: usize) -> Sum {
        Self::carrier(Self::PEER, length).pseudo_header()
    }
}
