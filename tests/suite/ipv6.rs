//! Virtual routers over IPv6, alone and together with IPv4, and how a Linux client finds them.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xvrrp_lab::{
    INTERFACE, Keepalived, KeepalivedConfig, Lab, Namespace, PATIENCE, VIP_IPV6, VirtualRouter, Xvrrp, eventually,
    host_state, script, wait_for_host_state, wait_until, wait_until_is,
};

const VIRTUAL_MAC: &str = "00:00:5e:00:02:33";

fn ping(lab: &Lab, address: &str) -> Result<()> {
    let line = format!("ping -n -c 3 -i 0.05 -W 1 {address}");
    eventually(&format!("the client reaches {address}"), PATIENCE, || lab.client.sh(&line)).map(drop)
}

/// Returns the client's neighbor entry for the virtual address.
fn located(lab: &Lab) -> Result<String> {
    lab.client.ip(&format!("-6 neigh show to {VIP_IPV6} dev {INTERFACE}"))
}

/// Waits until the client reaches the virtual address at the virtual MAC.
fn wait_until_at_virtual_mac(lab: &Lab) -> Result<()> {
    ping(lab, &VIP_IPV6.to_string())?;
    // RFC 9568 8.2.2
    eventually("the client has the virtual MAC, and knows it as a router's", PATIENCE, || {
        let found = located(lab)?;
        ensure!(found.contains(VIRTUAL_MAC) && found.contains("router"), "the client has {found}");
        Ok(())
    })
}

fn has_address(router: &Namespace) -> Result<bool> {
    Ok(router.ip(&format!("-6 addr show dev {INTERFACE}"))?.contains(&format!("{VIP_IPV6}/64")))
}

/// Returns the family and the state of each virtual router.
fn states(agent: &Xvrrp) -> Result<Vec<(String, String)>> {
    let status = agent.status()?;
    let routers = status["virtual_routers"].as_array().context("status without virtual_routers")?;
    let word = |router: &Value, key: &str| router[key].as_str().unwrap_or_default().to_owned();
    Ok(routers.iter().map(|router| (word(router, "family"), word(router, "state"))).collect())
}

fn wait_for_both(agent: &Xvrrp, state: &str) -> Result<()> {
    eventually(&format!("both families are {state}"), PATIENCE, || {
        let states = states(agent)?;
        let expected = ["ipv4", "ipv6"].map(|family| (family.to_owned(), state.to_owned()));
        ensure!(states == expected, "they are {states:?}");
        agent.ensure_logged("lan", state)
    })
}

#[test]
fn a_client_keeps_reaching_the_address_when_another_router_takes_over() -> Result<()> {
    // conformance 39, 56
    let lab = Lab::with_ipv6(2)?;
    let before = host_state(&lab.routers[0])?;
    let mut first = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan_ipv6(200)])?;
    first.wait_for_state("lan", "active")?;
    let mut second = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan_ipv6(100)])?;
    eventually("the Backup hears the Active router", PATIENCE, || {
        let status = second.virtual_router("lan")?;
        ensure!(status["state"] == "backup" && status["active"]["address"] == "fe80::2", "{status}");
        Ok(())
    })?;
    wait_until_at_virtual_mac(&lab)?;
    // The address skips duplicate address detection (RFC 4862 5.4, conformance 57), and the host does not choose it as
    // a source.
    wait_until("the address is deprecated, without duplicate detection", || {
        let address = lab.routers[0].ip(&format!("-6 -d addr show dev {INTERFACE} to {VIP_IPV6}"))?;
        Ok(address.contains("nodad") && address.contains("deprecated"))
    })?;
    ensure!(!has_address(&lab.routers[1])?, "the Backup has the address");
    // Neighbor Discovery that the Active router itself starts must not teach the client another MAC.
    eventually("the router reaches the client from the virtual address", PATIENCE, || {
        lab.routers[0].ip(&format!("neigh flush dev {INTERFACE}"))?;
        lab.routers[0].sh(&format!("ping -n -c 1 -W 1 -I {VIP_IPV6} 2001:db8::64"))
    })?;
    first.wait_for_counter("lan", "egress_nd_rewritten", 1)?;
    wait_until_at_virtual_mac(&lab)?;

    ensure!(first.stop()?.success(), "the agent failed");
    second.daemon.wait_for_line(&["state=active ", "family=ipv6", "reason=active_released"], PATIENCE)?;
    wait_until_at_virtual_mac(&lab)?;
    wait_for_host_state(&lab.routers[0], &before)?;

    let mut first = first.restart(&lab.routers[0], &[VirtualRouter::lan_ipv6(200)])?;
    first.wait_for_state("lan", "active")?;
    second.wait_for_state("lan", "backup")?;
    wait_until_at_virtual_mac(&lab)?;
    first.kill()?;
    second.daemon.wait_for_line(&["state=active ", "reason=active_down"], PATIENCE)?;
    // The address is still on the host of the dead agent, but its kernel half no longer answers.
    ensure!(has_address(&lab.routers[0])?, "the address is gone, though no agent runs");
    wait_until_at_virtual_mac(&lab)?;
    let mut first = first.restart(&lab.routers[0], &[VirtualRouter::lan_ipv6(50)])?;
    first.wait_for_state("lan", "backup")?;
    wait_until("the next agent has removed the address", || Ok(!has_address(&lab.routers[0])?))
}

