//! Floods of frames that virtual routers must not act on: roles do not change, agents are not kept busy, and every
//! frame is counted.
//!
//! Each flood goes to the Active router first, and then to the Backup. `cargo xtask bench junk` does the same for
//! longer and with 10 ms adverts, for which it needs a quiet machine.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xvrrp_lab::probe::UdpEcho;
use xvrrp_lab::traffic::junk::{self, Junk, Target};
use xvrrp_lab::{Lab, alone};

const INTERVAL: Duration = Duration::from_millis(100);
/// Length of each flood: several Active_Down_Intervals.
const LENGTH: Duration = Duration::from_millis(1500);

/// Limit of an agent's processor time, as a share of one processor. It is generous, since the agent is not optimized;
/// an agent that received a flood would need a whole processor.
const BUSY: f64 = 0.1;

fn assert_withstood(kinds: &[Junk]) -> Result<()> {
    // A flood takes a whole processor.
    let _alone = alone();
    let lab = Lab::new(2)?;
    let echoes = lab.routers.iter().zip(0..).map(|(router, host)| UdpEcho::start(router, host));
    let _echoes = echoes.collect::<Result<Vec<_>>>()?;
    let pair = junk::pair(lab, INTERVAL)?;
    for kind in kinds {
        for target in Target::ALL {
            let what = format!("{} at the {} router", kind.name(), target.name());
            let withstood = kind.flood(&pair, target, LENGTH).with_context(|| what.clone())?;
            println!("{what:>32}: {withstood}");
            ensure!(withstood.roles_held(), "{what} has changed a role: {withstood}\n{}", pair.logs());
            ensure!(withstood.adds_up(), "{what} was not counted completely: {withstood}");
            ensure!(withstood.was_cheap(BUSY), "{what} has kept an agent busy: {withstood}");
        }
    }
    Ok(())
}

#[test]
fn adverts_with_a_wrong_ttl_checksum_interval_or_count_change_nothing_and_are_counted() -> Result<()> {
    assert_withstood(&[Junk::WrongTimeToLive, Junk::WrongChecksum, Junk::IntervalZero, Junk::CountZero])
}

#[test]
fn adverts_that_are_cut_short_change_nothing_and_are_counted() -> Result<()> {
    assert_withstood(&[Junk::WithoutItsAddress, Junk::HalfAHeader, Junk::WithoutVrid])
}

#[test]
fn adverts_of_foreign_routers_change_nothing_and_are_counted() -> Result<()> {
    assert_withstood(&[Junk::UnknownVrid, Junk::ForbiddenSources])
}

#[test]
fn random_bytes_in_the_place_of_an_advert_change_nothing_and_are_counted() -> Result<()> {
    assert_withstood(&[Junk::RandomBytes])
}

#[test]
fn requests_for_the_virtual_address_change_nothing_and_are_counted() -> Result<()> {
    assert_withstood(&[Junk::ArpForVip])
}

#[test]
fn datagrams_to_the_routers_change_nothing_and_are_counted() -> Result<()> {
    assert_withstood(&[Junk::UdpToVip, Junk::UdpToRouter])
}
