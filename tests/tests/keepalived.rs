//! keepalived as the other router: as Active and as Backup, with and without its use_vmac, in versions 2 and 3.

use anyhow::{Result, ensure};
use xvrrp_tests::lab::{Keepalived, KeepalivedConfig, Lab, PATIENCE, VirtualRouter, Xvrrp, eventually};

/// What keepalived logs of an advert that it does not like.
const COMPLAINTS: &[&str] = &[
    "invalid",
    "Invalid",
    "bad ",
    "incorrect",
    "checksum",
    "mismatch",
    "wrong",
    "not match",
    "unexpected",
    "Unexpected",
    "ignoring",
    "Ignoring",
];

fn ensure_understood(keepalived: &Keepalived) -> Result<()> {
    let log = keepalived.daemon.log();
    let complaint = log.lines().find(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint)));
    ensure!(complaint.is_none(), "keepalived complains: {complaint:?}");
    Ok(())
}

/// Everything that keepalived sent was valid, and there was something.
fn ensure_heard(xvrrp: &Xvrrp) -> Result<()> {
    let counters = xvrrp.virtual_router("lan")?["counters"].clone();
    let counters = counters.as_object().expect("an object of counters");
    ensure!(counters.contains_key("advert_accepted"), "{counters:?}");
    let known = ["advert_accepted", "advert_release"];
    let wrong = counters.keys().find(|name| name.starts_with("advert_") && !known.contains(&name.as_str()));
    ensure!(wrong.is_none(), "{counters:?}");
    Ok(())
}

fn ping_the_address(lab: &Lab) -> Result<()> {
    eventually("the client reaches the address", PATIENCE, || lab.client.sh("ping -n -c 3 -i 0.05 -W 1 192.0.2.1"))
        .map(drop)
}

/// keepalived on the first router is the better one, and comes, leaves, comes back and dies.
fn better_keepalived(keepalived: &KeepalivedConfig, xvrrp: VirtualRouter) -> Result<()> {
    let lab = Lab::new(2)?;
    let config = KeepalivedConfig { priority: 200, ..keepalived.clone() };
    let mut ours = Xvrrp::start(&lab.routers[1], &[xvrrp.with("priority", "100")])?;
    ours.wait_for_state("lan", "active")?;
    ping_the_address(&lab)?;

    let mut theirs = Keepalived::start(&lab.routers[0], &config)?;
    theirs.wait_for_state("MASTER")?;
    ours.wait_for_state("lan", "backup")?;
    eventually("the Active router is known", PATIENCE, || {
        let active = ours.virtual_router("lan")?["active"].clone();
        ensure!(active["address"] == "192.0.2.2" && active["priority"] == 200, "{active}");
        Ok(())
    })?;
    ping_the_address(&lab)?;

    theirs.stop()?;
    ours.daemon.wait_for_line(&["state=active ", "reason=active_released"], PATIENCE)?;
    ping_the_address(&lab)?;
    ensure_understood(&theirs)?;

    let mut theirs = Keepalived::start(&lab.routers[0], &config)?;
    theirs.wait_for_state("MASTER")?;
    ours.wait_for_state("lan", "backup")?;
    lab.pull(0)?;
    ours.wait_for_state("lan", "active")?;
    ours.daemon.wait_for_line(&["state=active ", "reason=active_down"], PATIENCE)?;
    ping_the_address(&lab)?;
    ensure_understood(&theirs)?;
    ensure_heard(&ours)
}

/// keepalived on the first router is the worse one: xvrrp comes, leaves, comes back and dies.
fn worse_keepalived(keepalived: &KeepalivedConfig, xvrrp: VirtualRouter) -> Result<()> {
    let lab = Lab::new(2)?;
    let config = KeepalivedConfig { priority: 100, ..keepalived.clone() };
    let xvrrp = [xvrrp.with("priority", "200")];
    let mut theirs = Keepalived::start(&lab.routers[0], &config)?;
    theirs.wait_for_state("MASTER")?;
    ping_the_address(&lab)?;

    let mut ours = Xvrrp::start(&lab.routers[1], &xvrrp)?;
    ours.wait_for_state("lan", "active")?;
    ours.daemon.wait_for_line(&["state=active ", "reason=preempted"], PATIENCE)?;
    theirs.wait_for_state("BACKUP")?;
    ping_the_address(&lab)?;
    ensure_heard(&ours)?;

    ensure!(ours.stop()?.success(), "the agent failed");
    theirs.wait_for_state("MASTER")?;
    ping_the_address(&lab)?;

    let mut ours = ours.restart(&lab.routers[1], &xvrrp)?;
    ours.wait_for_state("lan", "active")?;
    theirs.wait_for_state("BACKUP")?;
    lab.pull(1)?;
    theirs.wait_for_state("MASTER")?;
    ping_the_address(&lab)?;
    ensure_understood(&theirs)
}

