//! Random faults on three routers for as long as wanted, and a judge who looks at every sample: see [`judge`] for what must
//! never be seen, and [`plan`] for what goes wrong.
//!
//! The wall clock is left alone unless asked for, since it is the machine's. The agent does not look at it except for
//! the time in its log; the clock that it does look at, `CLOCK_BOOTTIME`, cannot be set.

pub mod judge;
pub mod plan;
mod shim;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};

use self::judge::Judge;
use self::plan::{Episode, Planned};
use self::world::World;
use crate::lab::{is_interrupted, pause};
use crate::probe::{Serving, ServingTimeline};

/// For what a busy machine may be late with.
const SLACK: Duration = Duration::from_millis(50);
/// After the last fault of an episode one router alone must serve within this: the time for an agent to start, and
/// Active_Down_Interval with the lowest priority.
const BOUND: Duration = Duration::from_millis(2500);
/// That it goes on to do so is looked at for so long.
const STEADY: Duration = Duration::from_millis(300);
/// How many of the latest samples and events a report shows.
const SHOWN_TIME: Duration = Duration::from_secs(8);
const SHOWN_EVENTS: usize = 40;
const SHOWN_SAMPLES: usize = 40;
const SHOWN_LINES: usize = 80;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub length: Duration,
    pub seed: u64,
    /// The number of the first episode: those before it are left out.
    pub first: u64,
    /// Also step the machine's wall clock.
    pub wall_clock: bool,
}

/// What became of it, if nothing was violated.
#[derive(Debug, Default)]
pub struct Report {
    pub episodes: u64,
    pub faults: BTreeMap<&'static str, u32>,
    /// Moments for which there should be a sample, and those of which it was certain.
    pub moments: u64,
    pub certain: u64,
    /// Samples in which two served, with an excuse.
    pub excused: u32,
    /// From the last fault of each episode until one router alone served for good; sorted.
    pub recoveries: Vec<Duration>,
}

/// Lets things go wrong for so long. An error is a violation, with all that is known of it.
pub fn run(options: &Options, mut tell: impl FnMut(&str)) -> Result<Report> {
    let start = Instant::now();
    let mut soak = Soak {
        world: World::start(options.seed)?,
        judge: Judge::new(World::INTERVAL, SLACK),
        history: Vec::new(),
        start,
        seen: None,
        report: Report::default(),
    };
    soak.world.wait_until_steady(STEADY, Instant::now() + 4 * BOUND)?;
    for number in options.first.. {
        if start.elapsed() >= options.length || is_interrupted() {
            break;
        }
        let episode = Episode::new(options.seed, number, World::ROUTERS, options.wall_clock);
        soak.note(&format!("episode {number}"));
        if let Err(error) = soak.live_through(&episode) {
            if is_interrupted() {
                break;
            }
            let seed = options.seed;
            return Err(
                anyhow!("{}", soak.account(&error)).context(format!("violated in episode {number} of seed {seed}"))
            );
        }
        if let Some(recovery) = soak.report.recoveries.last() {
            let faults: Vec<_> = episode.faults.iter().map(|it| format!("{} {}", it.router, it.fault)).collect();
            tell(&format!("episode {number}: {}; served {recovery:?} after the last", faults.join(", ")));
        }
    }
    soak.world.stop()?;
    soak.report.excused = soak.judge.excused;
    soak.report.recoveries.sort();
    Ok(soak.report)
}

struct Soak {
    world: World,
    judge: Judge,
    history: Vec<(Instant, String)>,
    start: Instant,
    /// The samples of the last episode.
    seen: Option<ServingTimeline>,
    report: Report,
}

impl Soak {
    fn note(&mut self, what: &str) {
        self.history.push((Instant::now(), what.to_owned()));
    }

    fn live_through(&mut self, episode: &Episode) -> Result<()> {
        let outcome = self.suffer(episode);
        // Whatever happened, what was seen is what matters most.
        Serving::settle();
        let seen = self.world.sampler().take();
        let violation = self.judge.look_at(seen.samples());
        let (moments, certain) = seen.moments();
        self.report.moments += u64::from(moments);
        self.report.certain += u64::from(certain);
        self.seen = Some(seen);
        if let Some(violation) = violation {
            return Err(anyhow!("{violation}"));
        }
        outcome?;
        self.report.episodes += 1;
        for planned in &episode.faults {
            *self.report.faults.entry(planned.fault.kind()).or_default() += 1;
        }
        Ok(())
    }

    fn suffer(&mut self, episode: &Episode) -> Result<()> {
        let start = Instant::now();
        // Beginnings and ends, in the order in which they are due.
        let mut steps: Vec<(Duration, bool, Planned)> = episode
            .faults
            .iter()
            .flat_map(|planned| [(planned.after, true, *planned), (planned.after + planned.lasting, false, *planned)])
            .collect();
        steps.sort_by_key(|(due, ..)| *due);
        for (due, begins, planned) in steps {
            pause((start + due).saturating_duration_since(Instant::now()))?;
            self.world.check_agents()?;
            let Planned { router, fault, lasting, .. } = planned;
            if begins {
                self.note(&format!("router {router}: {fault}, for {lasting:?}"));
                self.world.strike(&planned, &mut self.judge)?;
            } else {
                self.note(&format!("router {router}: no longer {fault}"));
                let what = self.world.undo(&planned, &mut self.judge)?;
                self.note(&format!("router {router}: done {what}"));
            }
        }
        let last = Instant::now();
        let since = self.world.wait_until_steady(STEADY, last + BOUND)?;
        self.report.recoveries.push(since.saturating_duration_since(last));
        pause(episode.rest)
    }

    /// All that is known of what went wrong.
    fn account(&self, error: &Error) -> String {
        let mut text = format!("{error:#}\n--- what happened, in seconds since the start ---\n");
        for (at, what) in &self.history[self.history.len().saturating_sub(SHOWN_EVENTS)..] {
            let _ = writeln!(text, "{:>10.4} {what}", (*at - self.start).as_secs_f64());
        }
        if let Some(seen) = &self.seen {
            let end = Instant::now();
            let from = end.checked_sub(SHOWN_TIME).unwrap_or(end);
            let _ = write!(text, "--- who answered ---\n{:?}", seen.between(from, end));
            let twice = seen.served_twice();
            let first = twice.first().map_or(u32::MAX, |sample| sample.number.saturating_sub(5));
            text.push_str("--- samples from the first in which two served ---\n");
            for sample in seen.samples().iter().filter(|sample| sample.number >= first).take(SHOWN_SAMPLES) {
                let at = (sample.at - self.start).as_secs_f64();
                let _ = writeln!(text, "{at:>10.4} {sample:?}");
            }
        }
        text + &self.world.hosts() + &self.world.logs(SHOWN_LINES)
    }
}
