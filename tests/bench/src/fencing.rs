//! Who serves the virtual address when the Active router dies, hangs or loses the network, and comes back: asked of both
//! routers every millisecond. What it measures is in [`xvrrp_lab::fencing`].

use std::time::Duration;

use anyhow::{Context, Result};

use super::{Findings, Options, Row, Samples, Subject};
use xvrrp_lab::fencing::{Fault, Pair, Program, Setup};

pub const SUBJECT: Subject =
    Subject { name: "fencing", title: "who serves when the Active router dies or hangs, and comes back", run };

/// What a takeover may add to Active_Down_Interval.
const SLACK: Duration = Duration::from_millis(5);
const RUNS: usize = 20;
/// keepalived's routers both serve for as long as they are left alone. More runs would show the same.
const RUNS_OF_KEEPALIVED: usize = 3;
const HOLD_OF_KEEPALIVED: Duration = Duration::from_secs(3);

/// What was seen of some runs.
#[derive(Debug, Default)]
struct Seen {
    /// Nobody served.
    gaps: Vec<Duration>,
    /// Samples in which both served, by run.
    twice: Vec<f64>,
    /// Samples due, and those of which the sampler was certain.
    moments: (u32, u32),
}

fn run(options: &Options) -> Result<Findings> {
    let runs = options.runs(RUNS, 1);
    let hundred = Setup::xvrrp(Duration::from_millis(100));
    let ten = Setup::xvrrp(Duration::from_millis(10));
    let own_mac = Setup { virtual_mac: false, ..hundred };
    let setups = [("100 ms", hundred), ("100 ms, own MAC", own_mac), ("10 ms", ten)];
    let (setups, faults) = options.pick((&setups[..], &Fault::ALL[..]), (&setups[1..2], &Fault::ALL[..1]));
    let mut rows = Vec::new();
    let mut moments = (0, 0);
    for &(name, setup) in setups {
        for &fault in faults {
            let what = format!("{name}, {}", fault.name());
            let seen = measure(setup, fault, runs, setup.interval * 5).with_context(|| what.clone())?;
            moments = (moments.0 + seen.moments.0, moments.1 + seen.moments.1);
            let beside = if setup.virtual_mac {
                None
            } else {
                let keepalived = Setup { program: Program::Keepalived, ..setup };
                let runs = runs.min(RUNS_OF_KEEPALIVED);
                Some(
                    measure(keepalived, fault, runs, HOLD_OF_KEEPALIVED)
                        .with_context(|| format!("keepalived, {what}"))?,
                )
            };
            rows.extend(rows_of(&what, setup, fault, seen, beside)?);
        }
    }
    Ok(Findings {
        how: "Every millisecond each router gets a request for the address (ARP) and a datagram to it on its own switch \
              port; what comes back is that router's answer, whatever the switch has learned. Gap: from the last datagram \
              that the old Active router served, or the order to isolate it, to the first one that the new one did. Twice: samples of a run \
              in which both served, be it in one way; while they are isolated from each other, and for an interval after \
              that, it is not counted."
            .to_owned(),
        rows,
        notes: vec![
            format!(
                "The sampler was certain of {:.2} % of all moments; late samples are no evidence and not counted.",
                f64::from(moments.1) / f64::from(moments.0.max(1)) * 100.0
            ),
            format!(
                "keepalived (without a virtual MAC, as by default) is cut off after {HOLD_OF_KEEPALIVED:?} with both \
                 serving: it would go on for ever. There is no gap, then, to compare with. After SIGKILL, to both of its processes, it is started again; {RUNS_OF_KEEPALIVED} runs at most."
            ),
        ],
        plots: Vec::new(),
    })
}

fn measure(setup: Setup, fault: Fault, runs: usize, hold: Duration) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut pair = Pair::start(setup)?;
    for run in 0..runs {
        // So that the faults fall on all phases of an interval.
        let phase = u32::try_from(run)? * 37 % 100;
        let outcome = pair.suffer(fault, phase, hold, SLACK).with_context(|| format!("run {run}"))?;
        seen.gaps.push(outcome.gap);
        seen.twice.push(f64::from(u32::try_from(outcome.served_twice.len())?));
        let (due, certain) = outcome.seen.moments();
        seen.moments = (seen.moments.0 + due, seen.moments.1 + certain);
    }
    Ok(seen)
}

fn rows_of(what: &str, setup: Setup, fault: Fault, xvrrp: Seen, keepalived: Option<Seen>) -> Result<[Row; 2]> {
    let most = (setup.active_down_interval() + SLACK).as_secs_f64() * 1e3;
    let gaps = Samples::milliseconds(xvrrp.gaps)?;
    let met = gaps.max() <= most;
    let mut gap = Row::new(format!("{what}: gap"), "ms").figure("xvrrp", gaps);
    let twice = Samples::of(xvrrp.twice)?;
    let never = twice.max() == 0.0;
    let mut both = Row::new(format!("{what}: twice"), "samples").figure("xvrrp", twice);
    if let Some(keepalived) = keepalived {
        // There is none where the old router never stops.
        if matches!(fault, Fault::Pull | Fault::Isolate) {
            gap = gap.beside("keepalived", Samples::milliseconds(keepalived.gaps)?);
        }
        both = both.beside("keepalived", Samples::of(keepalived.twice)?);
    }
    let gap = gap.target(format!("each at most Active_Down_Interval + {SLACK:?}: {most:.1} ms"), met);
    Ok([gap, both.target("0 in every run", never)])
}
