//! What a frame costs in the XDP program, by `BPF_PROG_TEST_RUN`, beside a program that only says `XDP_PASS`; with few
//! and with many virtual routers in the maps; and how long it takes to load the kernel half.
//!
//! A test run with many repeats gives the program what it made of the frame the time before. So each frame here comes
//! out as it went in: for a frame to the virtual MAC, that MAC is given out as the interface's own. An answered ARP
//! request or Neighbor Solicitation cannot come out so; it is run once per call, and the difference to a bare `XDP_PASS`
//! run in the same way is taken.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use xvrrp_common::abi::{Lease, Router};
use xvrrp_common::units::{MacAddress, Vrid};
use xvrrp_common::wire::arp::{self, Arp};
use xvrrp_common::wire::vrrp::AdvertFrame;

use super::bare_xdp::BareProgram;
use super::{Body, Findings, Group, Options, Plot, Row, Samples, Subject};
use xvrrp_lab::kernel_half::{
    IFINDEX, KernelHalf, Verdict, key, key_ipv6, router, router_ipv6, virtual_mac, virtual_mac_ipv6,
};
use xvrrp_lab::traffic::frames::{self, advert, emit};

pub const SUBJECT: Subject = Subject { name: "xdp", title: "what a frame costs in the XDP program", run };

/// How many virtual routers the maps hold. Of each interface there are at most 255.
const ROUTERS: [u32; 3] = [1, 255, 4080];
const ON_AN_INTERFACE: u32 = 255;
/// The one that the frames are for.
const OURS: u8 = 51;

const ARP_ANSWERED: &str = "ARP request, answered";
const ND_ANSWERED: &str = "Neighbor Solicitation, answered";

/// What a packet costs on an interface without a virtual router, in the fence: while every lease runs, and past the end of
/// one, when each address is looked up.
const ELSEWHERE: [(&str, u64); 2] = [
    ("TCP/IPv4 on another interface, leases run", Lease::UNLIMITED),
    ("TCP/IPv4 on another interface, one has ended", Lease::ENDED),
];

/// The address over IPv6.
const VIP_IPV6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const HOST_IPV6: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// In nanoseconds above a bare `XDP_PASS`, by medians.
const PASSTHROUGH_TARGET: f64 = 5.0;
const ADMITTED_TARGET: f64 = 15.0;
/// How much more a frame may cost with the most virtual routers than with one, in nanoseconds or by share.
const FLAT_WITHIN: f64 = 5.0;
const FLAT_SHARE: f64 = 0.15;

/// A frame that comes out as it goes in.
struct Case {
    name: &'static str,
    role: u8,
    frame: Vec<u8>,
    verdict: Verdict,
    /// At most this much above a bare `XDP_PASS`.
    target: Option<f64>,
}

/// How often and how long.
struct Effort {
    repeats: u32,
    rounds: usize,
    single_runs: usize,
    loads: usize,
}

fn run(options: &Options) -> Result<Findings> {
    let effort = options.pick(
        Effort { repeats: 500_000, rounds: options.runs(15, 2), single_runs: 50_000, loads: 20 },
        Effort { repeats: 10_000, rounds: options.runs(15, 2), single_runs: 1000, loads: 2 },
    );
    let bare = BareProgram::pass().context("load a bare XDP_PASS")?;
    let tcp = frames::tcp(MacAddress([2, 0, 0, 0, 0, 3]), [203, 0, 113, 5]);
    let bare_cost = rounds(effort.rounds, || bare.nanoseconds(&tcp, effort.repeats))?;
    let mut rows = vec![Row::new("bare XDP_PASS", "ns").figure("nothing else", bare_cost.clone())];
    let mut groups = vec![Group::new("bare XDP_PASS").with("bare", bare_cost.clone())];
    for case in cases(&tcp) {
        let mut costs = Vec::new();
        for count in ROUTERS {
            let kernel = case.prepare(count).with_context(|| format!("{} with {count} routers", case.name))?;
            costs.push(rounds(effort.rounds, || kernel.nanoseconds(&case.frame, effort.repeats))?);
        }
        let target = case.target.map(|limit| bare_cost.median() + limit);
        rows.push(judged(case.name, &costs, case.target, target));
        groups.push(group(case.name, &costs));
    }
    for (name, question) in [(ARP_ANSWERED, arp_request()), (ND_ANSWERED, solicitation())] {
        let mut costs = Vec::new();
        for count in ROUTERS {
            costs.push(answered(&question, &bare, bare_cost.median(), count, effort.single_runs)?);
        }
        rows.push(judged(name, &costs, None, None));
        groups.push(group(name, &costs));
    }
    for (name, lease) in ELSEWHERE {
        let mut costs = Vec::new();
        for count in ROUTERS {
            costs.push(elsewhere(lease, count, &effort)?);
        }
        rows.push(judged(name, &costs, None, None));
        groups.push(group(name, &costs));
    }
    rows.push(Row::new("loading the object", "ms").figure("8 routers", loads(effort.loads)?));
    Ok(Findings {
        how: format!(
            "BPF_PROG_TEST_RUN: the mean of {} repeats, {} times over, with 1, 255 and 4080 virtual routers in the maps, \
             for one of which the frame is. A question that is answered cannot be repeated: the median of {} single runs, \
             less what a bare XDP_PASS takes longer so than in repeats.",
            effort.repeats, effort.rounds, effort.single_runs
        ),
        rows,
        notes: vec![
            "The kernel tells the mean in whole nanoseconds. Everything is in the cache; real traffic also pays for what \
             is not."
                .to_owned(),
            "keepalived has no part in the path of packets: there is nothing to compare with.".to_owned(),
        ],
        plots: vec![Plot {
            title: "What a frame costs in the XDP program".to_owned(),
            axis: "ns per frame (median; whisker: least to most)".to_owned(),
            logarithmic: false,
            mark: None,
            body: Body::Bars(groups),
        }],
    })
}

