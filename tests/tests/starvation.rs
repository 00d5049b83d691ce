//! A busy machine is no dead router: nobody takes over from an Active router that is alive.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{iter, thread};

use anyhow::{Result, bail, ensure};
use xvrrp_tests::bench::AdvertTap;
use xvrrp_tests::lab::{Lab, PATIENCE, VirtualRouter, Xvrrp, eventually};
use xvrrp_tests::load::Load;
use xvrrp_tests::metronome::Metronome;

/// How long the machine is busy: some hundred Active_Down_Intervals.
const LENGTH: Duration = Duration::from_secs(5);
/// Processes for each load. Where 16 compute, an Active router without real-time scheduling loses its role in one run of
/// five; where 48 do, in every one.
const SPINNING: [usize; 2] = [16, 48];
const WRITING: usize = 4;
const ALLOCATING: usize = 4;

/// A machine that holds up a real-time thread of the highest priority for so long is no judge of one with adverts every
/// 10 ms: a lease lasts for 30 ms.
const UNSTEADY: Duration = Duration::from_millis(15);
/// How often a machine may be so before that is a failure of the test.
const ROUNDS: usize = 5;

/// One load at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Nobody's state changes under the load. 10 ms adverts; `keys` are more lines of `[agent]` for the first router and the
/// second.
fn assert_no_change(keys: [&str; 2], load: impl Fn() -> Result<Load>) -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let pair = Pair::new(keys)?;
    let metronome = Metronome::start()?;
    let mut unsteady = Vec::new();
    while unsteady.len() < ROUNDS {
        pair.settle()?;
        let before = pair.changes();
        let load = load()?;
        let start = Instant::now();
        thread::sleep(LENGTH);
        let pause = pair.tap.longest_pause(Lab::address(0), start, Instant::now());
        let late = metronome.latest_since(start);
        drop(load);
        // What has happened is in the log, once somebody has had the time to write it.
        thread::sleep(Duration::from_millis(100));
        println!("adverts were up to {pause:?} apart; the machine was up to {late:?} late");
        if pair.changes() == before {
            return Ok(());
        }
        ensure!(late > UNSTEADY, "adverts were up to {pause:?} apart, the machine {late:?} late:\n{}", pair.logs());
        unsteady.push(late);
    }
    bail!("nothing can be measured on this machine: it held up real-time threads for {unsteady:?}")
}

struct Pair {
    agents: Vec<Xvrrp>,
    tap: AdvertTap,
    _lab: Lab,
}

impl Pair {
    fn new(keys: [&str; 2]) -> Result<Self> {
        let lab = Lab::new(2)?;
        let tap = AdvertTap::start(lab.switch(), &Lab::port(0))?;
        let places = lab.routers.iter().zip(iter::zip([200, 100], keys));
        let agents = places.map(|(router, (priority, keys))| {
            let lan = VirtualRouter::lan(priority).with("advert_interval", "\"10ms\"");
            Xvrrp::start_by(router, &[lan], &[], keys)
        });
        Ok(Self { agents: agents.collect::<Result<_>>()?, tap, _lab: lab })
    }

    /// Until the first one is Active and the second one knows it.
    fn settle(&self) -> Result<()> {
        eventually("the Backup hears the Active router", PATIENCE, || {
            let (first, second) = (self.agents[0].state("lan")?, self.agents[1].virtual_router("lan")?);
            ensure!(first == "active", "the first one is {first}");
            ensure!(second["state"] == "backup" && second["active"]["priority"] == 200, "{second}");
            Ok(())
        })
    }

    /// How often each of them has changed its state.
    fn changes(&self) -> Vec<usize> {
        self.agents.iter().map(|agent| agent.daemon.count_lines(&["state changed"])).collect()
    }

    fn logs(&self) -> String {
        self.agents.iter().map(|agent| agent.daemon.log()).collect()
    }
}

/// Lines of `[agent]`.
const REAL_TIME: &str = "";
const ORDINARY: &str = "realtime_priority = 0\n";

#[test]
fn nobody_takes_over_while_processes_compete_for_the_processors() -> Result<()> {
    SPINNING.iter().try_for_each(|&processes| assert_no_change([REAL_TIME; 2], || Load::spinning(processes)))
}

#[test]
fn a_backup_without_real_time_scheduling_does_not_take_over_while_processes_compete() -> Result<()> {
    // It comes late to its timer, and finds that it has heard the Active router in the meantime.
    SPINNING.iter().try_for_each(|&processes| assert_no_change([REAL_TIME, ORDINARY], || Load::spinning(processes)))
}

#[test]
fn nobody_takes_over_while_the_disk_is_busy() -> Result<()> {
    assert_no_change([REAL_TIME, ORDINARY], || Load::writing(WRITING))
}

#[test]
fn nobody_takes_over_while_memory_is_taken_and_given_back() -> Result<()> {
    assert_no_change([REAL_TIME, ORDINARY], || Load::allocating(ALLOCATING))
}
