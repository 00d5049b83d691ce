//! Generates frames. A third of them are valid. The others have a wrong field, flipped bits or parts of other frames,
//! or are cut off.

use xvrrp_common::units::{Family, Interval, MacAddress, Priority, Version, Vrid};
use xvrrp_common::wire::arp::Arp;
use xvrrp_common::wire::checksum::Sum;
use xvrrp_common::wire::vrrp::AdvertFrame;
use xvrrp_common::wire::{icmpv6, ipv6};

use super::network::{INTERFACE_MAC, PASSWORD, Sender, UNICAST, link_local};
use xvrrp_lab::random::Random;
use xvrrp_lab::traffic::frames::{self, IP, MESSAGE};

/// Minimum length of a frame: BPF_PROG_TEST_RUN refuses less than an Ethernet header.
const SHORTEST: usize = 14;
const CLIENT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
/// Offset of the payload of an untagged IPv6 packet.
const MESSAGE_IPV6: usize = 54;
/// VRIDs from which virtual addresses are derived. One of them is not configured.
const VRIDS: &[u8] = &[51, 52, 53, 54, 55, 56, 57];

#[derive(Debug)]
pub struct Generator {
    random: Random,
    /// The previous frame, parts of which are copied into the next one.
    previous: Vec<u8>,
}

