//! Whatever happens to an Active router: two never serve at once while the segment is whole, and another serves in time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xvrrp_tests::fencing::{Fault, Pair, Setup};

/// Generous for a busy machine; the bench has the strict target.
const SLACK: Duration = Duration::from_millis(200);
/// Of all moments; what is missing, the sampler was late for.
const CERTAINTY: f64 = 0.5;
const HUNDRED: Duration = Duration::from_millis(100);
const TEN: Duration = Duration::from_millis(10);

/// One sampler at a time keeps its pace on a small machine.
static ALONE: Mutex<()> = Mutex::new(());

fn check(setup: Setup, fault: Fault, runs: u32) -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut pair = Pair::start(setup)?;
    for run in 0..runs {
        let outcome = pair.suffer(fault, run * 37 % 100, setup.interval * 5, SLACK);
        let outcome = outcome.with_context(|| format!("run {run}\n{}", pair.logs()))?;
        let account = || format!("run {run}: {outcome:?}\n{}", pair.logs());
        ensure!(outcome.served_twice.is_empty(), "two served at once: {}", account());
        ensure!(outcome.gap <= setup.active_down_interval() + SLACK, "nobody served: {}", account());
        ensure!(outcome.seen.certainty() > CERTAINTY, "the sampler was late: {}", account());
    }
    Ok(())
}

fn without_virtual_mac() -> Setup {
    Setup { virtual_mac: false, ..Setup::xvrrp(HUNDRED) }
}

#[test]
fn a_killed_agent_serves_no_longer_when_another_takes_over() -> Result<()> {
    check(Setup::xvrrp(HUNDRED), Fault::Kill, 2)
}

#[test]
fn a_stopped_agent_serves_no_longer_when_another_takes_over_nor_when_it_wakes() -> Result<()> {
    check(Setup::xvrrp(HUNDRED), Fault::Stop, 2)
}

#[test]
fn a_router_whose_cable_was_pulled_comes_back_without_serving_beside_another() -> Result<()> {
    check(Setup::xvrrp(HUNDRED), Fault::Pull, 2)
}

#[test]
fn two_that_were_apart_are_one_again_after_an_advert() -> Result<()> {
    check(Setup::xvrrp(HUNDRED), Fault::Isolate, 2)
}

#[test]
fn the_same_holds_without_a_virtual_mac() -> Result<()> {
    Fault::ALL.into_iter().try_for_each(|fault| check(without_virtual_mac(), fault, 1))
}

#[test]
fn the_same_holds_at_10_ms_adverts() -> Result<()> {
    Fault::ALL.into_iter().try_for_each(|fault| check(Setup::xvrrp(TEN), fault, 2))
}
