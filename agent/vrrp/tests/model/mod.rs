//! The real state machine, with a model of the kernel half, of the agent's hands, of the wire and of the clocks, in every
//! state that it can reach. `docs/timing.md` says what follows from it.

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

/// Skew_Time is a tick for priority 192, two for 128, three for 64.
const INTERVAL: Ticks = 4;
/// Larger than any search that has an end here.
const MOST_STATES: usize = 30_000_000;

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

/// Whether to take the minutes, and the gigabytes, that some searches need.
fn thorough() -> bool {
    std::env::var_os("XVRRP_MODEL_THOROUGH").is_some()
}

/// In no state that can be reached have two served together for longer than so many ticks; and from each, if nothing goes
/// wrong any more, there is one that serves, and for ever.
#[track_caller]
fn assert_overlap(most: Ticks, setting: Setting) {
    let settles_within = settling_time(&setting);
    let outcome = explore(setting, Ticks::MAX, MOST_STATES);
    report(&outcome);
    assert!(outcome.complete, "too many states");
    assert_eq!(outcome.overlap, most, "{}", outcome.trace);
    assert!(outcome.settled_after <= settles_within, "settled after {} ticks only", outcome.settled_after);
}

/// It is found that two serve together for longer than so many ticks.
#[track_caller]
fn assert_found(more_than: Ticks, setting: Setting) {
    let outcome = explore(setting, more_than, MOST_STATES);
    report(&outcome);
    assert!(outcome.overlap > more_than, "two never serve together for longer than {} ticks", outcome.overlap);
}

/// Of all that is on the way, the last arrives. Then Active_Down_Interval passes, and somebody preempts an interval later at
/// most, or has been Active and lapses first.
fn settling_time(setting: &Setting) -> Ticks {
    2 * setting.delay + 2 * 4 * setting.interval
}

#[expect(clippy::print_stdout, reason = "for whoever asks with --nocapture")]
fn report(outcome: &Outcome) {
    let Outcome { states, took, overlap, settled_after, .. } = outcome;
    println!("{states} states in {took:.1?}: overlap {overlap} ticks, settled after {settled_after}");
}
