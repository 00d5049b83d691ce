//! Faults of the Active router: two routers never serve at once while the segment is whole, and another one takes over
//! in time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::SchedClassifier;
use aya::programs::tc::TcAttachType;
use nix::sys::signal::Signal;
use xvrrp_lab::fencing::{Fault, Pair, Setup};
use xvrrp_lab::{
    Lab, Namespace, PATIENCE, UPSTREAM, VIP, VirtualRouter, Xvrrp, alone, eventually, wait_until, wait_until_is,
};

/// Added to time limits for a busy machine. The bench measures the exact values.
const SLACK: Duration = Duration::from_millis(200);
/// Minimum share of the samples that prove something, being neither left out nor late.
const CERTAINTY: f64 = 0.5;
const HUNDRED: Duration = Duration::from_millis(100);
const TEN: Duration = Duration::from_millis(10);

fn check(setup: Setup, fault: Fault, runs: u32) -> Result<()> {
    // On a small machine, a sampler keeps its pace only if no other test runs.
    let _alone = alone();
    let mut pair = Pair::start(setup)?;
    for run in 0..runs {
        let outcome = pair.suffer(fault, run * 37 % 100, setup.interval * 5, SLACK);
        let outcome = outcome.with_context(|| format!("run {run}\n{}", pair.logs()))?;
        let details = || format!("run {run}: {outcome:?}\n{}", pair.logs());
        ensure!(outcome.served_twice.is_empty(), "two routers served at once: {}", details());
        ensure!(
            outcome.gap <= setup.active_down_interval() + SLACK,
            "no router served for {:?}: {}",
            outcome.gap,
            details()
        );
        ensure!(outcome.seen.certainty() > CERTAINTY, "the sampler was too late to prove anything: {}", details());
    }
    Ok(())
}

fn without_virtual_mac() -> Setup {
    Setup { virtual_mac: false, ..Setup::xvrrp(HUNDRED) }
}

#[test]
fn a_killed_agents_host_no_longer_serves_when_another_takes_over() -> Result<()> {
    check(Setup::xvrrp(HUNDRED), Fault::Kill, 2)
}

#[test]
fn a_stopped_agents_host_serves_beside_another_neither_at_the_takeover_nor_when_it_resumes() -> Result<()> {
    check(Setup::xvrrp(HUNDRED), Fault::Stop, 2)
}

#[test]
fn a_router_does_not_serve_beside_another_when_its_cable_is_plugged_in_again() -> Result<()> {
    check(Setup::xvrrp(HUNDRED), Fault::Pull, 2)
}

#[test]
fn of_two_active_routers_one_stops_serving_within_an_advert_after_they_are_reunited() -> Result<()> {
    check(Setup::xvrrp(HUNDRED), Fault::Isolate, 2)
}

#[test]
fn no_fault_makes_two_routers_without_a_virtual_mac_serve_at_once() -> Result<()> {
    Fault::ALL.into_iter().try_for_each(|fault| check(without_virtual_mac(), fault, 1))
}

#[test]
fn no_fault_makes_two_routers_serve_at_once_at_10_ms_adverts() -> Result<()> {
    Fault::ALL.into_iter().try_for_each(|fault| check(Setup::xvrrp(TEN), fault, 2))
}

/// The router's second interface on the client's segment.
const SECOND: &str = "eth2";
const SECOND_ADDRESS: &str = "192.0.2.12";
/// Much longer than a lease.
const PAST_LEASE: Duration = Duration::from_secs(1);

/// Creates a lab of a router with two interfaces on the client's segment and a third one to a server. The server
/// reaches the virtual address through the router.
fn with_other_interfaces() -> Result<Lab> {
    let lab = Lab::with_upstream(1)?;
    let (router, server) = (&lab.routers[0], lab.server.as_ref().context("a server")?);
    lab.switch().ip(&format!("link add second type veth peer name {SECOND} netns {}", router.name()))?;
    lab.switch().ip("link set second master br0 up")?;
    router.ip(&format!("addr add {SECOND_ADDRESS}/24 dev {SECOND}"))?;
    router.ip(&format!("link set {SECOND} up"))?;
    server.ip(&format!("route replace 192.0.2.0/24 via {}", Lab::upstream_address(0)))?;
    Ok(lab)
}

fn router() -> VirtualRouter {
    VirtualRouter::lan(200)
}

fn tcx(host: &Namespace, interface: &str) -> Result<Vec<String>> {
    let programs = host.run(|| SchedClassifier::query_tcx(interface, TcAttachType::Ingress))?;
    Ok(programs?.1.iter().map(|program| program.name_as_str().unwrap_or("?").to_owned()).collect())
}

fn wait_for_fence(host: &Namespace, interface: &str, present: bool) -> Result<()> {
    eventually(&format!("a fence is on {interface}: {present}"), PATIENCE, || {
        let programs = tcx(host, interface)?;
        ensure!(programs.iter().any(|name| name == "xvrrp_fence") == present, "the programs are {programs:?}");
        Ok(())
    })
}

