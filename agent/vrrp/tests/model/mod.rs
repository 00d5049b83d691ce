//! Explores every reachable state of the real state machine, together with models of the kernel half, of the agent
//! around the state machine, of the wire and of the clocks. `docs/timing.md` has the conclusions.

mod bounds;
mod broken;
mod fingerprint;
mod host;
mod remedy;
mod rules;
mod search;
mod three_routers;
mod two_routers;
mod world;

use rules::{Faults, Router, Rules, Setting, Ticks};
use search::{Outcome, explore};

/// Advertisement interval. With it, Skew_Time is one tick for priority 192, two for 128 and three for 64.
const INTERVAL: Ticks = 4;
/// Limit for the number of states: larger than in any of these searches.
const MAX_STATES: usize = 30_000_000;

const HIGH: Router = Router::new(192);
const MIDDLE: Router = Router::new(128);
const LOW: Router = Router::new(64);

fn setting<const N: usize>(routers: [Router; N], faults: Faults) -> Setting {
    Setting {
        routers: routers.to_vec(),
        interval: INTERVAL,
        delay: 0,
        losses_in_a_row: 0,
        faults,
        together: false,
        rules: Rules::BUILT,
    }
}

/// Whether to run the searches that take minutes and gigabytes.
fn thorough() -> bool {
    std::env::var_os("XVRRP_MODEL_THOROUGH").is_some()
}

/// Fails unless two routers serve together for exactly this many ticks at most in any reachable state, and unless from
/// each state exactly one router serves in the end, permanently, if nothing else goes wrong.
#[track_caller]
fn assert_overlap(max: Ticks, setting: Setting) {
    let settles_within = settling_time(&setting);
    let outcome = explore(setting, Ticks::MAX, MAX_STATES);
    report(&outcome);
    assert!(outcome.complete, "too many states");
    assert_eq!(outcome.overlap, max, "{}", outcome.trace);
    assert!(outcome.settled_after <= settles_within, "settled only after {} ticks", outcome.settled_after);
}

/// Fails unless there is a reachable state in which two routers have served together for longer than this many ticks.
#[track_caller]
fn assert_overlap_exceeds(more_than: Ticks, setting: Setting) {
    let outcome = explore(setting, more_than, MAX_STATES);
    report(&outcome);
    assert!(outcome.overlap > more_than, "two never serve together for longer than {} ticks", outcome.overlap);
}

/// Returns the longest time within which the routers settle. First the last frame arrives. Then Active_Down_Interval
/// passes, and a router preempts at most an interval later, or an Active router's lease ends first.
fn settling_time(setting: &Setting) -> Ticks {
    2 * setting.delay + 2 * 4 * setting.interval
}

#[expect(clippy::print_stdout, reason = "shown with --nocapture")]
fn report(outcome: &Outcome) {
    let Outcome { states, took, overlap, settled_after, .. } = outcome;
    println!("{states} states in {took:.1?}: overlap {overlap} ticks, settled after {settled_after}");
}
