//! FRR's vrrpd as the other router, and keepalived as a third one: as Active router and as Backup, in versions 2 and 3.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use xvrrp_lab::{
    Frr, FrrConfig, Group, INTERFACE, Implementation, KeepalivedConfig, Lab, PATIENCE, VIP, VIP_IPV6, VirtualRouter,
    Xvrrp, eventually,
};

/// How long the client may be without an answer: a generous multiple of Active_Down_Interval.
const OUTAGE: Duration = Duration::from_secs(5);
/// The same for version 2 with adverts every second.
const OUTAGE_V2: Duration = Duration::from_secs(15);
/// Several Active_Down_Intervals at 100 ms adverts.
const SETTLED: Duration = Duration::from_secs(2);

fn v2(priority: u8) -> VirtualRouter {
    VirtualRouter::lan(priority).with("version", "2").with("advert_interval", "\"1s\"")
}

fn ipv4(implementations: Vec<Implementation>) -> Result<Group> {
    Group::new(Lab::new(implementations.len())?, &[VIP.into()], implementations)
}

fn ipv6(implementations: Vec<Implementation>) -> Result<Group> {
    Group::new(Lab::with_ipv6(implementations.len())?, &[VIP_IPV6.into()], implementations)
}

fn both_families(implementations: Vec<Implementation>) -> Result<Group> {
    let addresses = [VIP.into(), VIP_IPV6.into()];
    Group::new(Lab::with_ipv6(implementations.len())?, &addresses, implementations)
}

#[test]
fn xvrrp_backs_up_frr_in_version_3() -> Result<()> {
    let theirs = Implementation::Frr(FrrConfig::v3(51, 200));
    ipv4(vec![theirs, Implementation::Xvrrp(VirtualRouter::lan(100))])?.change_roles(OUTAGE)
}

#[test]
fn frr_backs_up_xvrrp_in_version_3() -> Result<()> {
    let theirs = Implementation::Frr(FrrConfig::v3(51, 100));
    ipv4(vec![Implementation::Xvrrp(VirtualRouter::lan(200)), theirs])?.change_roles(OUTAGE)
}

#[test]
fn xvrrp_backs_up_frr_in_version_2() -> Result<()> {
    let theirs = Implementation::Frr(FrrConfig::v2(51, 200));
    ipv4(vec![theirs, Implementation::Xvrrp(v2(100))])?.change_roles(OUTAGE_V2)
}

#[test]
fn frr_backs_up_xvrrp_in_version_2() -> Result<()> {
    let theirs = Implementation::Frr(FrrConfig::v2(51, 100));
    ipv4(vec![Implementation::Xvrrp(v2(200)), theirs])?.change_roles(OUTAGE_V2)
}

#[test]
fn xvrrp_backs_up_frr_over_ipv6() -> Result<()> {
    let theirs = Implementation::Frr(FrrConfig::ipv6(51, 200));
    ipv6(vec![theirs, Implementation::Xvrrp(VirtualRouter::lan_ipv6(100))])?.change_roles(OUTAGE)
}

#[test]
fn frr_backs_up_xvrrp_over_ipv6() -> Result<()> {
    let theirs = Implementation::Frr(FrrConfig::ipv6(51, 100));
    ipv6(vec![Implementation::Xvrrp(VirtualRouter::lan_ipv6(200)), theirs])?.change_roles(OUTAGE)
}

/// The roles of FRR's two virtual routers are independent. Ours change together.
#[test]
fn xvrrp_backs_up_frr_in_both_families() -> Result<()> {
    let theirs = Implementation::Frr(FrrConfig::both(51, 200));
    both_families(vec![theirs, Implementation::Xvrrp(VirtualRouter::lan_of_both(100))])?.change_roles(OUTAGE)
}

#[test]
fn frr_backs_up_xvrrp_in_both_families() -> Result<()> {
    let theirs = Implementation::Frr(FrrConfig::both(51, 100));
    both_families(vec![Implementation::Xvrrp(VirtualRouter::lan_of_both(200)), theirs])?.change_roles(OUTAGE)
}

#[test]
fn without_preempt_frr_leaves_an_xvrrp_of_lower_priority_active() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut ours = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    ours.wait_for_state("lan", "active")?;
    let mut theirs = Frr::start(&lab.routers[0], &FrrConfig { preempt: false, ..FrrConfig::v3(51, 200) })?;
    theirs.wait_for_state("Backup")?;
    thread::sleep(SETTLED);
    ensure!(theirs.transitions("Master") == 0, "FRR has been Active: {}", theirs.vrrpd.log());
    ours.wait_for_transitions("lan", "backup", 1)?;
    ours.stop()?;
    theirs.wait_for_state("Master")
}

