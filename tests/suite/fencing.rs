//! Whatever happens to an Active router: two never serve at once while the segment is whole, and another serves in time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::SchedClassifier;
use aya::programs::tc::TcAttachType;
use nix::sys::signal::Signal;
use xvrrp_lab::fencing::{Fault, Pair, Setup};
use xvrrp_lab::{
    Lab, Namespace, PATIENCE, UPSTREAM, VIP, VirtualRouter, Xvrrp, alone, eventually, wait_until, wait_until_is,
};

/// Generous for a busy machine; the bench has the strict target.
const SLACK: Duration = Duration::from_millis(200);
/// Of all moments; what is missing, the sampler was late for.
const CERTAINTY: f64 = 0.5;
const HUNDRED: Duration = Duration::from_millis(100);
const TEN: Duration = Duration::from_millis(10);

fn check(setup: Setup, fault: Fault, runs: u32) -> Result<()> {
    // A sampler keeps its pace on a small machine if nobody else has it.
    let _alone = alone();
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

/// The router's second card in the client's segment.
const SECOND: &str = "eth2";
const SECOND_ADDRESS: &str = "192.0.2.12";
/// Much longer than a lease, for a busy machine.
const PAST_LEASE: Duration = Duration::from_secs(1);

/// A router with the client's segment on two cards and a server behind a third, which reaches the virtual address through
/// the router.
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

fn wait_for_fence(host: &Namespace, interface: &str, there: bool) -> Result<()> {
    eventually(&format!("a fence on {interface}: {there}"), PATIENCE, || {
        let programs = tcx(host, interface)?;
        ensure!(programs.iter().any(|name| name == "xvrrp_fence") == there, "{programs:?}");
        Ok(())
    })
}

fn reaches(host: &Namespace, address: impl ToString) -> Result<bool> {
    Ok(host.sh(&format!("ping -n -c 1 -W 1 {} >&2 && echo reached || true", address.to_string()))?.contains("reached"))
}

/// What reaches the router's virtual address: the server through another interface; the client through the second card, by
/// its MAC; and the client with what it learns by ARP.
fn ways(lab: &Lab) -> Result<[bool; 3]> {
    let server = lab.server.as_ref().context("a server")?;
    let second = lab.routers[0].mac(SECOND)?;
    lab.client.ip(&format!("neigh replace {VIP} lladdr {second} dev eth0"))?;
    let through_second = reaches(&lab.client, VIP)?;
    lab.client.ip(&format!("neigh del {VIP} dev eth0"))?;
    Ok([reaches(server, VIP)?, through_second, reaches(&lab.client, VIP)?])
}

fn check_other_interfaces(signal: Signal) -> Result<()> {
    let lab = with_other_interfaces()?;
    let (host, server) = (&lab.routers[0], lab.server.as_ref().context("a server")?);
    let mut agent = Xvrrp::start(host, &[router()])?;
    agent.wait_for_state("lan", "active")?;
    for interface in [UPSTREAM, SECOND] {
        wait_for_fence(host, interface, true)?;
    }
    eventually("every way is served", PATIENCE, || {
        let served = ways(&lab)?;
        ensure!(served == [true; 3], "{served:?}");
        Ok(())
    })?;
    agent.daemon.signal(signal)?;
    std::thread::sleep(PAST_LEASE);
    let served = ways(&lab)?;
    ensure!(served == [false; 3], "a dead agent's host serves: {served:?}");
    for (from, address) in [
        (server, Lab::upstream_address(0).to_string()),
        (server, Lab::address(0).to_string()),
        (&lab.client, SECOND_ADDRESS.to_owned()),
        (&lab.client, Lab::address(0).to_string()),
    ] {
        ensure!(reaches(from, &address)?, "{address} is the host's own");
    }
    if signal == Signal::SIGSTOP {
        agent.daemon.signal(Signal::SIGCONT)?;
        eventually("every way is served again", PATIENCE, || {
            let served = ways(&lab)?;
            ensure!(served == [true; 3], "{served:?}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_killed_agents_host_serves_on_no_other_interface_either() -> Result<()> {
    check_other_interfaces(Signal::SIGKILL)
}

#[test]
fn a_stopped_agents_host_serves_on_no_other_interface_either_and_does_again_when_it_wakes() -> Result<()> {
    check_other_interfaces(Signal::SIGSTOP)
}

#[test]
fn a_backup_forwards_to_the_active_routers_address() -> Result<()> {
    let lab = Lab::with_upstream(2)?;
    let server = lab.server.as_ref().context("a server")?;
    let mut active = Xvrrp::start(&lab.routers[0], &[router()])?;
    active.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[router().with("priority", "100")])?;
    backup.wait_for_state("lan", "backup")?;
    wait_for_fence(&lab.routers[1], UPSTREAM, true)?;
    server.ip(&format!("route add {VIP}/32 via {}", Lab::upstream_address(1)))?;
    eventually("the server reaches the address through the Backup", PATIENCE, || {
        ensure!(reaches(server, VIP)?);
        Ok(())
    })
}

#[test]
fn an_interface_that_comes_later_is_fenced_and_nothing_of_it_is_left() -> Result<()> {
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
    // A port's frames may be for others behind the bridge.
    wait_for_fence(host, "far", false)?;
    wait_for_fence(host, "eth0", false)?;
    agent.kill()?;
    wait_for_fence(host, UPSTREAM, true)?;
    let mut agent = agent.restart(host, &[router()])?;
    agent.wait_for_state("lan", "active")?;
    host.ip("link del late")?;
    host.ip("link add later type veth peer name further")?;
    wait_for_fence(host, "later", true)?;
    wait_until_is("one fence is left, not two", &1, || Ok(tcx(host, UPSTREAM)?.len()))?;
    let status = agent.daemon.stop(Signal::SIGTERM, PATIENCE)?;
    ensure!(status.success(), "{status}");
    for interface in ["later", "bridge", UPSTREAM, SECOND] {
        wait_until_is(&format!("nothing is left on {interface}"), &0, || Ok(tcx(host, interface)?.len()))?;
    }
    let pins = host.pins()?;
    wait_until("the pins are gone", || Ok(!pins.exists()))?;
    Ok(())
}
