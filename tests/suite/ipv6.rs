//! Virtual routers over IPv6, by themselves and beside those over IPv4, with a client that finds them as Linux does.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xvrrp_lab::{
    INTERFACE, Keepalived, KeepalivedConfig, Lab, Namespace, PATIENCE, VIP_IPV6, VirtualRouter, Xvrrp, eventually,
    host_state, wait_for_host_state, wait_until,
};

const VIRTUAL_MAC: &str = "00:00:5e:00:02:33";

fn ping(lab: &Lab, address: &str) -> Result<()> {
    let line = format!("ping -n -c 3 -i 0.05 -W 1 {address}");
    eventually(&format!("the client reaches {address}"), PATIENCE, || lab.client.sh(&line)).map(drop)
}

/// Where the client believes the address to be.
fn located(lab: &Lab) -> Result<String> {
    lab.client.ip(&format!("-6 neigh show to {VIP_IPV6} dev {INTERFACE}"))
}

fn ensure_at_the_virtual_mac(lab: &Lab) -> Result<()> {
    ping(lab, &VIP_IPV6.to_string())?;
    let found = located(lab)?;
    // RFC 9568 8.2.2
    ensure!(found.contains(VIRTUAL_MAC) && found.contains("router"), "the client has {found}");
    Ok(())
}

fn has_address(router: &Namespace) -> Result<bool> {
    Ok(router.ip(&format!("-6 addr show dev {INTERFACE}"))?.contains(&format!("{VIP_IPV6}/64")))
}

/// The states of a virtual router in each family.
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
        ensure!(states == expected, "{states:?}");
        Ok(())
    })
}

#[test]
fn a_client_keeps_reaching_the_address_when_its_router_is_replaced() -> Result<()> {
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
    ensure_at_the_virtual_mac(&lab)?;
    // RFC 4862 5.4 is left out (conformance 57), nothing of the host's own leaves from it, and it can be told from others.
    wait_until("the address is deprecated, without duplicate detection", || {
        let address = lab.routers[0].ip(&format!("-6 -d addr show dev {INTERFACE} to {VIP_IPV6}"))?;
        Ok(address.contains("nodad") && address.contains("deprecated"))
    })?;
    ensure!(!has_address(&lab.routers[1])?, "the Backup has the address");
    // What the Active router itself starts must not teach the client another MAC.
    lab.routers[0].ip(&format!("neigh flush dev {INTERFACE}"))?;
    lab.routers[0].sh(&format!("ping -n -c 1 -W 1 -I {VIP_IPV6} 2001:db8::64"))?;
    first.wait_for_counter("lan", "egress_nd_rewritten", 1)?;
    ensure_at_the_virtual_mac(&lab)?;

    ensure!(first.stop()?.success(), "the agent failed");
    second.daemon.wait_for_line(&["state=active ", "family=ipv6", "reason=active_released"], PATIENCE)?;
    ensure_at_the_virtual_mac(&lab)?;
    wait_for_host_state(&lab.routers[0], &before)?;

    let mut first = first.restart(&lab.routers[0], &[VirtualRouter::lan_ipv6(200)])?;
    first.wait_for_state("lan", "active")?;
    second.wait_for_state("lan", "backup")?;
    ensure_at_the_virtual_mac(&lab)?;
    first.kill()?;
    second.daemon.wait_for_line(&["state=active ", "reason=active_down"], PATIENCE)?;
    // The kernel half of the dead agent is silent by now, though the address is still on its interface.
    ensure!(has_address(&lab.routers[0])?, "nobody could have taken it off");
    ensure_at_the_virtual_mac(&lab)?;
    let first = first.restart(&lab.routers[0], &[VirtualRouter::lan_ipv6(50)])?;
    eventually("the next start takes the address off", PATIENCE, || {
        ensure!(first.state("lan")? == "backup" && !has_address(&lab.routers[0])?);
        Ok(())
    })
}

