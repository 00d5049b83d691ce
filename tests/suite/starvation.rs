//! On a busy machine, no Backup takes over from an Active router that is alive.
//!
//! `cargo xtask bench false` counts false takeovers for a longer time, and those of keepalived beside them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use xvrrp_lab::load::Load;
use xvrrp_lab::traffic::AdvertTap;
use xvrrp_lab::{Lab, Pair, alone};

/// How long the machine is busy: more than a hundred Active_Down_Intervals.
const LENGTH: Duration = Duration::from_secs(5);
/// Number of busy processes. With so many, a thread with ordinary scheduling does not run for longer than a lease of
/// 30 ms in every round.
const SPINNING: usize = 48;
/// Number of rounds, of which one must show no change. An agent that yields to the load does so in every round. A
/// kernel that cannot be preempted, or a hypervisor that does not run its guest, may hold up every process in one of
/// them.
const ROUNDS: usize = 3;

/// Fails if a state changes under the load at 10 ms adverts. `keys` are additional lines of `[agent]` for each router.
fn assert_no_change(keys: [&str; 2], load: impl Fn() -> Result<Load>) -> Result<()> {
    // Other tests would fail under this load.
    let _alone = alone();
    let lab = Lab::new(2)?;
    let tap = AdvertTap::start(lab.switch(), &Lab::port(0))?;
    let pair = Pair::start(lab, keys, |router| router.with("advert_interval", "\"10ms\""))?;
    for _ in 0..ROUNDS {
        pair.settle()?;
        let before = pair.changes_once_logged();
        let load = load()?;
        let start = Instant::now();
        thread::sleep(LENGTH);
        let pause = tap.longest_pause(Lab::address(0), start, Instant::now());
        drop(load);
        let changes = pair.changes_once_logged() - before;
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
fn no_router_takes_over_while_processes_compete_for_the_processors() -> Result<()> {
    assert_no_change([REAL_TIME; 2], || Load::spinning(SPINNING))
}

#[test]
fn a_backup_without_real_time_scheduling_does_not_take_over_while_processes_compete() -> Result<()> {
    // The Backup handles its timer late, and finds that the Active router has advertised in the meantime.
    assert_no_change([REAL_TIME, ORDINARY], || Load::spinning(SPINNING))
}
