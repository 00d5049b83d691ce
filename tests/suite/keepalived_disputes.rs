//! Cases with keepalived as the other router in which not only the priorities decide.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xvrrp_common::units::{Interval, Priority};
use xvrrp_common::wire::vrrp::AdvertFrame;
use xvrrp_lab::traffic::frames;
use xvrrp_lab::{INTERFACE, Keepalived, KeepalivedConfig, Lab, PATIENCE, VirtualRouter, Xvrrp, ifindex};
use xvrrp_net::PacketSocket;

/// Several Active_Down_Intervals at 100 ms adverts.
const SETTLED: Duration = Duration::from_secs(2);

/// Starts keepalived and waits until its latest state is `state`.
fn start_keepalived(lab: &Lab, router: usize, config: &KeepalivedConfig, state: &str) -> Result<Keepalived> {
    let mut theirs = Keepalived::start(&lab.routers[router], config)?;
    theirs.wait_for_state(state)?;
    Ok(theirs)
}

/// Starts an agent and waits until its virtual router is in this state.
fn start_xvrrp(lab: &Lab, router: usize, config: VirtualRouter, state: &str) -> Result<Xvrrp> {
    let mut ours = Xvrrp::start(&lab.routers[router], &[config])?;
    ours.wait_for_state("lan", state)?;
    Ok(ours)
}

#[test]
fn without_preempt_xvrrp_leaves_a_keepalived_of_lower_priority_active() -> Result<()> {
    // RFC 9568 6.4.2
    let lab = Lab::new(2)?;
    let mut theirs = start_keepalived(&lab, 0, &KeepalivedConfig::v3(51, 100), "MASTER")?;
    let mut ours = start_xvrrp(&lab, 1, VirtualRouter::lan(200).with("preempt", "false"), "backup")?;
    thread::sleep(SETTLED);
    assert_eq!(ours.state("lan")?, "backup");
    assert_eq!(ours.transitions("lan", "active"), 0, "xvrrp has been Active");
    theirs.stop()?;
    ours.wait_for_state("lan", "active")
}

#[test]
fn with_nopreempt_keepalived_leaves_an_xvrrp_of_lower_priority_active() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut ours = start_xvrrp(&lab, 1, VirtualRouter::lan(100), "active")?;
    let config = KeepalivedConfig { nopreempt: true, ..KeepalivedConfig::v3(51, 200) };
    let mut theirs = start_keepalived(&lab, 0, &config, "BACKUP")?;
    thread::sleep(SETTLED);
    theirs.wait_for_state("BACKUP")?;
    ours.wait_for_transitions("lan", "backup", 1)?;
    ours.stop()?;
    theirs.wait_for_state("MASTER")
}

/// Lets two routers with equal priorities become Active while neither hears the other, and reunites them. Waits until
/// the one with the lower address, which is the one on router 0, has yielded, and fails if a role changes after that.
fn ensure_lower_address_yields(xvrrp: usize, keepalived: usize) -> Result<()> {
    let lab = Lab::new(2)?;
    let mut ours = start_xvrrp(&lab, xvrrp, VirtualRouter::lan(100), "active")?;
    lab.isolate(keepalived)?;
    let mut theirs = start_keepalived(&lab, keepalived, &KeepalivedConfig::v3(51, 100), "MASTER")?;
    lab.rejoin(keepalived)?;
    let (our_state, their_state) = if xvrrp == 0 { ("backup", "MASTER") } else { ("active", "BACKUP") };
    ours.wait_for_state("lan", our_state)?;
    theirs.wait_for_state(their_state)?;
    if xvrrp == 0 {
        ours.daemon.wait_for_line(&["state=backup ", "reason=higher_address"], PATIENCE)?;
    }
    let changes = ours.daemon.count_lines(&["state changed"]);
    thread::sleep(SETTLED);
    ours.wait_for_state("lan", our_state)?;
    theirs.wait_for_state(their_state)?;
    ensure!(ours.daemon.count_lines(&["state changed"]) == changes, "a state has changed: {}", ours.daemon.log());
    ours.wait_for_transitions("lan", "active", 1)
}

#[test]
fn of_equal_priorities_xvrrp_yields_to_the_higher_address() -> Result<()> {
    // RFC 9568 6.4.3
    ensure_lower_address_yields(0, 1)
}

#[test]
fn of_equal_priorities_keepalived_yields_to_the_higher_address() -> Result<()> {
    // RFC 9568 6.4.3
    ensure_lower_address_yields(1, 0)
}

/// Fails unless an Active agent counts the adverts of keepalived in this counter, accepts none, and stays Active.
fn ensure_discarded(ours: VirtualRouter, theirs: &KeepalivedConfig, counter: &str) -> Result<()> {
    let lab = Lab::new(2)?;
    let ours = start_xvrrp(&lab, 1, ours, "active")?;
    let _theirs = start_keepalived(&lab, 0, theirs, "MASTER")?;
    ours.wait_for_counter("lan", counter, 1)?;
    thread::sleep(SETTLED);
    assert_eq!(ours.counter("lan", "advert_accepted")?, 0, "adverts of keepalived were accepted");
    assert_eq!(ours.state("lan")?, "active");
    Ok(())
}

#[test]
fn a_wrong_password_is_counted_and_changes_nothing() -> Result<()> {
    // RFC 2338 7.1. Here keepalived sends only one advert as an Active router: whatever it receives, valid or not,
    // restarts its advertisement timer.
    let ours =
        VirtualRouter::lan(100).with("version", "2").with("advert_interval", "\"1s\"").with("password", "\"s3cret\"");
    let theirs = KeepalivedConfig { auth_pass: Some("guess".to_owned()), ..KeepalivedConfig::v2(51, 200) };
    ensure_discarded(ours, &theirs, "advert_authentication")
}

#[test]
fn an_advert_of_the_other_version_is_counted_and_changes_nothing() -> Result<()> {
    // RFC 9568 7.1 (conformance 59)
    ensure_discarded(VirtualRouter::lan(100), &KeepalivedConfig::v2(51, 200), "advert_version")
}

#[test]
fn adverts_that_lose_do_not_change_the_checksum_that_keepalived_demands() -> Result<()> {
    // RFC 5798 5.2.8
    let lab = Lab::new(3)?;
    let mut ours = start_xvrrp(&lab, 0, VirtualRouter::lan(200), "active")?;
    // This keepalived accepts only the checksum with the pseudo-header.
    let theirs = start_keepalived(&lab, 1, &KeepalivedConfig::v3(51, 100), "BACKUP")?;
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
    ours.wait_for_counter("lan", "advert_accepted", sent)?;
    // The counter is the kernel half's. This line shows that the agent has looked at the adverts.
    ours.daemon.wait_for_line(&["WARN", "192.0.2.99 advertises beside us", "checksum"], PATIENCE)?;
    thread::sleep(SETTLED);
    ensure!(theirs.daemon.count_lines(&["MASTER STATE"]) == 0, "keepalived took over: {}", theirs.daemon.log());
    ours.wait_for_transitions("lan", "active", 1)
}
