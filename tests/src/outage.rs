//! How long a client is without an answer when the Active router's cable is pulled: xvrrp and keepalived, one after the
//! other in the same lab.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::lab::{Keepalived, KeepalivedConfig, Lab, PATIENCE, VIP, VirtualRouter, Xvrrp};
use crate::probe::{UdpEcho, UdpProbe};

/// The routers' priorities: the first is Active while it is there.
const PRIORITIES: [u8; 2] = [200, 100];
/// How far apart the client's probes are: the resolution of what is measured.
const PROBE: Duration = Duration::from_micros(500);
/// How much longer than the Active_Down_Interval an outage may be.
const EXCESS_TARGET: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Xvrrp,
    Keepalived,
}

impl Program {
    const fn name(self) -> &'static str {
        match self {
            Self::Xvrrp => "xvrrp",
            Self::Keepalived => "keepalived",
        }
    }
}

/// All measurements, to be printed.
#[derive(Debug)]
pub struct Report {
    runs: usize,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    program: Program,
    interval: Duration,
    /// Sorted.
    outages: Vec<Duration>,
}

/// Measures `runs` outages for each program and advertisement interval.
pub fn run(runs: usize) -> Result<Report> {
    let mut rows = Vec::new();
    for interval in [Duration::from_millis(100), Duration::from_millis(10)] {
        for program in [Program::Xvrrp, Program::Keepalived] {
            let outages =
                outages(program, interval, runs).with_context(|| format!("{} every {interval:?}", program.name()))?;
            rows.push(Row { program, interval, outages });
        }
    }
    Ok(Report { runs, rows })
}

fn outages(program: Program, interval: Duration, runs: usize) -> Result<Vec<Duration>> {
    let lab = Lab::new(PRIORITIES.len())?;
    let _echoes = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
    let _routers = Routers::start(program, &lab, interval)?;
    let mut outages = Vec::with_capacity(runs);
    for run in 0..runs {
        let probe = UdpProbe::start(&lab.client, VIP, PROBE)?;
        probe.wait_for_answer_from(0, PATIENCE)?;
        // Until the segment is quiet, and a little longer each time, so that the cuts fall on all phases of an interval.
        let share = u32::try_from(run)? * 37 % 100;
        thread::sleep(Duration::from_millis(500) + interval * share / 100);
        let cut = Instant::now();
        lab.pull(0)?;
        probe.wait_for_answer_from(1, PATIENCE)?;
        let seen = probe.finish();
        let (_, outage) = seen.longest_gap_between(cut, Instant::now()).context("the client got no answers")?;
        outages.push(outage);
        lab.plug(0)?;
    }
    outages.sort();
    Ok(outages)
}

/// The routers of one program; what they are is of no interest once they run.
enum Routers {
    Xvrrp { _agents: Vec<Xvrrp> },
    Keepalived { _daemons: Vec<Keepalived> },
}

impl Routers {
    fn start(program: Program, lab: &Lab, interval: Duration) -> Result<Self> {
        let places = lab.routers.iter().zip(PRIORITIES);
        match program {
            Program::Xvrrp => {
                let advert_interval = format!("\"{}ms\"", interval.as_millis());
                let router = |priority| VirtualRouter::lan(priority).with("advert_interval", &advert_interval);
                let agents = places.map(|(place, priority)| Xvrrp::start(place, &[router(priority)]));
                let mut agents = agents.collect::<Result<Vec<_>>>()?;
                agents[0].wait_for_state("lan", "active")?;
                agents[1].wait_for_state("lan", "backup")?;
                Ok(Self::Xvrrp { _agents: agents })
            }
            Program::Keepalived => {
                let config = |priority| KeepalivedConfig {
                    advert_int: interval.as_secs_f64(),
                    ..KeepalivedConfig::v3(51, priority)
                };
                let daemons = places.map(|(place, priority)| Keepalived::start(place, &config(priority)));
                let mut daemons = daemons.collect::<Result<Vec<_>>>()?;
                daemons[0].wait_for_state("MASTER")?;
                daemons[1].wait_for_state("BACKUP")?;
                Ok(Self::Keepalived { _daemons: daemons })
            }
        }
    }
}

impl Report {
    pub fn meets_target(&self) -> bool {
        self.rows.iter().all(|row| row.program != Program::Xvrrp || row.meets_target())
    }
}

impl Row {
    /// Of the router that takes over (RFC 9568 6.1).
    fn active_down_interval(&self) -> Duration {
        self.interval * 3 + self.interval * (256 - u32::from(PRIORITIES[1])) / 256
    }

    fn median(&self) -> Duration {
        self.outages.get(self.outages.len() / 2).copied().unwrap_or_default()
    }

    fn most(&self) -> Duration {
        self.outages.last().copied().unwrap_or_default()
    }

    fn meets_target(&self) -> bool {
        self.median() <= self.active_down_interval() && self.most() <= self.active_down_interval() + EXCESS_TARGET
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "outage: the Active router's cable is pulled; {} runs each, what a client asking every {PROBE:?} misses",
            self.runs
        )?;
        writeln!(
            f,
            "times in ms; ADI is Active_Down_Interval; the last advert before the cut is up to one interval old"
        )?;
        writeln!(
            f,
            "\n{:>8}  {:10} {:>8} {:>8} {:>8} {:>8} {:>10}  {:7}",
            "adverts", "program", "ADI", "min", "median", "max", "max - ADI", "target"
        )?;
        for row in &self.rows {
            let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
            writeln!(
                f,
                "{:>8}  {:10} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>+10.1}  {:7}",
                row.interval.as_millis(),
                row.program.name(),
                ms(row.active_down_interval()),
                ms(row.outages.first().copied().unwrap_or_default()),
                ms(row.median()),
                ms(row.most()),
                ms(row.most()) - ms(row.active_down_interval()),
                match row.program {
                    Program::Xvrrp if row.meets_target() => "met",
                    Program::Xvrrp => "MISSED",
                    Program::Keepalived => "",
                }
            )?;
        }
        for pair in self.rows.chunks_exact(2) {
            let [xvrrp, keepalived] = pair else { continue };
            let ratio = xvrrp.median().as_secs_f64() / keepalived.median().as_secs_f64();
            writeln!(f, "every {:?}: median outage of xvrrp / keepalived = {ratio:.3}", xvrrp.interval)?;
        }
        writeln!(f, "target: median at most ADI, each run at most {EXCESS_TARGET:?} above it")
    }
}