#[test]
fn without_preempt_xvrrp_leaves_a_frr_of_lower_priority_active() -> Result<()> {
    // RFC 9568 6.4.2
    let lab = Lab::new(2)?;
    let mut theirs = Frr::start(&lab.routers[0], &FrrConfig::v3(51, 100))?;
    theirs.wait_for_state("Master")?;
    let mut ours = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(200).with("preempt", "false")])?;
    ours.wait_for_state("lan", "backup")?;
    thread::sleep(SETTLED);
    ensure!(ours.transitions("lan", "active") == 0, "xvrrp has been Active: {}", ours.daemon.log());
    theirs.wait_for_transitions("Backup", 1)?;
    theirs.stop()?;
    ours.wait_for_state("lan", "active")
}

#[test]
fn frr_accepts_only_the_checksum_with_the_pseudo_header() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut theirs = Frr::start(&lab.routers[0], &FrrConfig::v3(51, 100))?;
    theirs.wait_for_state("Master")?;
    let plain = [VirtualRouter::lan(200).with("checksum", "\"plain\"")];
    let mut ours = Xvrrp::start(&lab.routers[1], &plain)?;
    theirs.vrrpd.wait_for_line(&["invalid: Bad VRRP checksum"], PATIENCE)?;
    theirs.wait_for_transitions("Backup", 1)?;
    ensure!(ours.stop()?.success(), "the agent failed");
    // `auto` begins with this form, and FRR's adverts use it too.
    let mut ours = ours.restart(&lab.routers[1], &[VirtualRouter::lan(200).with("checksum", "\"auto\"")])?;
    ours.wait_for_state("lan", "active")?;
    theirs.wait_for_transitions("Backup", 2)
}

/// Lets both routers become Active while neither hears the other, and reunites them.
fn reunited_with_equal_priorities(frr: usize, xvrrp: usize) -> Result<(Frr, Xvrrp, Lab)> {
    let lab = Lab::new(2)?;
    let mut ours = Xvrrp::start(&lab.routers[xvrrp], &[VirtualRouter::lan(100)])?;
    ours.wait_for_state("lan", "active")?;
    lab.isolate(frr)?;
    let mut theirs = Frr::start(&lab.routers[frr], &FrrConfig::v3(51, 100))?;
    theirs.wait_for_state("Master")?;
    lab.rejoin(frr)?;
    Ok((theirs, ours, lab))
}

#[test]
fn of_equal_priorities_xvrrp_yields_to_the_higher_address() -> Result<()> {
    // RFC 9568 6.4.3
    let (theirs, mut ours, _lab) = reunited_with_equal_priorities(1, 0)?;
    ours.daemon.wait_for_line(&["state=backup ", "reason=higher_address"], PATIENCE)?;
    thread::sleep(SETTLED);
    ensure!(ours.state("lan")? == "backup", "xvrrp is no longer Backup: {}", ours.daemon.log());
    theirs.wait_for_transitions("Backup", 1)?;
    Ok(())
}

#[test]
fn of_equal_priorities_frr_yields_to_the_higher_address() -> Result<()> {
    // RFC 9568 6.4.3
    let (mut theirs, ours, _lab) = reunited_with_equal_priorities(0, 1)?;
    theirs.wait_for_state("Backup")?;
    thread::sleep(SETTLED);
    theirs.wait_for_transitions("Master", 1)?;
    ours.wait_for_transitions("lan", "active", 1)?;
    Ok(())
}

/// An interval in milliseconds, longer than the Active_Down_Interval of a router that has 100 ms and does not learn.
const SLOW: u16 = 900;

#[test]
fn xvrrp_learns_the_interval_of_a_slower_frr() -> Result<()> {
    // RFC 9568 6.4.2
    let lab = Lab::new(2)?;
    let slow = FrrConfig { advertisement_interval: SLOW, ..FrrConfig::v3(51, 200) };
    let mut theirs = Frr::start(&lab.routers[0], &slow)?;
    theirs.wait_for_state("Master")?;
    let mut ours = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    // At its start it may become Active before the first advert comes.
    eventually("xvrrp has learned the interval", PATIENCE, || {
        let router = ours.virtual_router("lan")?;
        ensure!(router["timers"]["active_adver_interval_ms"] == f64::from(SLOW), "{router}");
        Ok(())
    })?;
    ours.wait_for_state("lan", "backup")?;
    let before = ours.transitions("lan", "active");
    thread::sleep(SETTLED);
    ensure!(ours.transitions("lan", "active") == before, "xvrrp has taken over: {}", ours.daemon.log());
    Ok(())
}

