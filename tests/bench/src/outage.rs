//! Measures how long a client gets no answers when the Active router's cable is pulled, and how much of that time is
//! not the protocol's own wait. xvrrp and keepalived are measured one after the other in the same lab.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::routers::{Program, Routers, active_down_interval};
use super::{Body, Findings, Group, Options, Plot, Row, Samples, Subject};
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::traffic::AdvertTap;
use xvrrp_lab::{Lab, PATIENCE, VIP};

pub const SUBJECT: Subject =
    Subject { name: "outage", title: "a client's outage when the Active router's cable is pulled", run };

/// Time between the client's probes, which is the resolution.
const PROBE: Duration = Duration::from_micros(250);
/// Targets for the time that a takeover adds to Active_Down_Interval, in milliseconds.
const EXCESS_MEDIAN: f64 = 1.0;
const EXCESS_P99: f64 = 5.0;

/// Advertisement interval in milliseconds, and the numbers of full and of quick runs.
const ROWS: [(u64, usize, usize); 3] = [(1000, 20, 1), (100, 40, 2), (10, 100, 3)];

/// Times of several takeovers.
struct Takeovers {
    outages: Samples,
    excesses: Samples,
}

fn run(options: &Options) -> Result<Findings> {
    let mut rows = Vec::new();
    let mut groups = Vec::new();
    for (milliseconds, full, quick) in ROWS {
        let interval = Duration::from_millis(milliseconds);
        let runs = options.runs(full, quick);
        let measure = |program: Program| {
            takeovers(program, interval, runs).with_context(|| format!("{} every {interval:?}", program.name()))
        };
        let (xvrrp, keepalived) = (measure(Program::Xvrrp)?, measure(Program::Keepalived)?);
        let down = active_down_interval(interval).as_secs_f64() * 1e3;
        let name = format!("adverts every {milliseconds} ms");
        groups.push(
            Group::new(&name).with("xvrrp", xvrrp.excesses.clone()).with("keepalived", keepalived.excesses.clone()),
        );
        let met = xvrrp.excesses.median() < EXCESS_MEDIAN
            && xvrrp.excesses.p99() < EXCESS_P99
            && xvrrp.excesses.median() < keepalived.excesses.median()
            && xvrrp.excesses.p99() < keepalived.excesses.p99();
        rows.push(
            Row::new(format!("{name}: excess"), "ms")
                .figure("xvrrp", xvrrp.excesses)
                .beside("keepalived", keepalived.excesses)
                .target(
                    format!("median under {EXCESS_MEDIAN} ms, p99 under {EXCESS_P99} ms, both below keepalived's"),
                    met,
                ),
        );
        rows.push(
            Row::new(format!("{name}: outage (ADI {down:.1})"), "ms")
                .figure("xvrrp", xvrrp.outages)
                .beside("keepalived", keepalived.outages),
        );
    }
    Ok(Findings {
        how: format!(
            "The cable is pulled at all phases of an interval, while a client asks a service on the virtual address \
             every {} ms, which is the resolution. Outage: the time from the last answer before the cut to the first \
             answer after it. Excess: the time from the end of the protocol's own wait to the first answer. That wait \
             ends Active_Down_Interval (ADI) after the last advert to the Backup, which the kernel stamps at the \
             switch port.",
            PROBE.as_secs_f64() * 1e3
        ),
        rows,
        notes: vec![
            "At the time of the cut, the last advert is up to one interval old. An outage may be that much shorter \
             than ADI."
                .to_owned(),
        ],
        plots: vec![Plot {
            title: "Takeover: excess over Active_Down_Interval".to_owned(),
            axis: "ms after the deadline, one dot for each run (log scale); stroke and number: median".to_owned(),
            logarithmic: true,
            mark: Some((EXCESS_MEDIAN, "target for the median".to_owned())),
            body: Body::Dots(groups),
        }],
    })
}

fn takeovers(program: Program, interval: Duration, runs: usize) -> Result<Takeovers> {
    let lab = Lab::new(2)?;
    let _echoes = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
    // The tap starts first, because the last advert before a cut may be the first one of all.
    let tap = AdvertTap::start(lab.switch(), "p1")?;
    let _routers = Routers::start(program, &lab, interval)?;
    let mut outages = Vec::with_capacity(runs);
    let mut excesses = Vec::with_capacity(runs);
    for run in 0..runs {
        let probe = UdpProbe::start(&lab.client, VIP, PROBE)?;
        probe.wait_for_answer_from(0, PATIENCE)?;
        // Waits until the segment is quiet, and for another part of an interval each time, so that the cuts are spread
        // over all phases of an interval.
        let share = u32::try_from(run)? * 37 % 100;
        thread::sleep(Duration::from_millis(500) + interval * share / 100);
        let cut = Instant::now();
        lab.pull(0)?;
        probe.wait_for_answer_from(1, PATIENCE)?;
        let seen = probe.finish();
        let (before, outage) = seen.longest_gap_between(cut, Instant::now()).context("the client got no answers")?;
        let back = before + outage;
        let deadline = tap.last_before(Lab::address(0), back)? + active_down_interval(interval);
        outages.push(outage);
        excesses.push(milliseconds_after(deadline, back));
        tap.forget();
        lab.plug(0)?;
    }
    Ok(Takeovers { outages: Samples::milliseconds(outages)?, excesses: Samples::of(excesses)? })
}

/// Returns the milliseconds from the deadline to `at`, which are negative if `at` comes first.
fn milliseconds_after(deadline: Instant, at: Instant) -> f64 {
    let after = at.saturating_duration_since(deadline).as_secs_f64();
    (after - deadline.saturating_duration_since(at).as_secs_f64()) * 1e3
}