fn judged(name: &str, costs: &[Samples], above_bare: Option<f64>, limit: Option<f64>) -> Row {
    let mut row = Row::new(name, "ns");
    for (count, samples) in ROUTERS.iter().zip(costs) {
        row = row.figure(routers(*count), samples.clone());
    }
    let medians: Vec<f64> = costs.iter().map(Samples::median).collect();
    let (first, most) = (medians[0], medians.iter().copied().fold(0.0, f64::max));
    let flat = most <= (first + FLAT_WITHIN).max(first * (1.0 + FLAT_SHARE));
    let within = limit.is_none_or(|limit| most <= limit);
    let share = FLAT_SHARE * 100.0;
    let flatness = format!("with more routers at most {FLAT_WITHIN} ns or {share} % more");
    let what = match above_bare {
        Some(above) => format!("at most {above} ns above bare XDP_PASS; {flatness}"),
        None => flatness,
    };
    row.target(what, flat && within)
}

fn routers(count: u32) -> String {
    if count == 1 { "1 router".to_owned() } else { format!("{count} routers") }
}

fn group(name: &str, costs: &[Samples]) -> Group {
    let group = Group::new(name);
    ROUTERS.iter().zip(costs).fold(group, |group, (count, cost)| group.with(routers(*count), cost.clone()))
}

fn cases(tcp: &[u8]) -> Vec<Case> {
    let with = |count| {
        let addresses = frames::addresses(count);
        emit(&AdvertFrame { addresses: &addresses, ..advert() })
    };
    let valid = with(1);
    let unknown = AdvertFrame { vrid: Vrid::new(99).expect("not zero"), ..advert() };
    // In the largest maps every VRID is taken on our interface: another VLAN's is not.
    let unknown = frames::tagged(&emit(&unknown), 0x8100, 7);
    let active = Router::ROLE_ACTIVE;
    let backup = Router::ROLE_BACKUP;
    let to_virtual_mac = frames::tcp(virtual_mac(), [203, 0, 113, 5]);
    let case = |name, role, frame, verdict| Case { name, role, frame, verdict, target: None };
    vec![
        Case {
            target: Some(PASSTHROUGH_TARGET),
            ..case("TCP/IPv4 to the interface, passed", active, tcp.to_vec(), Verdict::Pass)
        },
        Case {
            target: Some(PASSTHROUGH_TARGET),
            ..case("TCP/IPv4 on a VLAN, passed", active, frames::tagged(tcp, 0x8100, 7), Verdict::Pass)
        },
        Case {
            target: Some(ADMITTED_TARGET),
            ..case("TCP/IPv4 to the virtual MAC, admitted", active, to_virtual_mac.clone(), Verdict::Pass)
        },
        Case {
            target: Some(PASSTHROUGH_TARGET),
            ..case("TCP/IPv6 to the interface, passed", active, tcp_ipv6(MacAddress([2, 0, 0, 0, 0, 3])), Verdict::Pass)
        },
        Case {
            target: Some(ADMITTED_TARGET),
            ..case("TCP/IPv6 to the virtual MAC, admitted", active, tcp_ipv6(virtual_mac_ipv6()), Verdict::Pass)
        },
        case("valid advert over IPv6, 2 addresses", backup, advert_ipv6(), Verdict::Drop),
        case("TCP/IPv4 to the virtual MAC, dropped", backup, to_virtual_mac, Verdict::Drop),
        case("valid advert, 1 address", backup, valid.clone(), Verdict::Drop),
        case("valid advert, 20 addresses", backup, with(20), Verdict::Drop),
        case("valid advert, 255 addresses", backup, with(255), Verdict::Drop),
        case("bogus advert: TTL 254", backup, frames::with_ip_byte(&valid, 8, 254), Verdict::Drop),
        case("bogus advert: checksum", backup, frames::with_byte(&valid, frames::MESSAGE + 6, 0), Verdict::Drop),
        case("advert of no virtual router of ours", backup, unknown, Verdict::Pass),
    ]
}

