//! A busy machine is no dead router: nobody takes over from an Active router that is alive.
//!
//! `cargo xtask bench false` counts that for longer, and keepalived's changes beside it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use xvrrp_lab::load::Load;
use xvrrp_lab::traffic::AdvertTap;
use xvrrp_lab::{Lab, Pair, alone};

/// How long the machine is busy: some hundred Active_Down_Intervals.
const LENGTH: Duration = Duration::from_secs(5);
/// So many processes take every processor from a thread with ordinary scheduling for longer than a lease of 30 ms, in every
/// round.
const SPINNING: usize = 48;
/// An agent that gives way to a load does so in every round. A kernel that is not preempted, or a host that does not run
/// its guest, holds up everybody, and may do so in one.
const ROUNDS: usize = 3;

/// Nobody's state changes under the load. 10 ms adverts; `keys` are more lines of `[agent]` for each router.
fn assert_no_change(keys: [&str; 2], load: impl Fn() -> Result<Load>) -> Result<()> {
    // No other test could keep its time under this load.
    let _alone = alone();
    let lab = Lab::new(2)?;
    let tap = AdvertTap::start(lab.switch(), &Lab::port(0))?;
    let pair = Pair::start(lab, keys, |router| router.with("advert_interval", "\"10ms\""))?;
    for _ in 0..ROUNDS {
        pair.settle()?;
        let before = pair.changes();
        let load = load()?;
        let start = Instant::now();
        thread::sleep(LENGTH);
        let pause = tap.longest_pause(Lab::address(0), start, Instant::now());
        drop(load);
        // What has happened is in the log, once somebody has had the time to write it.
        thread::sleep(Duration::from_millis(100));
        let changes = pair.changes() - before;
        println!("{changes} changes of state; adverts were up to {pause:?} apart");
        if changes == 0 {
            return Ok(());
        }
    }
    bail!("states have changed in each of {ROUNDS} rounds:\n{}", pair.logs())
}

/// Lines of `[agent]`.
const REAL_TIME: &str = "";
const ORDINARY: &str = "realtime_priority = 0\n";

#[test]
fn nobody_takes_over_while_processes_compete_for_the_processors() -> Result<()> {
    assert_no_change([REAL_TIME; 2], || Load::spinning(SPINNING))
}

#[test]
fn a_backup_without_real_time_scheduling_does_not_take_over_while_processes_compete() -> Result<()> {
    // It comes late to its timer, and finds that it has heard the Active router in the meantime.
    assert_no_change([REAL_TIME, ORDINARY], || Load::spinning(SPINNING))
}