#[test]
fn both_families_under_one_name_change_role_together() -> Result<()> {
    let lab = Lab::with_ipv6(2)?;
    let mut first = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan_of_both(200)])?;
    wait_for_both(&first, "active")?;
    let mut second = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan_of_both(100)])?;
    wait_for_both(&second, "backup")?;
    // RFC 9568 5.1.1.2, 5.1.2.2: cards and switches let adverts through to members of these groups.
    wait_until("the Backup is a member of both groups", || {
        let groups = lab.routers[1].ip(&format!("maddr show dev {INTERFACE}"))?;
        Ok(groups.contains("224.0.0.18") && groups.contains("ff02::12"))
    })?;
    ping(&lab, "192.0.2.1")?;
    wait_until_at_virtual_mac(&lab)?;
    ensure!(first.stop()?.success(), "the agent failed");
    wait_for_both(&second, "active")?;
    ping(&lab, "192.0.2.1")?;
    wait_until_at_virtual_mac(&lab)?;
    // A higher priority in one family makes this router Backup in both, and the other family does not time out.
    let mut theirs = Keepalived::start(&lab.routers[0], &KeepalivedConfig::ipv6(51, 200))?;
    theirs.wait_for_state("MASTER")?;
    wait_for_both(&second, "backup")?;
    second.daemon.wait_for_line(&["family=ipv6", "state=backup", "reason=higher_priority"], PATIENCE)?;
    second.daemon.wait_for_line(&["family=ipv4", "state=backup", "reason=partner"], PATIENCE)?;
    let changes = second.daemon.count_lines(&["state changed"]);
    std::thread::sleep(std::time::Duration::from_secs(1));
    wait_for_both(&second, "backup")?;
    ensure!(second.daemon.count_lines(&["state changed"]) == changes, "a state has changed: {}", second.daemon.log());
    theirs.stop()?;
    wait_for_both(&second, "active")
}

#[test]
fn both_families_enter_and_leave_a_fault_with_one_change_of_state_each() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let directory = tempfile::tempdir()?;
    let calls = directory.path().join("calls");
    let program = script(directory.path(), "notify", &format!("echo \"$3 $XVRRP_REASON\" >> {}", calls.display()))?;
    let router = VirtualRouter::lan_of_both(100).with("notify", &format!("{program:?}"));
    let mut agent = Xvrrp::start(&lab.routers[0], &[router])?;
    wait_for_both(&agent, "active")?;
    lab.pull(0)?;
    wait_for_both(&agent, "fault")?;
    lab.plug(0)?;
    wait_for_both(&agent, "active")?;
    ensure!(agent.transitions("lan", "fault") == 2, "not one fault for each family:\n{}", agent.daemon.log());
    ensure!(agent.daemon.count_lines(&["state=backup ", "reason=interface_up"]) == 2, "{}", agent.daemon.log());
    ensure!(agent.stop()?.success());
    let expected = "\
BACKUP startup
MASTER active_down
FAULT interface_down
BACKUP interface_up
MASTER active_down
STOP shutdown
";
    wait_until_is("every program has run", &expected.to_owned(), || Ok(fs::read_to_string(&calls)?))
}

#[test]
fn without_accept_the_address_is_resolved_but_not_served() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let router = VirtualRouter::lan_ipv6(100).with("accept", "false");
    let mut agent = Xvrrp::start(&lab.routers[0], &[router])?;
    agent.wait_for_state("lan", "active")?;
    // RFC 9568 6.4.3 (conformance 40): the group of the adverts, and the solicited-node groups of the addresses.
    for group in ["ff02::12", "ff02::1:ff00:1", "ff02::1:ff00:33"] {
        wait_until(&format!("the router is a member of {group}"), || {
            Ok(lab.routers[0].ip(&format!("-6 maddr show dev {INTERFACE}"))?.contains(group))
        })?;
    }
    ensure!(!has_address(&lab.routers[0])?, "the address is on the interface");
    // RFC 9568 6.1 (conformance 42): Neighbor Discovery is served nevertheless.
    let is_served = || lab.client.sh(&format!("ping -n -c 1 -W 1 {VIP_IPV6}")).is_ok();
    ensure!(!is_served(), "the address answers");
    eventually("the client has the virtual MAC", PATIENCE, || {
        // Makes the client ask again if it has asked too early.
        is_served();
        let found = located(&lab)?;
        ensure!(found.contains(VIRTUAL_MAC), "the client has {found}");
        Ok(())
    })
}

#[test]
fn a_host_that_configures_the_address_detects_a_duplicate() -> Result<()> {
    // RFC 4862 5.4.3
    let lab = Lab::with_ipv6(1)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan_ipv6(100)])?;
    agent.wait_for_state("lan", "active")?;
    lab.client.ip(&format!("addr add {VIP_IPV6}/64 dev {INTERFACE}"))?;
    eventually("duplicate address detection of the client fails", PATIENCE, || {
        let address = lab.client.ip(&format!("-6 addr show dev {INTERFACE} to {VIP_IPV6}"))?;
        ensure!(address.contains("dadfailed"), "{address}");
        Ok(())
    })
}

#[test]
fn an_agent_that_is_killed_and_started_again_within_its_lease_stays_active() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let router = [VirtualRouter::lan_of_both(100).with("advert_interval", "\"1s\"")];
    let mut agent = Xvrrp::start(&lab.routers[0], &router)?;
    wait_for_both(&agent, "active")?;
    wait_until_at_virtual_mac(&lab)?;
    agent.kill()?;
    let mut agent = agent.restart(&lab.routers[0], &router)?;
    for family in ["family=ipv4", "family=ipv6"] {
        agent.daemon.wait_for_line(&["state=active ", family, "reason=resumed"], PATIENCE)?;
    }
    ensure!(has_address(&lab.routers[0])?, "the address is gone");
    wait_until_at_virtual_mac(&lab)
}
