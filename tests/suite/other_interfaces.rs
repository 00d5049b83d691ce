//! Virtual addresses with `dev`, on other interfaces than the one with the adverts.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use xvrrp_lab::traffic::capture::Capture;
use xvrrp_lab::{
    INTERFACE, Keepalived, Lab, Namespace, PATIENCE, UPSTREAM, VirtualRouter, Xvrrp, eventually, host_state,
    wait_for_host_state,
};

use crate::same_file::{Imported, Running};

/// The server's gateway.
const BEHIND: &str = "198.51.100.1";
const LINK_LOCAL: &str = "fe80::77";

/// Creates a lab whose routers and server also have IPv6.
fn lab(routers: usize) -> Result<Lab> {
    let lab = Lab::with_upstream(routers)?;
    let server = lab.server.as_ref().context("a server")?;
    let hosts = lab.routers.iter().flat_map(|host| [(host, INTERFACE), (host, UPSTREAM)]);
    for (index, (host, interface)) in hosts.chain([(server, UPSTREAM)]).enumerate() {
        // The kernel generates no address, and ours need no duplicate address detection.
        host.sysctl(&format!("net.ipv6.conf.{interface}.addr_gen_mode"), "1")?;
        host.sysctl(&format!("net.ipv6.conf.{interface}.disable_ipv6"), "0")?;
        host.ip(&format!("address replace fe80::10{index:x}/64 dev {interface} nodad"))?;
    }
    Ok(lab)
}

/// A virtual router with addresses of both families on the other interface.
fn router(priority: u8) -> VirtualRouter {
    let addresses = format!(
        "[\"192.0.2.1/24\", \"{BEHIND}/24 dev {UPSTREAM}\", \"fe80::33/64\", \"{LINK_LOCAL}/64 dev {UPSTREAM}\"]"
    );
    VirtualRouter::lan(priority).with("addresses", &addresses)
}

fn reaches(host: &Namespace, address: &str) -> Result<bool> {
    let line = format!("ping -n -c 1 -W 1 {address} >&2 && echo reached || true");
    Ok(host.sh(&line)?.contains("reached"))
}

fn wait_until_served(lab: &Lab, served: bool) -> Result<()> {
    let server = lab.server.as_ref().context("a server")?;
    for address in [BEHIND.to_owned(), format!("{LINK_LOCAL}%{UPSTREAM}")] {
        eventually(&format!("the server reaches {address}: {served}"), PATIENCE, || {
            ensure!(reaches(server, &address)? == served, "{}", server.ip("neigh")?);
            Ok(())
        })?;
    }
    Ok(())
}