#[test]
fn frr_learns_the_interval_of_a_slower_xvrrp() -> Result<()> {
    // RFC 9568 6.4.2
    let lab = Lab::new(2)?;
    let slow = VirtualRouter::lan(200).with("advert_interval", &format!("\"{SLOW}ms\""));
    let mut ours = Xvrrp::start(&lab.routers[0], &[slow])?;
    ours.wait_for_state("lan", "active")?;
    let mut theirs = Frr::start(&lab.routers[1], &FrrConfig::v3(51, 100))?;
    theirs.vrrpd.wait_for_line(&["Received VRRP Advertisement"], PATIENCE)?;
    theirs.wait_for_state("Backup")?;
    let before = theirs.transitions("Master");
    thread::sleep(SETTLED);
    ensure!(theirs.transitions("Master") == before, "FRR has taken over: {}", theirs.vrrpd.log());
    ours.wait_for_transitions("lan", "active", 1)?;
    Ok(())
}

#[derive(Clone, Copy)]
enum Kind {
    Xvrrp,
    Keepalived,
    Frr,
}

/// Returns one router of each implementation, the first one with the highest priority.
fn one_of_each(order: [Kind; 3]) -> Vec<Implementation> {
    let implementations = order.into_iter().zip([200, 150, 100]).map(|(kind, priority)| match kind {
        Kind::Xvrrp => Implementation::Xvrrp(VirtualRouter::lan(priority)),
        Kind::Keepalived => {
            Implementation::Keepalived(KeepalivedConfig { use_vmac: true, ..KeepalivedConfig::v3(51, priority) })
        }
        Kind::Frr => Implementation::Frr(FrrConfig::v3(51, priority)),
    });
    implementations.collect()
}

fn three(order: [Kind; 3]) -> Result<()> {
    ipv4(one_of_each(order))?.change_roles(OUTAGE)
}

#[test]
fn keepalived_backs_up_xvrrp_and_frr_backs_up_both() -> Result<()> {
    three([Kind::Xvrrp, Kind::Keepalived, Kind::Frr])
}

#[test]
fn frr_backs_up_xvrrp_and_keepalived_backs_up_both() -> Result<()> {
    three([Kind::Xvrrp, Kind::Frr, Kind::Keepalived])
}

#[test]
fn xvrrp_backs_up_keepalived_and_frr_backs_up_both() -> Result<()> {
    three([Kind::Keepalived, Kind::Xvrrp, Kind::Frr])
}

#[test]
fn frr_backs_up_keepalived_and_xvrrp_backs_up_both() -> Result<()> {
    three([Kind::Keepalived, Kind::Frr, Kind::Xvrrp])
}

#[test]
fn xvrrp_backs_up_frr_and_keepalived_backs_up_both() -> Result<()> {
    three([Kind::Frr, Kind::Xvrrp, Kind::Keepalived])
}

#[test]
fn keepalived_backs_up_frr_and_xvrrp_backs_up_both() -> Result<()> {
    // FRR stays Master while its cable is pulled, so it announces nothing when the cable is plugged in again. By then
    // the client may have learned the own MAC of keepalived's interface, from which that host resolves its neighbors in
    // spite of use_vmac. Only unreachability detection tells the client that this MAC no longer serves, by default
    // after 8 to 53 s. Here it takes at most 3.1 s: the entry counts as reachable for up to 1.5 s, the client waits for
    // one more second, and sends three probes.
    let lab = Lab::new(3)?;
    for (key, value) in
        [("base_reachable_time_ms", "1000"), ("delay_first_probe_time", "1"), ("retrans_time_ms", "200")]
    {
        lab.client.sysctl(&format!("net.ipv4.neigh.{INTERFACE}.{key}"), value)?;
    }
    let routers = one_of_each([Kind::Frr, Kind::Keepalived, Kind::Xvrrp]);
    Group::new(lab, &[VIP.into()], routers)?.change_roles(2 * OUTAGE)
}

#[test]
fn xvrrp_backs_up_frr_and_keepalived_backs_up_both_over_ipv6() -> Result<()> {
    let best = Implementation::Frr(FrrConfig::ipv6(51, 200));
    let second = Implementation::Xvrrp(VirtualRouter::lan_ipv6(150));
    let third = KeepalivedConfig { use_vmac: true, ..KeepalivedConfig::ipv6(51, 100) };
    ipv6(vec![best, second, Implementation::Keepalived(third)])?.change_roles(OUTAGE)
}
