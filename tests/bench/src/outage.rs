//! Measures how long a client gets no answers when the Active router's cable is pulled, and how much of that time is
//! not the protocol's own wait. xvrrp and keepalived are measured one after the other in the same lab.

use std::time::Duration;

use anyhow::{Context, Result};

use super::routers::{Program, Routers, active_down_interval};
use super::takeover::{PROBE, TakeoverLab, Takeovers};
use super::{Body, Findings, Group, Options, Plot, Row, Subject};

pub const SUBJECT: Subject =
    Subject { name: "outage", title: "a client's outage when the Active router's cable is pulled", run };

/// Targets for the time that a takeover adds to Active_Down_Interval, in milliseconds.
const EXCESS_MEDIAN: f64 = 1.0;
const EXCESS_P99: f64 = 5.0;

/// Advertisement interval in milliseconds, and the numbers of full and of quick runs.
const ROWS: [(u64, usize, usize); 3] = [(1000, 20, 1), (100, 40, 2), (10, 100, 3)];

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
    let lab = TakeoverLab::new(interval)?;
    let _routers = Routers::start(program, &lab.lab, interval)?;
    let takeovers = (0..runs).map(|run| lab.take_over(lab.settle(run)?)).collect::<Result<Vec<_>>>()?;
    Takeovers::of(&takeovers)
}
