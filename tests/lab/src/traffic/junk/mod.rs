//! Kinds of frames that a virtual router must not act on, for floods, and the counters that must count them.
//!
//! Frames that resemble adverts would win the election if they were accepted.

mod counts;
mod withstand;

use std::time::Duration;

use anyhow::Result;
use xvrrp_common::units::{Interval, MacAddress, Priority, Vrid};
use xvrrp_common::wire::arp::{Arp, OPERATION_REQUEST};
use xvrrp_common::wire::vrrp::{AdvertFrame, GROUP, PROTOCOL};

pub use self::counts::Counter;
use self::counts::{Foreign, NoPort, Ours};
pub use self::withstand::{CPU_SHARE, Target, Withstood};
use crate::traffic::frames::{self, MESSAGE};
use crate::{INTERFACE, Lab, Pair, VIP};

/// Number of different senders, where their number could matter.
const SENDERS: u16 = 4096;
/// VRID of the virtual router under attack.
const VRID: Vrid = Vrid::new(51).expect("not zero");
/// A VRID that is not configured.
const OTHER_VRID: Vrid = Vrid::new(52).expect("not zero");

/// A kind of junk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Junk {
    /// Adverts with a TTL below 255 (RFC 9568 5.1.1.3).
    WrongTimeToLive,
    /// Adverts with a wrong checksum (RFC 9568 5.2.8).
    WrongChecksum,
    /// Adverts with the interval 0 (RFC 9568 5.2.7, erratum 8301).
    IntervalZero,
    /// Adverts with the address count 0 (RFC 9568 5.2.5, erratum 8299).
    CountZero,
    /// Adverts that end before the address that they announce.
    WithoutItsAddress,
    /// Adverts that end in the middle of the header of VRRP.
    HalfAHeader,
    /// Adverts that end before the VRID.
    WithoutVrid,
    /// Adverts with a VRID that is not configured.
    UnknownVrid,
    /// Adverts from many addresses that `allowed_sources` does not list.
    ForbiddenSources,
    /// Packets of VRRP with random content. Every other one begins like an advert.
    RandomBytes,
    /// ARP requests for the virtual address (RFC 9568 6.4.2, 6.4.3).
    ArpForVip,
    /// Datagrams to the virtual address (RFC 9568 6.4.2, 6.4.3).
    UdpToVip,
    /// Datagrams to a closed port of the router's own address, which only its network stack handles.
    UdpToRouter,
}

impl Junk {
    /// All kinds.
    pub const ALL: [Self; 13] = [
        Self::WrongTimeToLive,
        Self::WrongChecksum,
        Self::IntervalZero,
        Self::CountZero,
        Self::WithoutItsAddress,
        Self::HalfAHeader,
        Self::WithoutVrid,
        Self::UnknownVrid,
        Self::ForbiddenSources,
        Self::RandomBytes,
        Self::ArpForVip,
        Self::UdpToVip,
        Self::UdpToRouter,
    ];

