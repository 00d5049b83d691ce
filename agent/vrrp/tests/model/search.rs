//! Searches all reachable states, nearest first, and records the way to each.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use super::rules::{Setting, Ticks};
use super::world::{Model, Step, World};

/// Hasher for fingerprints, which are hashes already.
#[derive(Debug, Default)]
pub struct Mixed(u64);

impl Hasher for Mixed {
    fn write(&mut self, _: &[u8]) {}

    #[expect(clippy::cast_possible_truncation, reason = "half of it is enough")]
    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = (fingerprint ^ (fingerprint >> 64)) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type ByFingerprint<T> = HashMap<u128, T, BuildHasherDefault<Mixed>>;

#[derive(Debug)]
pub struct Outcome {
    pub states: usize,
    pub took: Duration,
    /// The longest time for which two routers served together.
    pub overlap: Ticks,
    /// The steps that lead to it.
    pub trace: String,
    /// The longest time from the last fault until exactly one router served permanently.
    pub settled_after: Ticks,
    /// Whether the search was completed. It stops early after too much overlap or too many states.
    pub complete: bool,
}

/// Searches all states, or until two routers serve together for longer than `enough`.
pub fn explore(setting: Setting, enough: Ticks, max_states: usize) -> Outcome {
    let started = Instant::now();
    let model = Model::new(setting);
    let beginning = model.beginning();
    let mut parents: ByFingerprint<(u128, Step)> = HashMap::default();
    let mut ahead = VecDeque::new();
    let first = model.fingerprint(&beginning);
    parents.insert(first, (first, Step::Begin));
    ahead.push_back((first, beginning));
    let mut settling = [Settling::new(0), Settling::new(model.setting.delay)];
    let (mut steps, mut overlap, mut worst, mut complete) = (Vec::new(), 0, first, true);
    while let Some((fingerprint, world)) = ahead.pop_front() {
        if world.overlap() > overlap {
            (overlap, worst) = (world.overlap(), fingerprint);
        }
        if overlap > enough || parents.len() > max_states {
            complete = false;
            break;
        }
        for settling in &mut settling {
            settling.settle(&model, &world, fingerprint);
        }
        model.steps(&world, &mut steps);
        for &step in &steps {
            let next = model.take(&world, step);
            let reached = model.fingerprint(&next);
            parents.entry(reached).or_insert_with(|| {
                ahead.push_back((reached, next));
                (fingerprint, step)
            });
        }
    }
    let trace = if overlap > 0 { trace(&model, &parents, worst) } else { String::new() };
    let settled_after = settling.iter().map(|settling| settling.longest).max().unwrap_or_default();
    let states = parents.len();
    Outcome { states, took: started.elapsed(), overlap, trace, settled_after, complete }
}

/// Finds out how each state settles if nothing else goes wrong.
struct Settling {
    delay: Ticks,
    /// Number of ticks after which each state is settled.
    known: ByFingerprint<Ticks>,
    longest: Ticks,
}

/// The time of a state that never settles.
const NEVER: Ticks = Ticks::MAX;

impl Settling {
    fn new(delay: Ticks) -> Self {
        Self { delay, known: HashMap::default(), longest: 0 }
    }

    fn settle(&mut self, model: &Model, world: &World, fingerprint: u128) {
        let mut way: Vec<(u128, bool, bool)> = Vec::new();
        let mut on_way: ByFingerprint<usize> = HashMap::default();
        let (mut world, mut fingerprint) = (world.clone(), fingerprint);
        let mut after = loop {
            if let Some(&after) = self.known.get(&fingerprint) {
                break after;
            }
            if let Some(&first) = on_way.get(&fingerprint) {
                // From here on, the same states recur.
                let settled = way[first..].iter().all(|&(_, ticks, good)| !ticks || good);
                break if settled { 0 } else { NEVER };
            }
            let step = model.calm_step(&world, self.delay);
            on_way.insert(fingerprint, way.len());
            way.push((fingerprint, step == Step::Tick, model.one_serves(&world)));
            world = model.take(&world, step);
            world.forget_overlaps();
            fingerprint = model.fingerprint(&world);
        };
        for (fingerprint, ticks, good) in way.into_iter().rev() {
            if after != NEVER && ticks && (after > 0 || !good) {
                after += 1;
            }
            self.known.insert(fingerprint, after);
        }
        self.longest = self.longest.max(after);
    }
}

fn trace(model: &Model, parents: &ByFingerprint<(u128, Step)>, to: u128) -> String {
    let mut steps = Vec::new();
    let mut at = to;
    while let Some(&(parent, step)) = parents.get(&at).filter(|(_, step)| *step != Step::Begin) {
        steps.push(step);
        at = parent;
    }
    let mut world = model.beginning();
    let (mut text, mut ticks) = (String::new(), 0);
    for step in steps.into_iter().rev() {
        world = model.take(&world, step);
        ticks += u32::from(step == Step::Tick);
        let interval = model.setting.interval;
        let _ = write!(text, "{:3}+{} {:16}", ticks / interval, ticks % interval, format!("{step:?}"));
        for (host, character) in world.hosts.iter().zip(&model.characters) {
            let _ = write!(text, " | {}", describe(host, host.serves(character)));
        }
        let _ = writeln!(text, " | {:?}", world.in_flight());
    }
    text
}

fn describe(host: &super::host::Host, serves: bool) -> String {
    let agent = match &host.agent {
        None => "dead".to_owned(),
        Some(agent) => format!("{}{}", agent.machine.state(), if host.hung { " hung" } else { "" }),
    };
    format!("{agent:11} kernel {:6} {:6}", host.kernel.role, if serves { "SERVES" } else { "" })
}
