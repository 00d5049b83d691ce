//! The MAC that hosts learn for the virtual address, and the silence of a Backup.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xvrrp_common::units::{MacAddress, Vrid};
use xvrrp_lab::probe::{ArpFrame, ArpWatch, UdpEcho, UdpProbe, ask_for};
use xvrrp_lab::traffic::capture::Capture;
use xvrrp_lab::{INTERFACE, Lab, Namespace, PATIENCE, VIP, VirtualRouter, Xvrrp, eventually, wait_until};

const PACE: Duration = Duration::from_millis(5);
/// How long answers to an ARP request are collected.
const ANSWER_TIME: Duration = Duration::from_millis(500);

fn virtual_mac() -> MacAddress {
    MacAddress::virtual_ipv4(Vrid::new(51).expect("not zero"))
}

fn mac_of(host: &Namespace) -> Result<String> {
    let link = host.ip(&format!("-o link show {INTERFACE}"))?;
    let mac = link.split_once("link/ether ").and_then(|(_, rest)| rest.split(' ').next());
    mac.map(str::to_owned).with_context(|| format!("no MAC address: {link}"))
}

fn settled_pair(lab: &Lab) -> Result<(Xvrrp, Xvrrp)> {
    let mut active = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
    active.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    backup.wait_for_state("lan", "backup")?;
    Ok((active, backup))
}

/// Asks once for the virtual address and fails unless exactly one router answers. If none does, asks again: a router
/// that has just become Active answers from its first advert on.
fn sole_answer(lab: &Lab) -> Result<ArpFrame> {
    let answers = eventually("a router answers ARP for the virtual address", PATIENCE, || {
        let answers = ask_for(&lab.client, INTERFACE, VIP, ANSWER_TIME)?;
        ensure!(!answers.is_empty(), "no answer");
        Ok(answers)
    })?;
    ensure!(answers.len() == 1, "more than one answer: {answers:?}");
    Ok(answers[0])
}

/// Makes the router send to the client from the virtual address, for which it must first ask for the client's MAC.
fn talk_from_the_virtual_address(router: &Namespace) -> Result<()> {
    eventually("the router reaches the client from the virtual address", PATIENCE, || {
        router.ip(&format!("neigh flush dev {INTERFACE}"))?;
        router.sh("ping -n -q -c 3 -i 0.05 -W 1 -I 192.0.2.1 192.0.2.100")
    })?;
    Ok(())
}

#[test]
fn the_client_sees_the_virtual_address_at_the_virtual_mac_only() -> Result<()> {
    // RFC 9568 8.1.2 (conformance 56)
    let lab = Lab::new(2)?;
    let watch = ArpWatch::start(&lab.client, INTERFACE)?;
    let _services = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
    let (active, _backup) = settled_pair(&lab)?;
    let probe = UdpProbe::start(&lab.client, VIP, PACE)?;
    probe.wait_for_answer_from(0, PATIENCE)?;

    talk_from_the_virtual_address(&lab.routers[0])?;
    active.wait_for_counter("lan", "egress_arp_rewritten", 1)?;
    lab.client.ip(&format!("neigh flush dev {INTERFACE}"))?;
    probe.wait_for_answer_from(0, PATIENCE)?;
    lab.pull(0)?;
    probe.wait_for_answer_from(1, PATIENCE)?;
    talk_from_the_virtual_address(&lab.routers[1])?;
    lab.plug(0)?;
    probe.wait_for_answer_from(0, PATIENCE)?;
    talk_from_the_virtual_address(&lab.routers[0])?;

    wait_until("the client has the virtual MAC", || {
        Ok(lab.client.ip(&format!("neigh show {VIP}"))?.contains(&virtual_mac().to_string()))
    })?;
    let claims = || watch.frames().into_iter().filter(|frame| frame.claims(VIP)).collect::<Vec<_>>();
    wait_until("the client has seen four packets or more from the virtual address", || Ok(claims().len() >= 4))?;
    let claims = claims();
    let macs: BTreeSet<_> = claims.iter().flat_map(|frame| [frame.source, frame.arp.sender_mac]).collect();
    assert_eq!(macs, BTreeSet::from([virtual_mac()]), "another MAC in {claims:?}");
    Ok(())
}

#[test]
fn only_the_active_router_answers_for_the_virtual_address_and_with_the_virtual_mac() -> Result<()> {
    // RFC 9568 6.4.2, 8.1.2 (conformance 28, 38)
    let lab = Lab::new(3)?;
    let (_active, backup) = settled_pair(&lab)?;
    let mut third = Xvrrp::start(&lab.routers[2], &[VirtualRouter::lan(50)])?;
    third.wait_for_state("lan", "backup")?;
    for _ in 0..3 {
        let answer = sole_answer(&lab)?;
        assert_eq!((answer.source, answer.arp.sender_mac), (virtual_mac(), virtual_mac()));
    }
    for agent in [backup, third] {
        agent.wait_for_counter("lan", "arp_suppressed", 3)?;
        assert_eq!(agent.counter("lan", "arp_answered")?, 0, "a Backup has answered");
    }
    Ok(())
}