    /// Returns the name that reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WrongTimeToLive => "wrong TTL",
            Self::WrongChecksum => "wrong checksum",
            Self::IntervalZero => "interval 0",
            Self::CountZero => "count 0",
            Self::WithoutItsAddress => "without its address",
            Self::HalfAHeader => "half a header",
            Self::WithoutVrid => "without a VRID",
            Self::UnknownVrid => "wrong VRID",
            Self::ForbiddenSources => "forbidden sources",
            Self::RandomBytes => "random bytes",
            Self::ArpForVip => "ARP for the VIP",
            Self::UdpToVip => "UDP to the VIP",
            Self::UdpToRouter => "UDP to the router",
        }
    }

    /// Whether a sampler can ask the routers during the flood: its requests must differ from the frames of the flood.
    const fn allows_sampling(self) -> bool {
        !matches!(self, Self::ArpForVip | Self::UdpToVip)
    }

    /// Returns the counters in which the target must count the frames.
    const fn counters(self, target: Target) -> &'static [Counter] {
        match (self, target) {
            (Self::WrongTimeToLive, _) => &[Ours("advert_time_to_live")],
            (Self::WrongChecksum, _) => &[Ours("advert_checksum")],
            (Self::IntervalZero, _) => &[Ours("advert_interval_zero")],
            (Self::CountZero, _) => &[Ours("advert_no_address")],
            (Self::WithoutItsAddress | Self::HalfAHeader, _) => &[Ours("advert_length")],
            (Self::WithoutVrid, _) => &[Foreign("advert_length")],
            (Self::UnknownVrid, _) => &[Foreign("advert_unknown_vrid")],
            (Self::ForbiddenSources, _) => &[Ours("advert_forbidden_source")],
            (Self::RandomBytes, _) => counts::DISCARDED,
            (Self::ArpForVip, Target::Active) => &[Ours("arp_answered")],
            (Self::ArpForVip, Target::Backup) => &[Ours("arp_suppressed")],
            (Self::UdpToVip, Target::Active) => &[Ours("virtual_mac_admitted")],
            (Self::UdpToVip, Target::Backup) => &[Ours("virtual_mac_dropped")],
            (Self::UdpToRouter, _) => &[NoPort],
        }
    }

    fn frames(self, lab: &Lab, target: Target) -> Result<Vec<Vec<u8>>> {
        let advert = frames::emit(&winning());
        Ok(match self {
            Self::WrongTimeToLive => vec![frames::with_ip_byte(&advert, 8, 254)],
            Self::WrongChecksum => vec![frames::with_byte(&advert, MESSAGE + 6, advert[MESSAGE + 6] ^ 0x55)],
            Self::IntervalZero => {
                vec![frames::with_message_byte(&frames::with_message_byte(&advert, 4, 0), 5, 0)]
            }
            Self::CountZero => vec![frames::with_message_byte(&advert, 3, 0)],
            Self::WithoutItsAddress => vec![cut(advert, 8)],
            Self::HalfAHeader => vec![cut(advert, 4)],
            Self::WithoutVrid => vec![cut(advert, 1)],
            Self::UnknownVrid => vec![frames::emit(&AdvertFrame { vrid: OTHER_VRID, ..winning() })],
            Self::ForbiddenSources => (0..SENDERS).map(stranger).collect(),
            Self::RandomBytes => random_bytes(),
            Self::ArpForVip => (0..SENDERS).map(request).collect(),
            Self::UdpToVip => vec![datagram(MacAddress::virtual_ipv4(VRID), VIP.octets())],
            Self::UdpToRouter => {
                let router = target.router();
                vec![datagram(lab.routers[router].mac(INTERFACE)?, Lab::address(router).octets())]
            }
        })
    }
}

/// Starts two routers to flood.
pub fn pair(lab: Lab, interval: Duration) -> Result<Pair> {
    Pair::start(lab, [""; 2], |router| {
        router
            .with("advert_interval", &format!("\"{}ms\"", interval.as_millis()))
            .with("allowed_sources", "[\"192.0.2.2\", \"192.0.2.3\", \"192.0.2.9\"]")
    })
}

/// Returns an advert from an allowed source that would win the election.
fn winning() -> AdvertFrame<'static> {
    AdvertFrame {
        source: [192, 0, 2, 9],
        source_mac: MacAddress([2, 0, 0, 0, 0, 9]),
        priority: Priority::new(254),
        interval: Interval::from_millis(10),
        ..frames::advert()
    }
}

/// Cuts the IPv4 packet of an advert after `message` bytes of its message.
fn cut(mut advert: Vec<u8>, message: usize) -> Vec<u8> {
    frames::set_total_length(&mut advert, |_| 20 + message);
    advert.truncate(MESSAGE + message);
    advert
}

/// Returns an advert from a source that is not allowed, which would otherwise win the election.
fn stranger(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    frames::emit(&AdvertFrame { source: [192, 0, 1 - high / 16, low], ..winning() })
}

fn random_bytes() -> Vec<Vec<u8>> {
    // Knuth's MMIX generator: the same bytes each time.
    let mut state: u64 = 1;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    let junk = (0..SENDERS).map(|number| {
        let length = usize::from(random() % 64);
        let mut payload: Vec<u8> = (0..length).map(|_| random()).collect();
        // Every other payload begins like an advert for the virtual router.
        if let Some(start) = payload.first_chunk_mut().filter(|_| number % 2 == 0) {
            *start = [0x31, VRID.get()];
        }
        frames::ipv4(MacAddress::VRRP_IPV4_MULTICAST, 255, PROTOCOL, GROUP, &payload)
    });
    junk.collect()
}

fn request(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    frames::arp(&Arp {
        operation: OPERATION_REQUEST,
        sender_mac: MacAddress([2, 0, 0, 1, high, low]),
        sender: [198, 18, high, low],
        target_mac: MacAddress::default(),
        target: VIP.octets(),
    })
}

/// Returns a datagram to a port that is not open.
fn datagram(destination_mac: MacAddress, destination: [u8; 4]) -> Vec<u8> {
    frames::ipv4(destination_mac, 64, 17, destination, &[0x13, 0x88, 0, 9, 0, 12, 0, 0, 0, 0, 0, 0])
}
