//! keepalived as the other router, where the two do not simply follow their priorities.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xvrrp_common::units::{Interval, Priority};
use xvrrp_common::wire::vrrp::AdvertFrame;
use xvrrp_lab::traffic::frames;
use xvrrp_lab::{INTERFACE, Keepalived, KeepalivedConfig, Lab, PATIENCE, VirtualRouter, Xvrrp, eventually, ifindex};
use xvrrp_net::PacketSocket;

/// Several Active_Down_Intervals at 100 ms adverts.
const SETTLED: Duration = Duration::from_secs(2);

#[test]
fn without_preempt_a_better_xvrrp_leaves_a_worse_keepalived_alone() -> Result<()> {
    // RFC 9568 6.4.2
    let lab = Lab::new(2)?;
    let mut theirs = Keepalived::start(&lab.routers[0], &KeepalivedConfig::v3(51, 100))?;
    theirs.wait_for_state("MASTER")?;
    let patient = VirtualRouter::lan(200).with("preempt", "false");
    let mut ours = Xvrrp::start(&lab.routers[1], &[patient])?;
    ours.wait_for_state("lan", "backup")?;
    thread::sleep(SETTLED);
    assert_eq!(ours.state("lan")?, "backup");
    assert_eq!(ours.transitions("lan", "active"), 0);
    theirs.stop()?;
    ours.wait_for_state("lan", "active")
}

#[test]
fn a_better_keepalived_with_nopreempt_leaves_a_worse_xvrrp_alone() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut ours = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    ours.wait_for_state("lan", "active")?;
    let config = KeepalivedConfig { nopreempt: true, ..KeepalivedConfig::v3(51, 200) };
    let mut theirs = Keepalived::start(&lab.routers[0], &config)?;
    theirs.wait_for_state("BACKUP")?;
    thread::sleep(SETTLED);
    theirs.wait_for_state("BACKUP")?;
    ours.wait_for_transitions("lan", "backup", 1)?;
    ours.stop()?;
    theirs.wait_for_state("MASTER")
}

/// Both have been Active for a while, neither hearing the other.
fn reunited_with_equal_priorities(lab: &Lab, xvrrp: usize, keepalived: usize) -> Result<(Xvrrp, Keepalived)> {
    let mut ours = Xvrrp::start(&lab.routers[xvrrp], &[VirtualRouter::lan(100)])?;
    ours.wait_for_state("lan", "active")?;
    lab.isolate(keepalived)?;
    let mut theirs = Keepalived::start(&lab.routers[keepalived], &KeepalivedConfig::v3(51, 100))?;
    theirs.wait_for_state("MASTER")?;
    lab.rejoin(keepalived)?;
    Ok((ours, theirs))
}

#[test]
fn of_equal_priorities_xvrrp_yields_to_the_higher_address() -> Result<()> {
    // RFC 9568 6.4.3
    let lab = Lab::new(2)?;
    let (mut ours, mut theirs) = reunited_with_equal_priorities(&lab, 0, 1)?;
    ours.daemon.wait_for_line(&["state=backup ", "reason=higher_address"], PATIENCE)?;
    thread::sleep(SETTLED);
    assert_eq!(ours.state("lan")?, "backup");
    theirs.wait_for_state("MASTER")
}

#[test]
fn of_equal_priorities_keepalived_yields_to_the_higher_address() -> Result<()> {
    // RFC 9568 6.4.3
    let lab = Lab::new(2)?;
    let (mut ours, mut theirs) = reunited_with_equal_priorities(&lab, 1, 0)?;
    theirs.wait_for_state("BACKUP")?;
    thread::sleep(SETTLED);
    theirs.wait_for_state("BACKUP")?;
    ours.wait_for_transitions("lan", "active", 1)?;
    ours.wait_for_state("lan", "active")
}

