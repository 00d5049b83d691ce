//! What a frame costs in the XDP program, by `BPF_PROG_TEST_RUN`, beside a program that only says `XDP_PASS`; and how
//! long it takes to load the kernel half.
//!
//! A test run with many repeats gives the program what it made of the frame the time before. So each frame here comes
//! out as it went in: for a frame to the virtual MAC, that MAC is given out as the interface's own. An answered ARP
//! request cannot come out so; it is run once per call, and the difference to a bare `XDP_PASS` run in the same way is
//! taken.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xvrrp_common::abi::Router;
use xvrrp_common::units::{MacAddress, Vrid};
use xvrrp_common::wire::arp::{self, Arp};
use xvrrp_common::wire::vrrp::AdvertFrame;

use crate::bare_xdp::BarePass;
use crate::frames::{self, advert, emit};
use crate::kernel_half::{KernelHalf, Verdict, router, virtual_mac};

const REPEATS: u32 = 1_000_000;
const ROUNDS: usize = 7;
const SINGLE_RUNS: usize = 100_000;
const LOADS: usize = 20;

/// How much longer a frame that is not ours may take than a bare `XDP_PASS`, in nanoseconds.
const PASSTHROUGH_TARGET: u64 = 6;

/// The measurements, to be printed.
#[derive(Debug)]
pub struct Report {
    rows: Vec<Row>,
    load: Spread<Duration>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    nanoseconds: Spread<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Spread<T> {
    min: T,
    median: T,
}

impl Report {
    /// What ordinary traffic pays, in nanoseconds, by medians.
    pub fn passthrough_cost(&self) -> u64 {
        let median = |index: usize| self.rows.get(index).map_or(0, |row| row.nanoseconds.median);
        median(1).saturating_sub(median(0))
    }

    pub fn meets_target(&self) -> bool {
        self.passthrough_cost() <= PASSTHROUGH_TARGET
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = self.rows.first().map_or(1, |row| row.nanoseconds.median.max(1));
        writeln!(f, "{:<44} {:>6} {:>8} {:>7}", "frame", "min ns", "median", "x bare")?;
        for Row { name, nanoseconds } in &self.rows {
            let Spread { min, median } = nanoseconds;
            let hundredths = median * 100 / bare;
            writeln!(f, "{name:<44} {min:>6} {median:>8} {:>4}.{:02}", hundredths / 100, hundredths % 100)?;
        }
        writeln!(
            f,
            "passthrough over bare XDP_PASS: {} ns (target: at most {PASSTHROUGH_TARGET})",
            self.passthrough_cost()
        )?;
        write!(f, "loading the object: min {:.1?}, median {:.1?}", self.load.min, self.load.median)
    }
}

/// Measures everything; takes some ten seconds.
pub fn run() -> Result<Report> {
    let bare = BarePass::load().context("load a bare XDP_PASS")?;
    let tcp = frames::tcp(MacAddress([2, 0, 0, 0, 0, 3]), [203, 0, 113, 5]);
    let mut rows = vec![Row { name: "bare XDP_PASS", nanoseconds: rounds(|| bare.nanoseconds(&tcp, REPEATS))? }];
    for (name, role, frame, verdict) in repeatable(&tcp) {
        let mut kernel = KernelHalf::with(Router { interface_mac: virtual_mac().0, ..router(role) })?;
        for _ in 0..2 {
            let outcome = kernel.receive(&frame)?;
            ensure!(outcome.verdict == verdict && outcome.frame == frame, "{name}: {outcome:?}");
        }
        let nanoseconds = rounds(|| kernel.nanoseconds(&frame, REPEATS))?;
        rows.push(Row { name, nanoseconds });
    }
    let bare_median = rows[0].nanoseconds.median;
    rows.push(Row {
        name: "ARP request, answered (single runs' medians)",
        nanoseconds: answered_arp(&bare, bare_median)?,
    });
    let mut loads = Vec::new();
    for _ in 0..LOADS {
        let start = Instant::now();
        let kernel = KernelHalf::load()?;
        loads.push(start.elapsed());
        drop(kernel);
    }
    Ok(Report { rows, load: spread(loads) })
}

/// Frames that come out as they go in: name, our role, frame, what becomes of it.
fn repeatable(tcp: &[u8]) -> Vec<(&'static str, u8, Vec<u8>, Verdict)> {
    let with = |count| {
        let addresses = frames::addresses(count);
        emit(&AdvertFrame { addresses: &addresses, ..advert() })
    };
    let valid = with(1);
    let unknown = AdvertFrame { vrid: Vrid::new(99).expect("not zero"), ..advert() };
    let active = Router::ROLE_ACTIVE;
    let backup = Router::ROLE_BACKUP;
    let to_virtual_mac = frames::tcp(virtual_mac(), [203, 0, 113, 5]);
    vec![
        ("TCP/IPv4 to the interface, passed", active, tcp.to_vec(), Verdict::Pass),
        ("TCP/IPv4 on a VLAN, passed", active, frames::tagged(tcp, 0x8100, 7), Verdict::Pass),
        ("TCP/IPv4 to the virtual MAC, admitted", active, to_virtual_mac.clone(), Verdict::Pass),
        ("TCP/IPv4 to the virtual MAC, dropped", backup, to_virtual_mac, Verdict::Drop),
        ("valid advert, 1 address", backup, valid.clone(), Verdict::Drop),
        ("valid advert, 20 addresses", backup, with(20), Verdict::Drop),
        ("valid advert, 255 addresses", backup, with(255), Verdict::Drop),
        ("bogus advert: TTL 254", backup, frames::with_ip_byte(&valid, 8, 254), Verdict::Drop),
        ("bogus advert: checksum", backup, frames::with_byte(&valid, frames::MESSAGE + 6, 0), Verdict::Drop),
        ("bogus advert: unknown VRID", backup, emit(&unknown), Verdict::Pass),
    ]
}

fn answered_arp(bare: &BarePass, bare_median: u64) -> Result<Spread<u64>> {
    let request = frames::arp(&Arp {
        operation: arp::OPERATION_REQUEST,
        sender_mac: MacAddress([2, 0, 0, 0, 0, 9]),
        sender: [192, 0, 2, 9],
        target_mac: MacAddress::default(),
        target: [192, 0, 2, 1],
    });
    let mut kernel = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
    ensure!(kernel.receive(&request)?.verdict == Verdict::Transmit, "the request is not answered");
    let mut alone = Vec::with_capacity(SINGLE_RUNS);
    let mut answered = Vec::with_capacity(SINGLE_RUNS);
    for _ in 0..SINGLE_RUNS {
        alone.push(bare.nanoseconds(&request, 1)?);
        answered.push(kernel.nanoseconds(&request, 1)?);
    }
    let net = (spread(answered).median + bare_median).saturating_sub(spread(alone).median);
    // A minimum would be of two different moments.
    Ok(Spread { min: net, median: net })
}

fn rounds(mut measure: impl FnMut() -> Result<u64>) -> Result<Spread<u64>> {
    let values = (0..ROUNDS).map(|_| measure()).collect::<Result<Vec<_>>>()?;
    Ok(spread(values))
}

/// Of at least one value.
fn spread<T: Ord + Copy>(mut values: Vec<T>) -> Spread<T> {
    values.sort_unstable();
    Spread { min: values[0], median: values[values.len() / 2] }
}
