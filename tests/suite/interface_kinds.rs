//! Virtual routers on a bridge or a macvlan: what works and what is refused.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::{INTERFACE, Lab, Namespace, PATIENCE, Pair, VIP, VirtualRouter, Xvrrp, eventually};

/// The new name of the lab's interface once another interface is made on top of it.
const CABLE: &str = "cable";
/// How long the client may be without an answer: a generous multiple of Active_Down_Interval.
const LONGEST_GAP: Duration = Duration::from_secs(5);

/// Puts an interface of this kind on top of the router's interface and gives it its name and address.
fn put_on(router: &Namespace, number: usize, kind: &str) -> Result<()> {
    router.ip(&format!("link set {INTERFACE} down"))?;
    router.ip(&format!("link set {INTERFACE} name {CABLE}"))?;
    router.ip(&format!("addr flush dev {CABLE}"))?;
    if kind == "bridge" {
        router.ip(&format!("link add {INTERFACE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"))?;
        router.ip(&format!("link set {CABLE} master {INTERFACE}"))?;
    } else {
        router.ip(&format!("link add link {CABLE} name {INTERFACE} type {kind}"))?;
    }
    router.ip(&format!("link set {CABLE} up"))?;
    router.ip(&format!("addr add {}/24 dev {INTERFACE}", Lab::address(number)))?;
    router.ip(&format!("link set {INTERFACE} up"))?;
    eventually("the interface is up", PATIENCE, || {
        let link = router.ip(&format!("-o link show {INTERFACE}"))?;
        ensure!(link.contains("LOWER_UP"), "{link}");
        Ok(())
    })
}

fn lab_of(kind: &str) -> Result<Lab> {
    let lab = Lab::new(2)?;
    for (number, router) in lab.routers.iter().enumerate() {
        put_on(router, number, kind)?;
    }
    Ok(lab)
}

/// Fails unless a client is served by the Active router, and by the Backup after the Active router has died. If
/// `behind` names a port of the Backup's bridge, the same must hold for a second client there.
fn serves(kind: &str, virtual_mac: bool, behind: Option<&str>) -> Result<()> {
    let lab = lab_of(kind)?;
    let guest = Namespace::new("guest")?;
    if let Some(port) = behind {
        let router = &lab.routers[1];
        router.ip(&format!("link add {port} type veth peer name {INTERFACE} netns {}", guest.name()))?;
        router.ip(&format!("link set {port} master {INTERFACE} up"))?;
        guest.ip(&format!("addr add 192.0.2.150/24 dev {INTERFACE}"))?;
        guest.ip(&format!("link set {INTERFACE} up"))?;
    }
    let _echoes = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
    let mut pair = Pair::start(lab, ["", ""], |router| router.with("virtual_mac", &virtual_mac.to_string()))?;
    let mut probes = Vec::new();
    for client in [Some(&pair.lab.client), behind.and(Some(&guest))].into_iter().flatten() {
        probes.push(UdpProbe::start(client, VIP, Duration::from_millis(1))?);
    }
    for probe in &probes {
        probe.wait_for_answer_from(0, PATIENCE).with_context(|| pair.logs())?;
    }
    let admitted = pair.agents[0].counter("lan", "virtual_mac_admitted")?;
    ensure!((admitted > 0) == virtual_mac, "{admitted} frames to the virtual MAC with virtual_mac = {virtual_mac}");
    pair.agents[0].kill()?;
    for probe in probes {
        probe.wait_for_answer_from(1, PATIENCE).with_context(|| pair.logs())?;
        let seen = probe.finish();
        ensure!(seen.hosts() == [0, 1], "the client was served by {:?} in this order", seen.hosts());
        let gap = seen.longest_gap();
        ensure!(gap.is_some_and(|(_, gap)| gap < LONGEST_GAP), "the client was not served for {gap:?}");
    }
    pair.agents[1].wait_for_transitions("lan", "active", 1)?;
    Ok(())
}

#[test]
fn a_bridge_serves_at_its_own_mac_and_lets_hosts_behind_it_reach_another_router() -> Result<()> {
    serves("bridge", false, Some("guest"))
}

#[test]
fn a_macvlan_serves_at_its_own_mac() -> Result<()> {
    serves("macvlan mode bridge", false, None)
}

#[test]
fn a_macvlan_in_passthru_mode_serves_at_the_virtual_mac() -> Result<()> {
    serves("macvlan mode passthru", true, None)
}

#[test]
fn a_virtual_mac_is_refused_on_interfaces_that_do_not_receive_its_frames() -> Result<()> {
    for (kind, called) in [("bridge", "a bridge"), ("macvlan mode private", "a macvlan in another mode than passthru")]
    {
        let lab = Lab::new(1)?;
        put_on(&lab.routers[0], 0, kind)?;
        let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
        let status = agent.daemon.wait(PATIENCE)?;
        let message =
            format!("\"lan\": interface: \"{INTERFACE}\" is {called}, which takes no frames to a virtual MAC; set");
        let log = agent.daemon.log();
        ensure!(status.code() == Some(2) && log.contains(&message), "{status} instead of 2 with {message:?}: {log}");
    }
    Ok(())
}

#[test]
fn a_bridge_that_appears_later_puts_only_its_virtual_router_in_fault() -> Result<()> {
    let lab = Lab::new(1)?;
    let late = VirtualRouter::lan(200)
        .with("name", "\"late\"")
        .with("interface", "\"br5\"")
        .with("addresses", "[\"203.0.113.1/24\"]");
    // The interval makes the lease long enough for the agent to restart within it, even on a busy machine.
    let lan = VirtualRouter::lan(200).with("advert_interval", "\"2s\"");
    let mut agent = Xvrrp::start(&lab.routers[0], &[lan, late])?;
    agent.wait_for_state("lan", "active")?;
    lab.routers[0].ip("link add br5 type bridge")?;
    lab.routers[0].ip("addr add 203.0.113.2/24 dev br5")?;
    let reason = "interface br5 is a bridge, and takes no frames to a virtual MAC";
    eventually("the virtual router on the bridge is in fault", PATIENCE, || {
        let late = agent.virtual_router("late")?;
        ensure!(late["state"] == "fault" && late["reason"] == reason, "{late}");
        Ok(())
    })
    .with_context(|| agent.daemon.log())?;
    agent.wait_for_state("lan", "active")?;
    agent.wait_for_transitions("lan", "backup", 1)?;
    Ok(())
}