impl Case {
    /// Makes sure that the frame comes out as it goes in.
    fn prepare(&self, routers: u32) -> Result<KernelHalf> {
        // Whichever virtual MAC it is.
        let interface_mac = *self.frame.first_chunk().context("a frame with a destination")?;
        let mut kernel = kernel_half(routers, Router { interface_mac, ..router(self.role) })?;
        for _ in 0..2 {
            let outcome = kernel.receive(&self.frame)?;
            ensure!(outcome.verdict == self.verdict && outcome.frame == self.frame, "{outcome:?}");
        }
        Ok(kernel)
    }
}

/// `ours` is VRID 51's on the interface that frames arrive on, with 192.0.2.1, and with 2001:db8::1 over IPv6; the others
/// fill it and further interfaces.
fn kernel_half(routers: u32, ours: Router) -> Result<KernelHalf> {
    let mut kernel = KernelHalf::with_room(routers.max(8) + 1)?;
    kernel.add(key(OURS, 0), Router { slot: 0, ..ours }, [192, 0, 2, 1])?;
    let Router { primary, answer_mac, .. } = router_ipv6(ours.role);
    kernel.add(key_ipv6(OURS, 0), Router { slot: routers, primary, answer_mac, ..ours }, VIP_IPV6)?;
    let all =
        (0..routers.div_ceil(ON_AN_INTERFACE)).flat_map(|interface| (1..=u8::MAX).map(move |vrid| (interface, vrid)));
    let others = all.filter(|other| *other != (0, OURS)).take(usize::try_from(routers - 1)?);
    for (slot, (interface, vrid)) in (1..).zip(others) {
        let mut place = key(vrid, 0);
        place.ifindex = IFINDEX + interface;
        kernel.add(place, Router { slot, ..ours }, [10, u8::try_from(interface)?, vrid, 1])?;
    }
    Ok(kernel)
}

fn tcp_ipv6(destination: MacAddress) -> Vec<u8> {
    let elsewhere = [0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
    frames::ipv6([destination, MacAddress([2, 0, 0, 0, 0, 9])], [HOST_IPV6, elsewhere], 64, 6, &[0; 20])
}

fn advert_ipv6() -> Vec<u8> {
    let AdvertFrame { version, vrid, priority, interval, pseudo_header_checksum, password, .. } = advert();
    emit(&AdvertFrame {
        source_mac: virtual_mac_ipv6(),
        source: HOST_IPV6,
        version,
        vrid,
        priority,
        interval,
        addresses: &[HOST_IPV6, VIP_IPV6],
        pseudo_header_checksum,
        password,
    })
}

fn arp_request() -> Vec<u8> {
    frames::arp(&Arp {
        operation: arp::OPERATION_REQUEST,
        sender_mac: MacAddress([2, 0, 0, 0, 0, 9]),
        sender: [192, 0, 2, 9],
        target_mac: MacAddress::default(),
        target: [192, 0, 2, 1],
    })
}

fn solicitation() -> Vec<u8> {
    let message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &VIP_IPV6, &[1, 1, 2, 0, 0, 0, 0, 9]].concat();
    let macs = [MacAddress([0x33, 0x33, 0xff, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 9])];
    let group = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1];
    frames::ipv6(macs, [HOST_IPV6, group], 255, 58, &message)
}

fn answered(request: &[u8], bare: &BareProgram, bare_median: f64, routers: u32, runs: usize) -> Result<Samples> {
    let mut kernel = kernel_half(routers, router(Router::ROLE_ACTIVE))?;
    ensure!(kernel.receive(request)?.verdict == Verdict::Transmit, "the request is not answered");
    let mut alone = Vec::with_capacity(runs);
    let mut answered = Vec::with_capacity(runs);
    for _ in 0..runs {
        alone.push(bare.nanoseconds(request, 1)?);
        answered.push(kernel.nanoseconds(request, 1)?);
    }
    let (alone, answered) = (nanoseconds(alone)?, nanoseconds(answered)?);
    // One value: the least and the most would be of two different moments.
    Samples::once((answered.median() + bare_median - alone.median()).max(0.0))
}

fn elsewhere(lease: u64, routers: u32, effort: &Effort) -> Result<Samples> {
    let mut kernel = kernel_half(routers, router(Router::ROLE_ACTIVE))?;
    kernel.set_lease(0, lease);
    let frame = frames::tcp(MacAddress([0; 6]), [203, 0, 113, 5]);
    ensure!(kernel.receive_elsewhere(&frame)?.verdict == Verdict::Pass, "an ordinary packet is dropped");
    rounds(effort.rounds, || kernel.nanoseconds_elsewhere(&frame, effort.repeats))
}

fn loads(count: usize) -> Result<Samples> {
    let mut loads = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        let kernel = KernelHalf::load()?;
        loads.push(start.elapsed());
        drop(kernel);
    }
    Samples::milliseconds(loads)
}

fn rounds(count: usize, mut measure: impl FnMut() -> Result<u64>) -> Result<Samples> {
    nanoseconds((0..count).map(|_| measure()).collect::<Result<Vec<_>>>()?)
}

fn nanoseconds(values: Vec<u64>) -> Result<Samples> {
    Samples::of(values.into_iter().map(|value| f64::from(u32::try_from(value).unwrap_or(u32::MAX))))
}