fn with_vmac(config: KeepalivedConfig) -> KeepalivedConfig {
    KeepalivedConfig { use_vmac: true, ..config }
}

fn with_password(config: KeepalivedConfig) -> KeepalivedConfig {
    KeepalivedConfig { auth_pass: Some("s3cret".to_owned()), ..config }
}

fn v3() -> VirtualRouter {
    VirtualRouter::lan(100)
}

fn v2() -> VirtualRouter {
    VirtualRouter::lan(100).with("version", "2").with("advert_interval", "\"1s\"")
}

#[test]
fn version_3_with_a_better_keepalived() -> Result<()> {
    better_keepalived(&KeepalivedConfig::v3(51, 0), v3())
}

#[test]
fn version_3_with_a_worse_keepalived() -> Result<()> {
    worse_keepalived(&KeepalivedConfig::v3(51, 0), v3())
}

#[test]
fn version_3_with_a_better_keepalived_on_the_virtual_mac() -> Result<()> {
    better_keepalived(&with_vmac(KeepalivedConfig::v3(51, 0)), v3())
}

#[test]
fn version_3_with_a_worse_keepalived_on_the_virtual_mac() -> Result<()> {
    worse_keepalived(&with_vmac(KeepalivedConfig::v3(51, 0)), v3())
}

#[test]
fn version_3_without_any_virtual_mac_with_a_better_keepalived() -> Result<()> {
    better_keepalived(&KeepalivedConfig::v3(51, 0), v3().with("virtual_mac", "false"))
}

#[test]
fn version_3_without_any_virtual_mac_with_a_worse_keepalived() -> Result<()> {
    worse_keepalived(&KeepalivedConfig::v3(51, 0), v3().with("virtual_mac", "false"))
}

/// A keepalived with `vmac_xmit_base` hears nobody who sends from the virtual MAC, as RFC 9568 7.2 wants it: the kernel
/// hands such frames to its macvlan interface, and it listens on the other one.
#[test]
fn version_3_without_any_virtual_mac_with_a_worse_keepalived_that_keeps_it_out_of_its_adverts() -> Result<()> {
    let theirs = KeepalivedConfig { vmac_xmit_base: true, ..with_vmac(KeepalivedConfig::v3(51, 0)) };
    worse_keepalived(&theirs, v3().with("virtual_mac", "false"))
}

#[test]
fn version_2_with_a_better_keepalived() -> Result<()> {
    better_keepalived(&KeepalivedConfig::v2(51, 0), v2())
}

#[test]
fn version_2_with_a_worse_keepalived() -> Result<()> {
    worse_keepalived(&KeepalivedConfig::v2(51, 0), v2())
}

#[test]
fn version_2_and_a_password_with_a_better_keepalived() -> Result<()> {
    let theirs = with_password(KeepalivedConfig::v2(51, 0));
    better_keepalived(&theirs, v2().with("password", "\"s3cret\""))
}

#[test]
fn version_2_and_a_password_with_a_worse_keepalived_on_the_virtual_mac() -> Result<()> {
    let theirs = with_vmac(with_password(KeepalivedConfig::v2(51, 0)));
    worse_keepalived(&theirs, v2().with("password", "\"s3cret\""))
}

#[test]
fn version_2_with_a_better_keepalived_on_the_virtual_mac() -> Result<()> {
    better_keepalived(&with_vmac(KeepalivedConfig::v2(51, 0)), v2())
}

#[test]
fn version_2_with_a_worse_keepalived_on_the_virtual_mac() -> Result<()> {
    worse_keepalived(&with_vmac(KeepalivedConfig::v2(51, 0)), v2())
}

#[test]
fn version_2_and_a_password_with_a_better_keepalived_on_the_virtual_mac() -> Result<()> {
    let theirs = with_vmac(with_password(KeepalivedConfig::v2(51, 0)));
    better_keepalived(&theirs, v2().with("password", "\"s3cret\""))
}

#[test]
fn version_2_and_a_password_with_a_worse_keepalived() -> Result<()> {
    let theirs = with_password(KeepalivedConfig::v2(51, 0));
    worse_keepalived(&theirs, v2().with("password", "\"s3cret\""))
}