/// Waits until the server knows the address at the router's own MAC.
fn wait_until_known_at(lab: &Lab, router: usize) -> Result<()> {
    let server = lab.server.as_ref().context("a server")?;
    let mac = lab.routers[router].mac(UPSTREAM)?.to_string();
    for address in [BEHIND, LINK_LOCAL] {
        eventually(&format!("the server knows {address} at router {router}"), PATIENCE, || {
            let known = server.ip(&format!("neigh show {address} dev {UPSTREAM}"))?;
            ensure!(known.contains(&mac), "{known:?}, not at {mac}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn addresses_on_another_interface_move_with_the_role_and_are_announced_at_its_own_mac() -> Result<()> {
    let lab = lab(2)?;
    let before = host_state(&lab.routers[0])?;
    let mut active = Xvrrp::start(&lab.routers[0], &[router(200)])?;
    active.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[router(100)])?;
    backup.wait_for_state("lan", "backup")?;
    wait_until_served(&lab, true)?;
    wait_until_known_at(&lab, 0)?;
    let shown = lab.routers[0].ip(&format!("-o address show dev {INTERFACE}"))?;
    ensure!(!shown.contains(BEHIND) && !shown.contains(LINK_LOCAL), "{shown}");
    let addresses = &active.virtual_router("lan")?["addresses"];
    ensure!(addresses[1] == format!("{BEHIND}/24 dev {UPSTREAM}"), "{addresses}");
    // Nothing but the announcements tells the server that the addresses have moved.
    lab.pull(0)?;
    backup.wait_for_state("lan", "active")?;
    wait_until_known_at(&lab, 1)?;
    wait_until_served(&lab, true)?;
    lab.plug(0)?;
    active.wait_for_state("lan", "active")?;
    wait_until_known_at(&lab, 0)?;
    // A reload keeps them, and what something else removes comes back.
    active.reload()?;
    lab.routers[0].ip(&format!("address del {BEHIND}/24 dev {UPSTREAM}"))?;
    wait_until_served(&lab, true)?;
    ensure!(active.transitions("lan", "fault") <= 2 && backup.state("lan")? == "backup", "{}", active.daemon.log());
    ensure!(active.stop()?.success(), "{}", active.daemon.log());
    wait_for_host_state(&lab.routers[0], &before)
}

fn check_fence(routers: &[VirtualRouter]) -> Result<()> {
    let lab = lab(1)?;
    let mut agent = Xvrrp::start(&lab.routers[0], routers)?;
    agent.wait_until_all_are("active", routers.len() + 1)?;
    wait_until_served(&lab, true)?;
    agent.daemon.signal(Signal::SIGSTOP)?;
    wait_until_served(&lab, false)?;
    let server = lab.server.as_ref().context("a server")?;
    let own = Lab::upstream_address(0).to_string();
    ensure!(reaches(server, &own)?, "the host's own address is not reached");
    agent.daemon.signal(Signal::SIGCONT)?;
    agent.wait_until_all_are("active", routers.len() + 1)?;
    wait_until_served(&lab, true)
}

#[test]
fn a_stopped_agents_host_serves_no_address_on_another_interface() -> Result<()> {
    check_fence(&[router(200)])
}

#[test]
fn a_stopped_agents_host_serves_no_address_on_the_interface_of_another_virtual_router() -> Result<()> {
    let beside = VirtualRouter::lan(200)
        .with("name", "\"wan\"")
        .with("vrid", "52")
        .with("interface", &format!("{UPSTREAM:?}"))
        .with("addresses", "[\"198.51.100.9/24\"]");
    check_fence(&[router(200), beside])
}

#[test]
fn a_virtual_router_waits_for_the_other_interface_and_follows_it() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let router = VirtualRouter::lan(200).with("addresses", "[\"192.0.2.1/24\", \"203.0.113.1/24 dev late\"]");
    let mut agent = Xvrrp::start(host, &[router])?;
    let wait_for_absence = |agent: &Xvrrp| {
        eventually("the virtual router waits", PATIENCE, || {
            let router = agent.virtual_router("lan")?;
            let reason = "interface late, which is to have one of its addresses, is not there";
            ensure!(router["state"] == "fault" && router["reason"] == reason, "{router}");
            Ok(())
        })
    };
    wait_for_absence(&agent)?;
    for _ in 0..2 {
        host.ip("link add late type veth peer name far")?;
        host.ip("link set late up")?;
        agent.wait_for_state("lan", "active")?;
        eventually("the address is on the interface", PATIENCE, || {
            let shown = host.ip("-o address show dev late")?;
            ensure!(shown.contains("203.0.113.1/24"), "{shown}");
            Ok(())
        })?;
        host.ip("link del late")?;
        wait_for_absence(&agent)?;
    }
    Ok(())
}

// parity 88
#[test]
fn both_put_an_address_on_the_same_other_interface_and_remove_it() -> Result<()> {
    let config = format!(
        "global_defs {{\n vrrp_version 3\n}}\nvrrp_instance lan {{\n interface {INTERFACE}\n virtual_router_id 51\n \
         priority 100\n advert_int 0.1\n virtual_ipaddress {{\n  192.0.2.1/24\n  {BEHIND}/24 dev {UPSTREAM}\n }}\n \
         virtual_ipaddress_excluded {{\n  198.51.100.7 dev {UPSTREAM}\n 203.0.113.9/32 dev lo\n }}\n}}\n"
    );
    let outcome = |start: &dyn Fn(&Namespace) -> Result<Running>| -> Result<Vec<String>> {
        let lab = Lab::with_upstream(1)?;
        let host = &lab.routers[0];
        let shown = || -> Result<Vec<String>> {
            let shown = host.ip("-4 -o address show")?;
            let words = shown.lines().map(|line| line.split_whitespace().skip(1).take(3).collect::<Vec<_>>().join(" "));
            Ok(words.collect())
        };
        let before = shown()?;
        let mut daemon = start(host)?;
        daemon.wait_for_state("lan", "MASTER")?;
        let installed = eventually("four addresses have been added", PATIENCE, || {
            let now = shown()?;
            ensure!(now.len() == before.len() + 4, "{now:?}\n{}", daemon.log());
            Ok(now)
        })?;
        daemon.stop()?;
        eventually("they have been removed", PATIENCE, || {
            let now = shown()?;
            ensure!(now == before, "{now:?}");
            Ok(())
        })?;
        Ok(installed)
    };
    let keepalived = outcome(&|host| Keepalived::start_with(host, &config).map(Running::Keepalived))?;
    let agent = outcome(&|host| Imported::start(host, &config, None).map(Running::Xvrrp))?;
    ensure!(keepalived == agent, "keepalived: {keepalived:#?}\nxvrrp: {agent:#?}");
    Ok(())
}

// parity 106
#[test]
fn both_announce_an_address_on_another_interface_again_and_again() -> Result<()> {
    let config = format!(
        "vrrp_instance lan {{\n interface {INTERFACE}\n virtual_router_id 51\n priority 100\n advert_int 1\n \
         garp_master_repeat 1\n garp_master_delay 0\n garp_extra_if all 1\n virtual_ipaddress {{\n  192.0.2.1/24\n  \
         {BEHIND}/24 dev {UPSTREAM}\n }}\n}}\n"
    );
    let check = |start: &dyn Fn(&Namespace) -> Result<Running>| -> Result<()> {
        let lab = Lab::with_upstream(1)?;
        let mut capture = Capture::start(lab.server.as_ref().context("a server")?, UPSTREAM, "arp")?;
        let mut daemon = start(&lab.routers[0])?;
        daemon.wait_for_state("lan", "MASTER")?;
        // A takeover alone has two at most.
        let announced = format!("arp.src.proto_ipv4 == {BEHIND} and arp.dst.proto_ipv4 == {BEHIND}");
        capture.wait_for(&announced, 4).with_context(|| daemon.log())?;
        daemon.stop()?;
        capture.finish()
    };
    check(&|host| Keepalived::start_with(host, &config).map(Running::Keepalived)).context("keepalived")?;
    check(&|host| Imported::start(host, &config, None).map(Running::Xvrrp)).context("xvrrp")
}
