//! The soak: injects random faults into three routers with 30 virtual routers each, and judges every sample of which
//! routers serve. The rules are in [`judge`], the faults in [`fault`], and the conditions that must hold after each
//! episode in [`order`].
//!
//! The wall clock is left alone by default, because it is that of the whole machine. The agent uses it only for the
//! time in its log. Everything else uses `CLOCK_BOOTTIME`, which cannot be set.

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

/// Time by which a busy machine may delay anything.
const SLACK: Duration = Duration::from_millis(50);
/// Time after the last fault of an episode within which one router alone must serve. It allows for the start of an
/// agent and Active_Down_Interval with the lowest priority.
const BOUND: Duration = Duration::from_millis(2500);
/// Time after that within which everything must be in order. An agent may postpone its start by a second because of an
/// interface, and the first router takes its role back.
const ORDER: Duration = Duration::from_secs(10);
/// Time until a change that has already happened is in the log.
const LOGGED: Duration = Duration::from_millis(200);
/// Time for which one router alone must serve before the soak continues.
const STEADY: Duration = Duration::from_millis(300);
/// Time and numbers of the latest samples, events and lines of the log that a report of a violation shows.
const SHOWN_TIME: Duration = Duration::from_secs(8);
const SHOWN_EVENTS: usize = 40;
const SHOWN_SAMPLES: usize = 40;
const SHOWN_LINES: usize = 80;

/// Options of a run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Time after which no further episode begins.
    pub length: Duration,
    /// Seed of the faults. The same seed leads to the same ones.
    pub seed: u64,
    /// Number of the first episode. Earlier ones are left out.
    pub first: u64,
    /// Whether the machine's wall clock is stepped too.
    pub wall_clock: bool,
}

/// Result of a run without a violation.
#[derive(Debug, Default)]
pub struct Report {
    /// Number of episodes.
    pub episodes: u64,
    /// Number of faults of each kind.
    pub faults: BTreeMap<&'static str, u32>,
    /// Number of samples that were due.
    pub moments: u64,
    /// Number of samples that are certain.
    pub certain: u64,
    /// Number of samples in which two routers served with an excuse.
    pub excused: u32,
    /// Number of episodes that gave no reason for a change of role.
    pub gentle: u64,
    /// Number of changes of role in those episodes while the machine stood still.
    pub excused_changes: usize,
    /// Times from the last fault of each episode until one router alone served for good, in ascending order.
    pub recoveries: Vec<Duration>,
}

/// Injects faults for the length of the run, and calls `report_episode` with a line about each episode. Fails if there
/// is a violation, with everything that is known about it.
pub fn run(options: &Options, mut report_episode: impl FnMut(&str)) -> Result<Report> {
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
    soak.world.wait_until_steady(start, STEADY, Instant::now() + 4 * BOUND)?;
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
                anyhow!("{}", soak.account(&error)).context(format!("violation in episode {number} of seed {seed}"))
            );
        }
        if let Some(recovery) = soak.report.recoveries.last() {
            let faults: Vec<_> = episode.faults.iter().map(|it| format!("{} {}", it.router, it.fault)).collect();
            let seed = options.seed;
            report_episode(&format!(
                "seed {seed}, episode {number}: {}; one router served {recovery:?} after the last fault",
                faults.join(", ")
            ));
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
    /// Samples of the last episode, of the client on the segment.
    seen: Option<ServingTimeline>,
    /// Samples of the last episode, of the client behind the second interfaces.
    seen_behind: Option<ServingTimeline>,
    report: Report,
}

impl Soak {
    fn note(&mut self, what: &str) {
        self.history.push((Instant::now(), what.to_owned()));
    }

    fn live_through(&mut self, episode: &Episode) -> Result<()> {
        let outcome = if episode.keeps_roles() { self.suffer_gently(episode) } else { self.suffer(episode) };
        // The samples are judged first, even if the episode failed for another reason.
        Serving::settle();
        let seen = self.world.sampler().take();
        let seen_behind = self.world.sampler_behind().take();
        let violation = self.judge.judge_samples(Client::Segment, seen.samples());
        let violation = violation.or(self.judge.judge_samples(Client::Behind, seen_behind.samples()));
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

    /// Runs an episode that gives no reason for a change of role. The first router is Active before, and no role may
    /// change.
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
            bail!("{changes} changes of role without a reason (the machine delayed its threads by at most {delay:?})");
        }
        Ok(())
    }

    fn suffer(&mut self, episode: &Episode) -> Result<()> {
        let start = Instant::now();
        // The steps are the beginnings and ends of the faults, in the order in which they are due.
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
                self.note(&format!("router {router}: end of {fault}"));
                let what = self.world.undo(&planned, &mut self.judge)?;
                self.note(&format!("router {router}: undone {what}"));
            }
        }
        let last = Instant::now();
        let since = self.world.wait_until_steady(last, STEADY, last + BOUND)?;
        self.report.recoveries.push(since.saturating_duration_since(last));
        self.world.wait_until_in_order(false, STEADY, Instant::now() + ORDER)?;
        pause(episode.rest)
    }

    /// Returns everything that is known about a violation.
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
        text.push_str("--- samples from the first one in which two routers served ---\n");
        for sample in seen.samples().iter().filter(|sample| sample.number >= first).take(SHOWN_SAMPLES) {
            let at = (sample.at - self.start).as_secs_f64();
            let _ = writeln!(text, "{at:>10.4} {sample:?}");
        }
    }
}
