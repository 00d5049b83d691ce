//! Measures which router serves the virtual address when the Active router dies, hangs or is cut off, and when it
//! returns. [`xvrrp_lab::fencing`] asks both routers every millisecond.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{Findings, Options, Row, Samples, Subject};
use xvrrp_lab::fencing::{Fault, Pair, Program, Setup};

pub const SUBJECT: Subject =
    Subject { name: "fencing", title: "which router serves when the Active router dies or hangs, and returns", run };

/// Time that a takeover may add to Active_Down_Interval.
const SLACK: Duration = Duration::from_millis(5);
const RUNS: usize = 20;
/// Number of runs of keepalived, whose routers both serve until one is stopped. More runs would show the same.
const RUNS_OF_KEEPALIVED: usize = 3;
const HOLD_OF_KEEPALIVED: Duration = Duration::from_secs(3);

/// Figures of several runs.
#[derive(Debug, Default)]
struct Seen {
    /// Times for which no router served, one for each run.
    gaps: Vec<Duration>,
    /// Numbers of samples in which both served, one for each run.
    twice: Vec<f64>,
    /// Number of samples that were due, and of those that are certain.
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
        how: "Every millisecond, each router gets an ARP request for the address and a datagram to it on its own \
              switch port. An answer from that port is that router's, whatever the switch has learned. Gap: the time \
              from the last datagram that the old Active router served, or from its isolation, to the first one that \
              the new Active router served. Twice: the number of samples in which both routers served, by ARP or by \
              datagram. Samples are not counted while the routers are isolated from each other, and for one interval \
              after that."
            .to_owned(),
        rows,
        notes: vec![
            format!(
                "{:.2} % of all samples are certain. Late samples prove nothing and are not counted.",
                f64::from(moments.1) / f64::from(moments.0.max(1)) * 100.0
            ),
            format!(
                "keepalived (without a virtual MAC, which is its default) is stopped after both routers have served \
                 for {HOLD_OF_KEEPALIVED:?}, because they would continue forever. In those cases it has no gap to \
                 compare with. SIGKILL goes to both of its processes, which are then started again. It is measured in \
                 at most {RUNS_OF_KEEPALIVED} runs."
            ),
        ],
        plots: Vec::new(),
    })
}

fn measure(setup: Setup, fault: Fault, runs: usize, hold: Duration) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut pair = Pair::start(setup)?;
    for run in 0..runs {
        // The faults are spread over all phases of an interval.
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
    let max = (setup.active_down_interval() + SLACK).as_secs_f64() * 1e3;
    let gaps = Samples::milliseconds(xvrrp.gaps)?;
    let met = gaps.max() <= max;
    let mut gap = Row::new(format!("{what}: gap"), "ms").figure("xvrrp", gaps);
    let twice = Samples::of(xvrrp.twice)?;
    let never = twice.max() == 0.0;
    let mut both = Row::new(format!("{what}: twice"), "samples").figure("xvrrp", twice);
    if let Some(keepalived) = keepalived {
        // keepalived has a gap only if its old Active router is cut off.
        if matches!(fault, Fault::Pull | Fault::Isolate) {
            gap = gap.beside("keepalived", Samples::milliseconds(keepalived.gaps)?);
        }
        both = both.beside("keepalived", Samples::of(keepalived.twice)?);
    }
    let gap = gap.target(format!("each at most Active_Down_Interval + {SLACK:?}: {max:.1} ms"), met);
    Ok([gap, both.target("0 in every run", never)])
}
