//! Tests two routers and a client on virtio network cards, and so with real drivers, in the guest that
//! `cargo xtask test --kernel` boots. Three cards, `eth0` to `eth2`, are on one segment.

use std::net::Ipv4Addr;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xvrrp_common::units::{MacAddress, Vrid};
use xvrrp_lab::probe::{UdpEcho, UdpProbe, ask_for};
use xvrrp_lab::{CLIENT, INTERFACE, Lab, Namespace, PATIENCE, VIP, VirtualRouter, Xvrrp, eventually, run};

/// Time between the client's probes, long enough for emulation.
const PACE: Duration = Duration::from_millis(50);
/// Time to wait for answers that may not come.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// An address and a MAC that no host has.
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);
const OTHER_MAC: &str = "02:00:00:00:00:99";

fn main() -> ExitCode {
    match check() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("virtio: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::too_many_lines, reason = "one sequence of events")]
fn check() -> Result<()> {
    let routers =
        [host("router0", 0, &Lab::address(0).to_string())?, host("router1", 1, &Lab::address(1).to_string())?];
    let client = host("client", 2, &CLIENT.to_string())?;
    let mac = MacAddress::virtual_ipv4(Vrid::new(51).context("not zero")?);
    let _services = [UdpEcho::start(&routers[0], 0)?, UdpEcho::start(&routers[1], 1)?];

    let mut first = Xvrrp::start(&routers[0], &[lan(200)])?;
    first.wait_for_state("lan", "active")?;
    let mut second = Xvrrp::start(&routers[1], &[lan(100)])?;
    second.wait_for_state("lan", "backup")?;
    for (router, agent) in routers.iter().zip([&first, &second]) {
        let mode = agent.virtual_router("lan")?["xdp_mode"].clone();
        ensure!(mode == "driver", "XDP is in {mode} mode");
        let link = router.ip(&format!("-details link show dev {INTERFACE}"))?;
        ensure!(link.contains("prog/xdp") && link.contains(" xdp ") && !link.contains("xdpgeneric"), "{link}");
        ensure!(link.contains("promiscuity 0 "), "the card is promiscuous: {link}");
        ensure!(has_filter(router, mac)?, "the virtual MAC is not in the unicast filter");
    }
    println!("virtio: XDP is in driver mode, and the unicast filters contain the virtual MAC");

    let answers = ask_for(&client, INTERFACE, VIP, ANSWER_TIME)?;
    ensure!(answers.len() == 1, "answers to one ARP request: {answers:?}");
    ensure!(answers[0].source == mac && answers[0].arp.sender_mac == mac, "{answers:?}");
    ensure!(first.counter("lan", "arp_answered")? > 0, "the answer did not come from the Active router's kernel half");
    ensure!(second.counter("lan", "arp_suppressed")? > 0, "the Backup's kernel half did not drop the request");
    println!("virtio: XDP answers ARP with the virtual MAC, once");

    let probe = UdpProbe::start(&client, VIP, PACE)?;
    probe.wait_for_answer_from(0, PATIENCE)?;
    let neighbor = client.ip(&format!("neigh show {VIP}"))?;
    ensure!(neighbor.contains(&mac.to_string()), "{neighbor}");
    ensure!(first.counter("lan", "virtual_mac_admitted")? > 0, "the client's frames did not use the virtual MAC");
    println!("virtio: the client is served through the virtual MAC");

    // The other tests mean something only if the card does filter. The Backup receives frames to the virtual MAC and a
    // few adverts anyway.
    let entry = format!("{OTHER_MAC} dev {INTERFACE} self");
    client.ip(&format!("neigh replace {OTHER} lladdr {OTHER_MAC} dev {INTERFACE}"))?;
    let heard = || -> Result<(u64, u64)> {
        let before = frames_in(&routers[1])?;
        let probe = UdpProbe::start(&client, OTHER, PACE / 5)?;
        thread::sleep(ANSWER_TIME);
        let sent = probe.finish().sent;
        Ok((frames_in(&routers[1])? - before, sent))
    };
    let (without, sent) = heard()?;
    ensure!(without < sent / 2, "{without} frames arrived of {sent} to a MAC that is not in the unicast filter");
    routers[1].sh(&format!("bridge fdb add {entry} permanent"))?;
    let (with, sent) = heard()?;
    ensure!(with >= sent, "{with} frames arrived of {sent} to a MAC that is in the unicast filter");
    routers[1].sh(&format!("bridge fdb del {entry}"))?;
    println!("virtio: the card admits frames to another MAC only if that MAC is in the unicast filter");

    routers[0].sh(&format!("bridge fdb del {mac} dev {INTERFACE} self"))?;
    eventually("the virtual MAC is in the unicast filter again", PATIENCE, || {
        ensure!(has_filter(&routers[0], mac)?, "the virtual MAC is not in the unicast filter");
        Ok(())
    })?;
    probe.wait_for_answer_from(0, PATIENCE)?;
    println!("virtio: the agent restores a unicast filter entry that was removed by hand");

    routers[0].detach_ingress()?;
    first.daemon.wait_for_line(&["WARN", "had been detached: attached it again"], PATIENCE)?;
    let link = routers[0].ip(&format!("-details link show dev {INTERFACE}"))?;
    ensure!(link.contains("prog/xdp"), "{link}");
    probe.wait_for_answer_from(0, PATIENCE)?;
    println!("virtio: the agent attaches XDP again after it was detached by hand");

    first.kill()?;
    probe.wait_for_answer_from(1, PATIENCE)?;
    second.daemon.wait_for_line(&["state=active ", "reason=active_down"], PATIENCE)?;
    println!("virtio: the Backup serves after the Active router was killed");

    first.start_again(&routers[0], &[lan(200)])?;
    probe.wait_for_answer_from(0, PATIENCE)?;
    second.wait_for_state("lan", "backup")?;
    println!("virtio: the router with the higher priority serves again after its restart");

    first.stop()?;
    probe.wait_for_answer_from(1, PATIENCE)?;
    second.stop()?;
    for router in &routers {
        let link = router.ip(&format!("-details link show dev {INTERFACE}"))?;
        ensure!(!link.contains("xdp"), "{link}");
        ensure!(!has_filter(router, mac)?, "the virtual MAC is still in the unicast filter");
        let addresses = router.ip(&format!("-4 -o address show dev {INTERFACE}"))?;
        ensure!(!addresses.contains(&VIP.to_string()), "{addresses}");
    }
    println!("virtio: both agents have stopped, and have left nothing on the interfaces");
    Ok(())
}

fn lan(priority: u8) -> VirtualRouter {
    VirtualRouter::lan(priority).with("advert_interval", "\"1s\"")
}

/// Creates a namespace with one of the cards as its interface.
fn host(role: &str, card: u8, address: &str) -> Result<Namespace> {
    let host = Namespace::new(role)?;
    run(Command::new("ip").args(["link", "set", &format!("eth{card}"), "netns", host.name(), "name", INTERFACE]))?;
    // The reverse path filter would drop packets whenever the virtual address is on another interface, or on none.
    host.sysctl("net.ipv4.conf.all.rp_filter", "0")?;
    host.sysctl("net.ipv4.conf.default.rp_filter", "0")?;
    host.ip(&format!("addr add {address}/24 dev {INTERFACE}"))?;
    host.ip(&format!("link set {INTERFACE} up"))?;
    eventually("the card has a carrier", PATIENCE, || {
        let link = host.ip(&format!("-o link show dev {INTERFACE}"))?;
        ensure!(link.contains("LOWER_UP"), "{link}");
        Ok(())
    })?;
    Ok(host)
}

/// Returns the number of frames that the router's card has admitted.
fn frames_in(router: &Namespace) -> Result<u64> {
    let shown = router.ip(&format!("-statistics -json link show dev {INTERFACE}"))?;
    let links: serde_json::Value = serde_json::from_str(&shown)?;
    links[0]["stats64"]["rx"]["packets"].as_u64().with_context(|| format!("no count of frames: {shown}"))
}

fn has_filter(router: &Namespace, mac: MacAddress) -> Result<bool> {
    Ok(router.sh(&format!("bridge fdb show dev {INTERFACE}"))?.contains(&mac.to_string()))
}