#[test]
fn both_families_under_one_name_change_role_together() -> Result<()> {
    let lab = Lab::with_ipv6(2)?;
    let mut first = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan_of_both(200)])?;
    wait_for_both(&first, "active")?;
    let mut second = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan_of_both(100)])?;
    wait_for_both(&second, "backup")?;
    // RFC 9568 5.1.1.2, 5.1.2.2: what a card or a switch must let through.
    let groups = lab.routers[1].ip(&format!("maddr show dev {INTERFACE}"))?;
    ensure!(groups.contains("224.0.0.18") && groups.contains("ff02::12"), "{groups}");
    ping(&lab, "192.0.2.1")?;
    ensure_at_the_virtual_mac(&lab)?;
    ensure!(first.stop()?.success(), "the agent failed");
    wait_for_both(&second, "active")?;
    ping(&lab, "192.0.2.1")?;
    ensure_at_the_virtual_mac(&lab)?;
    // Better in one family only: we are Backup in both, and neither runs out meanwhile.
    let mut theirs = Keepalived::start(&lab.routers[0], &KeepalivedConfig::ipv6(51, 200))?;
    theirs.wait_for_state("MASTER")?;
    wait_for_both(&second, "backup")?;
    // The log may come after the status.
    second.daemon.wait_for_line(&["family=ipv6", "state=backup", "reason=higher_priority"], PATIENCE)?;
    second.daemon.wait_for_line(&["family=ipv4", "state=backup", "reason=partner"], PATIENCE)?;
    let changes = second.daemon.count_lines(&["state changed"]);
    std::thread::sleep(std::time::Duration::from_secs(1));
    wait_for_both(&second, "backup")?;
    ensure!(second.daemon.count_lines(&["state changed"]) == changes, "{}", second.daemon.log());
    theirs.stop()?;
    wait_for_both(&second, "active")
}

#[test]
fn without_accept_the_address_is_found_and_not_served() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let router = VirtualRouter::lan_ipv6(100).with("accept", "false");
    let mut agent = Xvrrp::start(&lab.routers[0], &[router])?;
    agent.wait_for_state("lan", "active")?;
    // RFC 9568 6.4.3 (conformance 40): of the group of the adverts, and of the solicited-node groups of the addresses.
    for group in ["ff02::12", "ff02::1:ff00:1", "ff02::1:ff00:33"] {
        wait_until(&format!("the router is a member of {group}"), || {
            Ok(lab.routers[0].ip(&format!("-6 maddr show dev {INTERFACE}"))?.contains(group))
        })?;
    }
    ensure!(!has_address(&lab.routers[0])?, "the address is on the interface");
    // RFC 9568 6.1 (conformance 42): Neighbor Discovery is served all the same.
    ensure!(lab.client.sh(&format!("ping -n -c 1 -W 1 {VIP_IPV6}")).is_err(), "the address answers");
    let found = located(&lab)?;
    ensure!(found.contains(VIRTUAL_MAC), "the client has {found}");
    Ok(())
}

#[test]
fn a_host_that_wants_the_address_for_itself_is_told_that_it_is_taken() -> Result<()> {
    // RFC 4862 5.4.3
    let lab = Lab::with_ipv6(1)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan_ipv6(100)])?;
    agent.wait_for_state("lan", "active")?;
    lab.client.ip(&format!("addr add {VIP_IPV6}/64 dev {INTERFACE}"))?;
    eventually("the client finds the address taken", PATIENCE, || {
        let address = lab.client.ip(&format!("-6 addr show dev {INTERFACE} to {VIP_IPV6}"))?;
        ensure!(address.contains("dadfailed"), "{address}");
        Ok(())
    })
}

#[test]
fn an_agent_that_dies_and_is_started_again_goes_on_inside_its_lease() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let router = [VirtualRouter::lan_of_both(100).with("advert_interval", "\"1s\"")];
    let mut agent = Xvrrp::start(&lab.routers[0], &router)?;
    wait_for_both(&agent, "active")?;
    ensure_at_the_virtual_mac(&lab)?;
    agent.kill()?;
    let mut agent = agent.restart(&lab.routers[0], &router)?;
    for family in ["family=ipv4", "family=ipv6"] {
        agent.daemon.wait_for_line(&["state=active ", family, "reason=resumed"], PATIENCE)?;
    }
    ensure!(has_address(&lab.routers[0])?, "the address is gone");
    ensure_at_the_virtual_mac(&lab)
}
