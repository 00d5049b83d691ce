//! Traffic of a client to the virtual address, and through it as its gateway.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xvrrp_lab::probe::{TcpConnection, TcpEcho, UdpEcho, UdpProbe};
use xvrrp_lab::{Lab, Namespace, PATIENCE, SERVER, UPSTREAM, UPSTREAM_VIP, VIP, VirtualRouter, Xvrrp, eventually};

/// Number of bytes: enough for segmentation offload to build frames larger than the MTU.
const BULK: usize = 4 << 20;
/// Time between two datagrams.
const PACE: Duration = Duration::from_millis(5);

fn services(host: &Namespace, number: u8) -> Result<(UdpEcho, TcpEcho)> {
    Ok((UdpEcho::start(host, number)?, TcpEcho::start(host)?))
}

/// Waits until the client can ping the target without loss.
fn ping(client: &Namespace, target: std::net::Ipv4Addr) -> Result<()> {
    eventually("ping loses no packet", PATIENCE, || {
        let report = client.sh(&format!("ping -n -q -c 5 -i 0.02 -W 2 {target}"))?;
        ensure!(report.contains(" 0% packet loss"), "{report}");
        Ok(())
    })
}

fn active_and_backup(lab: &Lab, routers: impl Fn(u8) -> Vec<VirtualRouter>) -> Result<(Xvrrp, Xvrrp)> {
    let mut active = Xvrrp::start(&lab.routers[0], &routers(200))?;
    let mut backup = Xvrrp::start(&lab.routers[1], &routers(100))?;
    for name in ["lan", "upstream"].iter().take(routers(0).len()) {
        active.wait_for_state(name, "active")?;
        backup.wait_for_state(name, "backup")?;
    }
    Ok((active, backup))
}

/// Virtual routers on both sides, so that client and server reach each other through them.
fn gateway(priority: u8) -> Vec<VirtualRouter> {
    let upstream = VirtualRouter::lan(priority)
        .with("name", "\"upstream\"")
        .with("interface", &format!("{UPSTREAM:?}"))
        .with("addresses", &format!("[\"{UPSTREAM_VIP}/24\"]"));
    vec![VirtualRouter::lan(priority), upstream]
}

#[test]
fn the_virtual_address_serves_ping_udp_and_tcp_before_and_after_a_takeover() -> Result<()> {
    let lab = Lab::new(2)?;
    let _services = [services(&lab.routers[0], 0)?, services(&lab.routers[1], 1)?];
    let (active, backup) = active_and_backup(&lab, |priority| vec![VirtualRouter::lan(priority)])?;
    let probe = UdpProbe::start(&lab.client, VIP, PACE)?;
    probe.wait_for_answer_from(0, PATIENCE)?;
    ping(&lab.client, VIP)?;
    TcpConnection::open(&lab.client, VIP, PATIENCE)?.exchange(BULK)?;

    lab.pull(0)?;
    probe.wait_for_answer_from(1, PATIENCE)?;
    ping(&lab.client, VIP)?;
    TcpConnection::open(&lab.client, VIP, PATIENCE)?.exchange(BULK)?;

    assert_eq!(probe.finish().hosts(), [0, 1]);
    for agent in [active, backup] {
        agent.wait_for_counter("lan", "virtual_mac_admitted", 1)?;
    }
    Ok(())
}

#[test]
fn without_a_virtual_mac_the_client_learns_the_mac_of_the_new_active_router() -> Result<()> {
    let lab = Lab::new(2)?;
    let _services = [services(&lab.routers[0], 0)?, services(&lab.routers[1], 1)?];
    let plain = |priority| vec![VirtualRouter::lan(priority).with("virtual_mac", "false")];
    let _agents = active_and_backup(&lab, plain)?;
    let probe = UdpProbe::start(&lab.client, VIP, PACE)?;
    probe.wait_for_answer_from(0, PATIENCE)?;
    lab.pull(0)?;
    probe.wait_for_answer_from(1, PATIENCE)?;
    ping(&lab.client, VIP)?;
    TcpConnection::open(&lab.client, VIP, PATIENCE)?.exchange(BULK)
}