impl Generator {
    /// Creates a generator. The same seed results in the same frames.
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), previous: vec![0; SHORTEST] }
    }

    pub fn frame(&mut self) -> Vec<u8> {
        let mut frame = match self.random.below(20) {
            0..8 => self.advert_ipv4(),
            8..12 => self.advert_ipv6(),
            12..14 => self.arp(),
            14..17 => self.neighbor(),
            17 => self.packet_ipv6(),
            _ => self.packet(),
        };
        match self.random.below(6) {
            0 | 1 => {}
            2 => frame = self.with_wrong_field(frame),
            3 => self.mutate(&mut frame),
            // Correct checksums make the program look at the other fields.
            4 => {
                self.mutate(&mut frame);
                self.repair(&mut frame);
            }
            _ => {
                let length = SHORTEST + self.random.below(frame.len() - SHORTEST + 1);
                frame.truncate(length);
            }
        }
        frame = self.tagged(frame);
        if self.random.happens(20) {
            frame = frames::padded(&frame);
        }
        self.previous.clone_from(&frame);
        frame
    }

    fn advert_ipv4(&mut self) -> Vec<u8> {
        let version = *self.one_of(&[Version::V3, Version::V3, Version::V2]);
        let vrids: &[u8] = match version {
            Version::V3 => &[51, 51, 54, 55, 56, 57, UNICAST],
            Version::V2 => &[52, 52, 53, 53, 51],
        };
        let count = if self.random.happens(90) { self.random.below(5) } else { 1 + self.random.below(255) };
        let addresses: Vec<[u8; 4]> = (0..count).map(|_| self.bytes()).collect();
        let vrid = *self.one_of(vrids);
        let frame = self.advert(version, vrid, &addresses);
        if self.random.happens(85) {
            return frame;
        }
        let options: Vec<u8> = (0..4 * (1 + self.random.below(10))).map(|_| self.bytes::<1>()[0]).collect();
        frames::with_ip_options(&frame, &options)
    }

    fn advert_ipv6(&mut self) -> Vec<u8> {
        let count = if self.random.happens(90) { self.random.below(4) } else { self.random.below(90) };
        let mut addresses = Vec::new();
        if self.random.happens(80) {
            addresses.push(link_local(0x33));
        }
        addresses.extend((0..count).map(|_| self.bytes::<16>()));
        let vrid = *self.one_of(&[51, 51, 52, 54, 55, 57, UNICAST]);
        self.advert(Version::V3, vrid, &addresses)
    }

    fn advert<A: Sender>(&mut self, version: Version, vrid: u8, addresses: &[A]) -> Vec<u8> {
        let vrid = Vrid::new(vrid).expect("not zero");
        let second = Interval::from_seconds(1);
        let advert = AdvertFrame {
            source_mac: MacAddress::of_virtual_router(A::FAMILY, vrid),
            source: *self.one_of(&[A::PEER, A::PEER, A::PEER, A::ALLOWED, A::ALLOWED, A::PRIMARY]),
            version,
            vrid,
            priority: Priority::new(*self.one_of(&[0, 1, 99, 100, 101, 200, 254, 255])),
            interval: match (version, self.random.happens(70)) {
                (_, true) => second,
                (Version::V3, _) => Interval::from_centiseconds(1 + (self.random.number() % 0xfff) as u16),
                (Version::V2, _) => Interval::from_seconds(1 + (self.random.number() % 255) as u8),
            },
            addresses,
            pseudo_header_checksum: self.random.happens(50),
            password: *self.one_of(&[None, Some(PASSWORD), Some(PASSWORD), Some(*b"secret\0x")]),
        };
        if self.random.happens(if vrid.get() == UNICAST { 80 } else { 5 }) {
            let destination = *self.one_of(&[A::PRIMARY, A::PRIMARY, A::PRIMARY, A::PEER]);
            return frames::emit_unicast(&advert, destination, INTERFACE_MAC);
        }
        frames::emit(&advert)
    }

    /// Generates Neighbor Discovery (RFC 4861 4.3, 4.4) without options, with a link-layer address, with another
    /// option, or with both.
    fn neighbor(&mut self) -> Vec<u8> {
        let (kind, option) = *self.one_of(&[(135, 1), (135, 1), (135, 1), (136, 2)]);
        let (source, destination, target) = (self.address_ipv6(), self.address_ipv6(), self.address_ipv6());
        let located = [&[option, 1][..], &self.mac().0].concat();
        let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
        let flags = *self.one_of(&[0, 0x20, 0xe0]);
        let mut message = [&[kind, 0, 0, 0, flags, 0, 0, 0], &target[..]].concat();
        for options in *self.one_of(&[&[][..], &[0], &[0], &[1], &[0, 1]]) {
            message.extend(if *options == 0 { &located[..] } else { &nonce });
        }
        let macs = [self.mac(), self.mac()];
        frames::ipv6(macs, [source, destination], 255, icmpv6::NEXT_HEADER, &message)
    }

    fn arp(&mut self) -> Vec<u8> {
        let sender = self.address();
        let target = if self.random.happens(10) { sender } else { self.address() };
        let mut frame = frames::arp(&Arp {
            operation: *self.one_of(&[1, 1, 1, 2, 3]),
            sender_mac: self.mac(),
            sender,
            target_mac: self.mac(),
            target,
        });
        if self.random.happens(30) {
            frame[..6].copy_from_slice(&self.mac().0);
        }
        frame
    }

    /// Generates other traffic.
    fn packet(&mut self) -> Vec<u8> {
        let (mac, address) = (self.mac(), self.address());
        if self.random.happens(70) {
            frames::tcp(mac, address)
        } else {
            frames::ipv4(mac, 255, 112, address, &[0x31; 12])
        }
    }

    fn packet_ipv6(&mut self) -> Vec<u8> {
        let (mac, address) = (self.mac(), self.address_ipv6());
        let next_header = *self.one_of(&[6, 17, 58, 44, 112]);
        frames::ipv6([mac, CLIENT_MAC], [self.address_ipv6(), address], 64, next_header, &[0x31; 24])
    }

    /// Returns the frame with one wrong field and correct checksums.
    fn with_wrong_field(&mut self, mut frame: Vec<u8>) -> Vec<u8> {
        // In the IP header: version, length, fragment, TTL, protocol, addresses. In the advert: version and type, VRID,
        // count, interval or authentication.
        const IPV4: &[(usize, u8)] = &[
            (IP, 0x46),
            (IP + 3, 0x20),
            (IP + 6, 0x20),
            (IP + 7, 1),
            (IP + 8, 254),
            (IP + 9, 6),
            (IP + 19, 19),
            (MESSAGE, 0x21),
            (MESSAGE, 0x31),
            (MESSAGE, 0x32),
            (MESSAGE, 0x41),
            (MESSAGE + 1, 51),
            (MESSAGE + 1, 52),
            (MESSAGE + 3, 0),
            (MESSAGE + 3, 2),
            (MESSAGE + 4, 0xf0),
            (MESSAGE + 5, 0),
        ];
        // In the IP header: version, length, next header, hop limit, destination. In the message: version, type or
        // code, count, interval, first address or target, first option.
        const IPV6: &[(usize, u8)] = &[
            (IP, 0x40),
            (IP + 5, 24),
            (IP + 5, 33),
            (IP + 6, 44),
            (IP + 7, 254),
            (IP + 39, 0x13),
            (MESSAGE_IPV6, 0x21),
            (MESSAGE_IPV6, 0x32),
            (MESSAGE_IPV6 + 1, 51),
            (MESSAGE_IPV6 + 3, 0),
            (MESSAGE_IPV6 + 5, 0),
            (MESSAGE_IPV6 + 8, 0x20),
            (MESSAGE_IPV6 + 23, 51),
            (MESSAGE_IPV6 + 24, 14),
            (MESSAGE_IPV6 + 25, 0),
            (MESSAGE_IPV6 + 25, 2),
        ];
        let (mut at, mut value) = *self.one_of(if frame[12..14] == [0x86, 0xdd] { IPV6 } else { IPV4 });
        if self.random.happens(50) {
            (at, value) = (self.random.below(frame.len()), self.bytes::<1>()[0]);
        }
        if let Some(byte) = frame.get_mut(at) {
            *byte = value;
        }
        self.repair(&mut frame);
        frame
    }

    fn mutate(&mut self, frame: &mut Vec<u8>) {
        for _ in 0..=self.random.below(4) {
            let at = self.random.below(frame.len());
            match self.random.below(6) {
                0 | 1 => frame[at] ^= 1 << self.random.below(8),
                2 => frame[at] = self.bytes::<1>()[0],
                3 => {
                    let from = self.random.below(self.previous.len());
                    let length = self.random.below(16).min(self.previous.len() - from).min(frame.len() - at);
                    frame[at..at + length].copy_from_slice(&self.previous[from..from + length]);
                }
                4 => frame.insert(at, self.bytes::<1>()[0]),
                _ if frame.len() > SHORTEST => {
                    frame.remove(at);
                }
                _ => {}
            }
        }
    }

    /// Corrects the checksums of an untagged frame, if it has any.
    fn repair(&mut self, frame: &mut [u8]) {
        match frame[12..14] {
            [0x08, 0x00] => self.repair_ipv4(frame),
            [0x86, 0xdd] => repair_ipv6(frame),
            _ => {}
        }
    }

    fn repair_ipv4(&mut self, frame: &mut [u8]) {
        let Some(&[first, _, l0, l1]) = frame.get(IP..).and_then(|ip| ip.first_chunk()) else { return };
        let message = IP + 4 * usize::from(first & 0x0f);
        if message < MESSAGE || frame.len() < message {
            return;
        }
        if frame.len() >= message + 8 && frame[IP + 9] == 112 {
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            let end = (IP + length).clamp(message + 8, frame.len());
            let mut covered = Sum::ZERO;
            if self.random.happens(50) {
                let length = u16::try_from(end - message).expect("a short frame").to_be_bytes();
                covered = Sum::of(&frame[IP + 12..IP + 20]).add(Sum::of(&[0, 112])).add(Sum::of(&length));
            }
            set_checksum(&mut frame[message..end], 6, covered);
        }
        set_checksum(&mut frame[IP..message], 10, Sum::ZERO);
    }

    fn tagged(&mut self, frame: Vec<u8>) -> Vec<u8> {
        let tci = *self.one_of(&[0, 0xe000, 7, 7, 0x2007, 8, 0x0fff]);
        match self.random.below(20) {
            0..3 => frames::tagged(&frame, 0x8100, tci),
            3 => frames::tagged(&frames::tagged(&frame, 0x8100, 7), 0x8100, tci),
            4 => frames::tagged(&frame, 0x88a8, tci),
            _ => frame,
        }
    }

    fn mac(&mut self) -> MacAddress {
        let vrid = Vrid::new(*self.one_of(&[51, 52, 54, 55, 56, 57])).expect("not zero");
        let virtual_mac = MacAddress::of_virtual_router(*self.one_of(&[Family::Ipv4, Family::Ipv6]), vrid);
        *self.one_of(&[virtual_mac, virtual_mac, CLIENT_MAC, INTERFACE_MAC, MacAddress::BROADCAST])
    }

    /// Returns an address, usually a virtual one.
    fn address(&mut self) -> [u8; 4] {
        let virtual_address = <[u8; 4]>::virtual_address(*self.one_of(VRIDS));
        let (peer, primary) = (<[u8; 4]>::PEER, <[u8; 4]>::PRIMARY);
        *self.one_of(&[virtual_address, virtual_address, peer, primary, [0; 4], [203, 0, 113, 5]])
    }

    /// Returns an address, usually a virtual one.
    fn address_ipv6(&mut self) -> [u8; 16] {
        let virtual_address = <[u8; 16]>::virtual_address(*self.one_of(VRIDS));
        let (peer, all_nodes) = (<[u8; 16]>::PEER, ipv6::ALL_NODES);
        // The group of all addresses that end in zeros.
        let solicited_node = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0];
        *self.one_of(&[virtual_address, virtual_address, peer, all_nodes, solicited_node, ipv6::UNSPECIFIED])
    }

    fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.random.below(choices.len())]
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.random.number().to_le_bytes()[0])
    }
}

/// Corrects the checksum of an advert or of ICMPv6.
fn repair_ipv6(frame: &mut [u8]) {
    let Some(&[.., l0, l1, next_header, _]) = frame.get(IP..).and_then(|ip| ip.first_chunk::<8>()) else { return };
    let at = match next_header {
        112 => 6,
        icmpv6::NEXT_HEADER => 2,
        _ => return,
    };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    if length < 8 || frame.len() < MESSAGE_IPV6 + length {
        return;
    }
    let covered = Sum::of(&frame[IP + 8..IP + 40]).add(Sum::of(&[l0, l1, 0, next_header]));
    set_checksum(&mut frame[MESSAGE_IPV6..MESSAGE_IPV6 + length], at, covered);
}

/// Stores the checksum of these bytes and of data with the sum `covered`.
fn set_checksum(bytes: &mut [u8], at: usize, covered: Sum) {
    bytes[at..at + 2].fill(0);
    let checksum = Sum::of(bytes).add(covered).checksum();
    bytes[at..at + 2].copy_from_slice(&checksum);
}