#[test]
fn without_a_virtual_mac_the_active_router_answers_with_its_own() -> Result<()> {
    let lab = Lab::new(1)?;
    let plain = VirtualRouter::lan(200).with("virtual_mac", "false");
    let mut active = Xvrrp::start(&lab.routers[0], &[plain])?;
    active.wait_for_state("lan", "active")?;
    assert_eq!(sole_answer(&lab)?.arp.sender_mac.to_string(), mac_of(&lab.routers[0])?);
    Ok(())
}

#[test]
fn a_backup_sends_nothing() -> Result<()> {
    // RFC 9568 6.4.2
    let lab = Lab::new(2)?;
    let (_active, backup) = settled_pair(&lab)?;
    let mut capture = Capture::start(lab.switch(), "p1", "inbound")?;
    sole_answer(&lab)?;
    lab.client.ip(&format!("neigh flush dev {INTERFACE}"))?;
    eventually("the client reaches the virtual address", PATIENCE, || {
        lab.client.sh("ping -n -q -c 20 -i 0.02 -W 1 192.0.2.1")
    })?;
    backup.wait_for_counter("lan", "arp_suppressed", 2)?;

    // The answer to this ping shows that the capture sees frames from the Backup.
    eventually("the client reaches the Backup", PATIENCE, || lab.client.sh("ping -n -q -c 1 -W 5 192.0.2.3"))?;
    capture.wait_for("icmp", 1)?;
    capture.finish()?;
    let own = format!("ip.src == {0} && icmp || arp.src.proto_ipv4 == {0}", Lab::address(1));
    let others = capture.read(&format!("!({own})"), &["eth.src", "eth.dst", "_ws.col.Info"])?;
    assert!(others.is_empty(), "the Backup has sent {others:?}");
    Ok(())
}

#[test]
fn frames_for_the_virtual_mac_that_reach_a_backup_are_dropped() -> Result<()> {
    // RFC 9568 6.4.2
    let lab = Lab::new(2)?;
    let _services = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
    let (_active, backup) = settled_pair(&lab)?;
    let probe = UdpProbe::start(&lab.client, VIP, PACE)?;
    probe.wait_for_answer_from(0, PATIENCE)?;

    // The switch sends these frames to the Backup, whatever it learns from the Active router.
    lab.switch().sh(&format!("bridge fdb replace {} dev p1 master static sticky", virtual_mac()))?;
    eventually("the frames reach the Backup", PATIENCE, || {
        let dropped = backup.counter("lan", "virtual_mac_dropped")?;
        ensure!(dropped > 50, "{dropped} dropped");
        Ok(())
    })?;
    assert_eq!(backup.counter("lan", "virtual_mac_admitted")?, 0, "the Backup has admitted frames");
    assert_eq!(backup.state("lan")?, "backup");
    assert_eq!(probe.finish().hosts(), [0], "the hosts that have answered the client");
    Ok(())
}

#[test]
fn a_packet_to_the_virtual_address_at_the_backups_own_mac_is_not_accepted() -> Result<()> {
    // RFC 9568 6.4.2 (conformance 32)
    let lab = Lab::new(2)?;
    let _service = UdpEcho::start(&lab.routers[1], 1)?;
    let (_active, _backup) = settled_pair(&lab)?;
    let mac = mac_of(&lab.routers[1])?;
    lab.client.ip(&format!("neigh replace {VIP} lladdr {mac} dev {INTERFACE} nud permanent"))?;
    let probe = UdpProbe::start(&lab.client, VIP, PACE)?;
    std::thread::sleep(ANSWER_TIME);
    let timeline = probe.finish();
    assert!(timeline.sent > 10, "the client has sent only {} datagrams", timeline.sent);
    assert!(timeline.hosts().is_empty(), "the hosts {:?} have answered", timeline.hosts());
    Ok(())
}

#[test]
fn a_takeover_is_announced_by_gratuitous_arp_as_often_as_configured() -> Result<()> {
    // RFC 9568 6.4.2, 8.1.2 (conformance 49)
    let lab = Lab::new(1)?;
    let mut capture = Capture::start(lab.switch(), "br0", "arp")?;
    let router = VirtualRouter::lan(200)
        .with("addresses", "[\"192.0.2.1/24\", \"192.0.2.10/24\"]")
        .with("announce_count", "4")
        .with("announce_interval", "\"50ms\"");
    let mut active = Xvrrp::start(&lab.routers[0], &[router])?;
    active.wait_for_state("lan", "active")?;
    capture.wait_for("arp.isgratuitous", 8)?;
    // Time for more announcements than configured.
    std::thread::sleep(ANSWER_TIME);
    capture.finish()?;
    let fields = ["arp.src.proto_ipv4", "arp.dst.proto_ipv4", "eth.src", "eth.dst", "arp.src.hw_mac"];
    let mut announcements = capture.read("arp.isgratuitous", &fields)?;
    announcements.sort();
    let mac = virtual_mac().to_string();
    let announcement =
        |address: &str| [address, address, mac.as_str(), "ff:ff:ff:ff:ff:ff", mac.as_str()].map(str::to_owned).to_vec();
    let expected = [vec![announcement("192.0.2.1"); 4], vec![announcement("192.0.2.10"); 4]].concat();
    assert_eq!(announcements, expected);
    Ok(())
}