fn reaches(host: &Namespace, address: impl ToString) -> Result<bool> {
    Ok(host.sh(&format!("ping -n -c 1 -W 1 {} >&2 && echo reached || true", address.to_string()))?.contains("reached"))
}

/// Returns whether the virtual address is reached by the server through the third interface, by the client through the
/// second interface by its MAC, and by the client at the MAC that it learns by ARP.
fn reached(lab: &Lab) -> Result<[bool; 3]> {
    let server = lab.server.as_ref().context("a server")?;
    let second = lab.routers[0].mac(SECOND)?;
    lab.client.ip(&format!("neigh replace {VIP} lladdr {second} dev eth0"))?;
    let through_second = reaches(&lab.client, VIP)?;
    lab.client.ip(&format!("neigh del {VIP} dev eth0"))?;
    Ok([reaches(server, VIP)?, through_second, reaches(&lab.client, VIP)?])
}

fn wait_until_reached_on_every_interface(lab: &Lab) -> Result<()> {
    wait_until_is("the virtual address is reached on every interface", &[true; 3], || reached(lab))
}

fn check_other_interfaces(signal: Signal) -> Result<()> {
    let lab = with_other_interfaces()?;
    let (host, server) = (&lab.routers[0], lab.server.as_ref().context("a server")?);
    let mut agent = Xvrrp::start(host, &[router()])?;
    agent.wait_for_state("lan", "active")?;
    for interface in [UPSTREAM, SECOND] {
        wait_for_fence(host, interface, true)?;
    }
    wait_until_reached_on_every_interface(&lab)?;
    agent.daemon.signal(signal)?;
    std::thread::sleep(PAST_LEASE);
    let served = reached(&lab)?;
    ensure!(
        served == [false; 3],
        "the host of an agent after {signal} serves (third, second, first interface): {served:?}"
    );
    for (from, address) in [
        (server, Lab::upstream_address(0).to_string()),
        (server, Lab::address(0).to_string()),
        (&lab.client, SECOND_ADDRESS.to_owned()),
        (&lab.client, Lab::address(0).to_string()),
    ] {
        wait_until(&format!("the host's own address {address} is reached"), || reaches(from, &address))?;
    }
    if signal == Signal::SIGSTOP {
        agent.daemon.signal(Signal::SIGCONT)?;
        wait_until_reached_on_every_interface(&lab)?;
    }
    Ok(())
}

#[test]
fn a_killed_agents_host_does_not_serve_on_any_other_interface() -> Result<()> {
    check_other_interfaces(Signal::SIGKILL)
}

#[test]
fn a_stopped_agents_host_does_not_serve_on_any_other_interface_until_the_agent_resumes() -> Result<()> {
    check_other_interfaces(Signal::SIGSTOP)
}

#[test]
fn a_backup_forwards_packets_to_the_active_routers_virtual_address() -> Result<()> {
    let lab = Lab::with_upstream(2)?;
    let server = lab.server.as_ref().context("a server")?;
    let mut active = Xvrrp::start(&lab.routers[0], &[router()])?;
    active.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[router().with("priority", "100")])?;
    backup.wait_for_state("lan", "backup")?;
    wait_for_fence(&lab.routers[1], UPSTREAM, true)?;
    server.ip(&format!("route add {VIP}/32 via {}", Lab::upstream_address(1)))?;
    wait_until("the server reaches the address through the Backup", || reaches(server, VIP))
}

#[test]
fn an_interface_that_appears_later_is_fenced_and_a_stop_removes_all_fences() -> Result<()> {
    let lab = with_other_interfaces()?;
    let host = &lab.routers[0];
    let mut agent = Xvrrp::start(host, &[router()])?;
    agent.wait_for_state("lan", "active")?;
    host.ip("link add late type veth peer name far")?;
    host.ip("link add bridge type bridge")?;
    host.ip("link set far master bridge")?;
    for interface in ["late", "bridge", UPSTREAM] {
        wait_for_fence(host, interface, true)?;
    }
    // Frames on a bridge port may be for hosts behind the bridge.
    wait_for_fence(host, "far", false)?;
    wait_for_fence(host, "eth0", false)?;
    agent.kill()?;
    wait_for_fence(host, UPSTREAM, true)?;
    let mut agent = agent.restart(host, &[router()])?;
    agent.wait_for_state("lan", "active")?;
    host.ip("link del late")?;
    host.ip("link add later type veth peer name further")?;
    wait_for_fence(host, "later", true)?;
    wait_until_is("the restarted agent has replaced the fence", &1, || Ok(tcx(host, UPSTREAM)?.len()))?;
    let status = agent.daemon.stop(Signal::SIGTERM, PATIENCE)?;
    ensure!(status.success(), "the agent failed: {status}");
    for interface in ["later", "bridge", UPSTREAM, SECOND] {
        wait_until_is(&format!("no program is left on {interface}"), &0, || Ok(tcx(host, interface)?.len()))?;
    }
    let pins = host.pins()?;
    wait_until("the pins are gone", || Ok(!pins.exists()))?;
    Ok(())
}
