//! Random faults on three routers, with 30 virtual routers each, for as long as wanted, and a judge who looks at every sample:
//! see [`judge`] for what must never be seen, [`fault`] for what goes wrong and [`order`] for what must be so in between.
//!
//! The wall clock is left alone unless asked for, since it is the machine's. The agent does not look at it except for
//! the time in its log; the clock that it does look at, `CLOCK_BOOTTIME`, cannot be set.

pub mod fault;
pub mod judge;
mod order;
mod place;
pub mod plan;
mod shim;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow, bail};

use self::judge::{Client, Judge, may_end_a_lease};
use self::plan::{Episode, Planned};
use self::world::World;
use xvrrp_lab::probe::{Serving, ServingTimeline};
use xvrrp_lab::{is_interrupted, pause};

/// For what a busy machine may be late with.
const SLACK: Duration = Duration::from_millis(50);
/// After the last fault of an episode one router alone must serve within this: the time for an agent to start, and
/// Active_Down_Interval with the lowest priority.
const BOUND: Duration = Duration::from_millis(2500);
/// After that, everything has to be in its place within this: an agent may put off a start because of an interface by a second,
/// and the first router takes its role back.
const ORDER: Duration = Duration::from_secs(10);
/// For the log of what has happened already.
const LOGGED: Duration = Duration::from_millis(200);
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
    /// Episodes in which no role had to change, and changes in them while the machine stood still.
    pub gentle: u64,
    pub excused_changes: usize,
    /// From the last fault of each episode until one router alone served for good; sorted.
    pub recoveries: Vec<Duration>,
}

/// Lets things go wrong for so long. An error is a violation, with all that is known of it.
pub fn run(options: &Options, mut tell: impl FnMut(&str)) -> Result<Report> {
    let start = Instant::now();
    let mut soak = Soak {
        world: World::start(options.seed)?,
        judge: Judge::new(place::INTERVAL, SLACK),
        history: Vec::new(),
        start,
        seen: None,
        seen_behind: None,
        report: Report::default(),
    };
    soak.world.wait_until_steady(STEADY, Instant::now() + 4 * BOUND)?;
    soak.world.wait_until_in_order(false, STEADY, Instant::now() + ORDER)?;
    for number in options.first.. {
        if start.elapsed() >= options.length || is_interrupted() {
            break;
        }
        let episode = Episode::new(options.seed, number, place::ROUTERS, options.wall_clock);
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
            let seed = options.seed;
            tell(&format!("seed {seed}, episode {number}: {}; served {recovery:?} after the last", faults.join(", ")));
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
    /// Those at the second interfaces.
    seen_behind: Option<ServingTimeline>,
    report: Report,
}

impl Soak {
    fn note(&mut self, what: &str) {
        self.history.push((Instant::now(), what.to_owned()));
    }

    fn live_through(&mut self, episode: &Episode) -> Result<()> {
        let outcome = if episode.keeps_roles() { self.suffer_gently(episode) } else { self.suffer(episode) };
        // Whatever happened, what was seen is what matters most.
        Serving::settle();
        let seen = self.world.sampler().take();
        let seen_behind = self.world.sampler_behind().take();
        let violation = self.judge.look_at(Client::Segment, seen.samples());
        let violation = violation.or(self.judge.look_at(Client::Behind, seen_behind.samples()));
        let (moments, certain) = seen.moments();
        self.report.moments += u64::from(moments);
        self.report.certain += u64::from(certain);
        self.seen = Some(seen);
        self.seen_behind = Some(seen_behind);
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

    /// The first router is Active before, and nobody's role changes.
    fn suffer_gently(&mut self, episode: &Episode) -> Result<()> {
        self.world.wait_until_in_order(true, STEADY, Instant::now() + ORDER)?;
        pause(LOGGED)?;
        let (start, before) = (Instant::now(), self.world.role_changes());
        self.suffer(episode)?;
        pause(LOGGED)?;
        self.report.gentle += 1;
        let changes = self.world.role_changes() - before;
        let delay = self.world.metronome().latest_since(start);
        if may_end_a_lease(delay, place::INTERVAL) {
            self.report.excused_changes += changes;
        } else if changes > 0 {
            bail!("{changes} changes of role without a reason; the machine was late by {delay:?} at most");
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
        self.world.wait_until_in_order(false, STEADY, Instant::now() + ORDER)?;
        pause(episode.rest)
    }

    /// All that is known of what went wrong.
    fn account(&self, error: &Error) -> String {
        let mut text = format!("{error:#}\n--- what happened, in seconds since the start ---\n");
        for (at, what) in &self.history[self.history.len().saturating_sub(SHOWN_EVENTS)..] {
            let _ = writeln!(text, "{:>10.4} {what}", (*at - self.start).as_secs_f64());
        }
        let (segment, behind) = (("on the segment", &self.seen), ("behind the second interfaces", &self.seen_behind));
        for (client, seen) in [segment, behind] {
            if let Some(seen) = seen {
                self.describe(client, seen, &mut text);
            }
        }
        text + &self.world.hosts() + &self.world.logs(SHOWN_LINES)
    }

    fn describe(&self, client: &str, seen: &ServingTimeline, text: &mut String) {
        let end = Instant::now();
        let from = end.checked_sub(SHOWN_TIME).unwrap_or(end);
        let _ = write!(text, "--- who answered the client {client} ---\n{:?}", seen.between(from, end));
        let Some(first) = seen.served_twice().first().map(|sample| sample.number.saturating_sub(5)) else { return };
        text.push_str("--- samples from the first in which two served ---\n");
        for sample in seen.samples().iter().filter(|sample| sample.number >= first).take(SHOWN_SAMPLES) {
            let at = (sample.at - self.start).as_secs_f64();
            let _ = writeln!(text, "{at:>10.4} {sample:?}");
        }
    }
}