#[test]
fn a_wrong_password_is_counted_and_changes_nothing() -> Result<()> {
    // RFC 2338 7.1. An Active keepalived sends one advert and no more here: whatever it hears, valid or not, starts its
    // advertisement timer anew.
    let lab = Lab::new(2)?;
    let ours =
        VirtualRouter::lan(100).with("version", "2").with("advert_interval", "\"1s\"").with("password", "\"s3cret\"");
    let mut ours = Xvrrp::start(&lab.routers[1], &[ours])?;
    ours.wait_for_state("lan", "active")?;
    let config = KeepalivedConfig { auth_pass: Some("guess".to_owned()), ..KeepalivedConfig::v2(51, 200) };
    let mut theirs = Keepalived::start(&lab.routers[0], &config)?;
    theirs.wait_for_state("MASTER")?;
    eventually("the adverts are counted", PATIENCE, || {
        let count = ours.counter("lan", "advert_authentication")?;
        ensure!(count > 0, "{count}");
        Ok(())
    })?;
    thread::sleep(SETTLED);
    assert_eq!(ours.counter("lan", "advert_accepted")?, 0);
    assert_eq!(ours.state("lan")?, "active");
    Ok(())
}

#[test]
fn an_advert_of_the_other_version_is_counted_and_changes_nothing() -> Result<()> {
    // RFC 9568 7.1 (conformance 59)
    let lab = Lab::new(2)?;
    let mut ours = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    ours.wait_for_state("lan", "active")?;
    let mut theirs = Keepalived::start(&lab.routers[0], &KeepalivedConfig::v2(51, 200))?;
    theirs.wait_for_state("MASTER")?;
    eventually("the adverts are counted", PATIENCE, || {
        let count = ours.counter("lan", "advert_version")?;
        ensure!(count > 0, "{count}");
        Ok(())
    })?;
    thread::sleep(SETTLED);
    assert_eq!(ours.counter("lan", "advert_accepted")?, 0);
    assert_eq!(ours.state("lan")?, "active");
    Ok(())
}

/// The agent at priority 200, and keepalived, which takes the checksum with the pseudo-header only.
fn active_beside_strict_backup(lab: &Lab) -> Result<(Xvrrp, Keepalived)> {
    let mut ours = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
    ours.wait_for_state("lan", "active")?;
    let mut theirs = Keepalived::start(&lab.routers[1], &KeepalivedConfig::v3(51, 100))?;
    theirs.wait_for_state("BACKUP")?;
    Ok((ours, theirs))
}

#[test]
fn adverts_that_lose_leave_the_checksum_alone_that_keepalived_wants() -> Result<()> {
    // RFC 5798 5.2.8
    let lab = Lab::new(3)?;
    let (mut ours, theirs) = active_beside_strict_backup(&lab)?;
    let forger =
        lab.routers[2].run(|| -> Result<_> { Ok(Arc::new(PacketSocket::open()?).on(ifindex(INTERFACE)?)?) })??;
    let forged = frames::emit(&AdvertFrame {
        source: [192, 0, 2, 99],
        priority: Priority::new(50),
        interval: Interval::from_millis(100),
        pseudo_header_checksum: false,
        ..frames::advert()
    });
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < 2 * SETTLED {
        for _ in 0..3 {
            forger.send(&forged)?;
            sent += 1;
        }
        thread::sleep(Duration::from_millis(30));
    }
    eventually("the forged adverts are heard", PATIENCE, || {
        let heard = ours.counter("lan", "advert_accepted")?;
        ensure!(heard >= sent, "{heard} of {sent}");
        Ok(())
    })?;
    ensure!(theirs.daemon.count_lines(&["MASTER STATE"]) == 0, "{}", theirs.daemon.log());
    ours.wait_for_transitions("lan", "active", 1)?;
    ours.daemon.wait_for_line(&["WARN", "192.0.2.99 advertises beside us", "checksum"], PATIENCE)?;
    Ok(())
}
