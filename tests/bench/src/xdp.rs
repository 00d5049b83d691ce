//! Measures what a frame costs in the XDP program (`BPF_PROG_TEST_RUN`), beside a program that only returns `XDP_PASS`,
//! with few and with many virtual routers in the maps; and how long it takes to load the kernel half.
//!
//! If a test run repeats the program, each repetition gets the frame that the one before has left. Therefore, the
//! program must not change the frame. For frames to the virtual MAC, the maps name that MAC as the interface's own. An
//! ARP request or Neighbor Solicitation that is answered does change, so it is run once per call, and compared with a
//! bare `XDP_PASS` that is run in the same way.

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

/// Numbers of virtual routers in the maps. An interface has at most 255.
const ROUTERS: [u32; 3] = [1, 255, 4080];
const ON_AN_INTERFACE: u32 = 255;
/// VRID of the virtual router that the frames are for.
const OURS: u8 = 51;

const ARP_ANSWERED: &str = "ARP request, answered";
const ND_ANSWERED: &str = "Neighbor Solicitation, answered";

/// Cases of a packet on an interface without a virtual router, which passes the fence: every lease runs; or one has
/// ended, so that each address is looked up.
const ELSEWHERE: [(&str, u64); 2] = [
    ("TCP/IPv4 on another interface, leases run", Lease::UNLIMITED),
    ("TCP/IPv4 on another interface, one has ended", Lease::ENDED),
];

/// Virtual address over IPv6.
const VIP_IPV6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const HOST_IPV6: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// Targets for the medians, in nanoseconds above a bare `XDP_PASS`.
const PASSTHROUGH_TARGET: f64 = 5.0;
const ADMITTED_TARGET: f64 = 15.0;
/// Targets for the difference between many virtual routers and one: in nanoseconds, or as a share.
const FLAT_WITHIN: f64 = 5.0;
const FLAT_SHARE: f64 = 0.15;

/// A frame that the program does not change.
struct Case {
    name: &'static str,
    role: u8,
    frame: Vec<u8>,
    verdict: Verdict,
    /// Target in nanoseconds above a bare `XDP_PASS`.
    target: Option<f64>,
}

/// Numbers of measurements.
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
    let bare = BareProgram::pass().context("cannot load a bare XDP_PASS")?;
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
            "BPF_PROG_TEST_RUN gives the mean of {} repetitions. It runs {} times, with 1, 255 and 4080 virtual \
             routers in the maps, and the frame is for one of them. A request that is answered cannot be repeated. Its \
             figure is the median of {} single runs, minus the time by which a single run of a bare XDP_PASS exceeds a \
             repeated one.",
            effort.repeats, effort.rounds, effort.single_runs
        ),
        rows,
        notes: vec![
            "The kernel reports the mean in whole nanoseconds. All data is in the cache; real traffic also pays for \
             cache misses."
                .to_owned(),
            "There is no comparison with keepalived, which has no part in the path of packets.".to_owned(),
        ],
        plots: vec![Plot {
            title: "What a frame costs in the XDP program".to_owned(),
            axis: "ns per frame (median; whisker: minimum to maximum)".to_owned(),
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
    let (first, max) = (medians[0], medians.iter().copied().fold(0.0, f64::max));
    let flat = max <= (first + FLAT_WITHIN).max(first * (1.0 + FLAT_SHARE));
    let within = limit.is_none_or(|limit| max <= limit);
    let share = FLAT_SHARE * 100.0;
    let flatness = format!("at most {FLAT_WITHIN} ns or {share} % more with more routers");
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
    // In the largest maps, every VRID is in use on our interface, but none on another VLAN.
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
        case("advert with an unknown VRID", backup, unknown, Verdict::Pass),
    ]
}

impl Case {
    /// Loads the kernel half and makes sure that it does not change the frame.
    fn prepare(&self, routers: u32) -> Result<KernelHalf> {
        // The destination, which may be a virtual MAC of either family, is named as the interface's own.
        let interface_mac = *self.frame.first_chunk().context("a frame with a destination")?;
        let mut kernel = kernel_half(routers, Router { interface_mac, ..router(self.role) })?;
        for _ in 0..2 {
            let outcome = kernel.receive(&self.frame)?;
            ensure!(outcome.verdict == self.verdict && outcome.frame == self.frame, "{outcome:?}");
        }
        Ok(kernel)
    }
}

/// Loads the kernel half with this number of virtual routers. `ours` has VRID 51 on the interface that frames arrive
/// on, with the addresses 192.0.2.1 and 2001:db8::1. The others fill that interface and further ones.
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
    // This is one value: a minimum and a maximum would come from different runs.
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