// parity 14, 45
#[test]
fn after_a_partition_the_client_is_served_by_the_better_router_within_moments() -> Result<()> {
    /// Without announcements, the client notices only when its neighbor entry is probed: after 7 s or more.
    const MOMENTS: Duration = Duration::from_secs(3);
    for virtual_mac in ["false", "true"] {
        let lab = Lab::new(2)?;
        let _services = [services(&lab.routers[0], 0)?, services(&lab.routers[1], 1)?];
        let routers = |priority| vec![VirtualRouter::lan(priority).with("virtual_mac", virtual_mac)];
        let _agents = active_and_backup(&lab, routers)?;
        let probe = UdpProbe::start(&lab.client, VIP, PACE)?;
        probe.wait_for_answer_from(0, PATIENCE)?;
        lab.isolate(0)?;
        probe.wait_for_answer_from(1, PATIENCE)?;
        lab.rejoin(0)?;
        probe.wait_for_answer_from(0, MOMENTS).with_context(|| format!("virtual_mac = {virtual_mac}"))?;
    }
    Ok(())
}

#[test]
fn the_gateway_forwards_ping_udp_and_tcp() -> Result<()> {
    // RFC 9568 6.4.3 (conformance 41)
    let lab = Lab::with_upstream(2)?;
    let server = lab.server.as_ref().expect("a lab with upstream");
    let _services = services(server, 9)?;
    let (active, backup) = active_and_backup(&lab, gateway)?;
    ping(&lab.client, SERVER)?;
    let probe = UdpProbe::start(&lab.client, SERVER, PACE)?;
    probe.wait_for_answer_from(9, PATIENCE)?;
    TcpConnection::open(&lab.client, SERVER, PATIENCE)?.exchange(BULK)?;

    for side in ["lan", "upstream"] {
        active.wait_for_counter(side, "virtual_mac_admitted", 1)?;
        assert_eq!(backup.counter(side, "virtual_mac_admitted")?, 0, "{side}");
    }
    Ok(())
}

#[test]
fn a_tcp_connection_through_the_gateway_survives_a_router_that_loses_power() -> Result<()> {
    let lab = Lab::with_upstream(2)?;
    let server = lab.server.as_ref().expect("a lab with upstream");
    let _services = services(server, 9)?;
    let (_active, mut backup) = active_and_backup(&lab, gateway)?;
    let mut connection = TcpConnection::open(&lab.client, SERVER, PATIENCE)?;
    connection.exchange(BULK)?;

    lab.pull(0)?;
    lab.switch().ip("link set u0 down")?;
    connection.exchange(BULK)?;
    backup.wait_for_state("lan", "active")?;
    backup.wait_for_state("upstream", "active")?;
    backup.wait_for_counter("lan", "virtual_mac_admitted", 1)
}

#[test]
fn a_graceful_stop_interrupts_the_gateway_only_briefly() -> Result<()> {
    let lab = Lab::with_upstream(2)?;
    let server = lab.server.as_ref().expect("a lab with upstream");
    let _services = services(server, 9)?;
    let (mut active, mut backup) = active_and_backup(&lab, gateway)?;
    let probe = UdpProbe::start(&lab.client, SERVER, PACE)?;
    probe.wait_for_answer_from(9, PATIENCE)?;
    assert!(active.stop()?.success());
    backup.wait_for_state("lan", "active")?;
    backup.wait_for_state("upstream", "active")?;
    probe.wait_for_answer_from(9, PATIENCE)?;
    let (_, gap) = probe.finish().longest_gap().expect("there are answers");
    // Skew_Time is 61 ms. A busy machine adds to that.
    assert!(gap < Duration::from_secs(3), "{gap:?}");
    Ok(())
}

#[test]
fn without_accept_the_gateway_forwards_but_serves_nothing_itself() -> Result<()> {
    // RFC 9568 6.4.3 (conformance 42)
    let lab = Lab::with_upstream(2)?;
    let server = lab.server.as_ref().expect("a lab with upstream");
    let _services = [services(server, 9)?, services(&lab.routers[0], 0)?];
    let without_accept = |priority| {
        let routers = gateway(priority).into_iter();
        routers.map(|router| router.with("accept", "false")).collect()
    };
    let (active, _backup) = active_and_backup(&lab, without_accept)?;
    ping(&lab.client, SERVER)?;
    let refused = lab.client.sh(&format!("ping -n -q -c 3 -i 0.02 -W 1 {VIP}"));
    assert!(refused.is_err(), "{refused:?}");
    assert!(TcpConnection::open(&lab.client, VIP, Duration::from_secs(1)).is_err());
    active.wait_for_counter("lan", "not_accepted", 1)?;
    ping(&lab.client, Lab::address(0))
}
