//! An agent that gets no processor time: a signal stops it for several Active_Down_Intervals, and then it continues.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use xvrrp_lab::traffic::capture::Capture;
use xvrrp_lab::{Lab, PATIENCE, VirtualRouter, Xvrrp};

/// More than eight Active_Down_Intervals of priority 100 at 100 ms adverts.
const STOPPED: Duration = Duration::from_secs(3);
/// Long enough for a late agent to do anything wrong that it is going to do.
const SETTLED: Duration = Duration::from_secs(1);

struct Pair {
    active: Xvrrp,
    backup: Xvrrp,
}

fn settled_pair(lab: &Lab) -> Result<Pair> {
    let mut active = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
    active.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    backup.wait_for_state("lan", "backup")?;
    Ok(Pair { active, backup })
}

#[test]
fn a_backup_that_was_stopped_does_not_take_over_from_a_living_active_router() -> Result<()> {
    let lab = Lab::new(2)?;
    let Pair { active, mut backup } = settled_pair(&lab)?;
    let mut capture = Capture::start(lab.switch(), "br0", "ip proto 112")?;
    capture.wait_for("vrrp", 3)?;

    for _ in 0..2 {
        backup.daemon.signal(Signal::SIGSTOP)?;
        thread::sleep(STOPPED);
        backup.daemon.signal(Signal::SIGCONT)?;
        thread::sleep(SETTLED);
    }

    assert_eq!(backup.state("lan")?, "backup");
    assert_eq!(backup.transitions("lan", "active"), 0, "{}", backup.daemon.log());
    assert_eq!(backup.virtual_router("lan")?["adverts_sent"], 0);
    active.wait_for_transitions("lan", "active", 1)?;
    capture.finish()?;
    let foreign = capture.read("vrrp && !(ip.src == 192.0.2.2)", &["ip.src", "vrrp.prio"])?;
    assert!(foreign.is_empty(), "another router sent adverts: {foreign:?}");
    Ok(())
}

#[test]
fn a_backup_that_was_stopped_takes_over_if_the_active_router_died_meanwhile() -> Result<()> {
    let lab = Lab::new(2)?;
    let Pair { active: _active, mut backup } = settled_pair(&lab)?;
    backup.daemon.signal(Signal::SIGSTOP)?;
    lab.pull(0)?;
    thread::sleep(STOPPED);
    assert_eq!(backup.transitions("lan", "active"), 0);
    backup.daemon.signal(Signal::SIGCONT)?;
    backup.daemon.wait_for_line(&["virtual_router=lan ", "state=active ", "reason=active_down"], PATIENCE)?;
    Ok(())
}

#[test]
fn after_an_active_router_was_stopped_one_router_is_active_again() -> Result<()> {
    let lab = Lab::new(2)?;
    let Pair { mut active, mut backup } = settled_pair(&lab)?;
    active.daemon.signal(Signal::SIGSTOP)?;
    backup.wait_for_state("lan", "active")?;
    active.daemon.signal(Signal::SIGCONT)?;
    // The router with the higher priority becomes Active again, however it handles the time that it has missed.
    backup.wait_for_state("lan", "backup")?;
    active.wait_for_state("lan", "active")
}
