//! Interfaces that appear, disappear and change: their virtual routers follow, and no other virtual router is affected.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::{
    INTERFACE, Lab, PATIENCE, Pair, VIP, VIP_IPV6, VirtualRouter, Xvrrp, eventually, pause, script, wait_until,
    wait_until_is,
};

/// The interface that appears and disappears, in addition to the lab's.
const LATE: &str = "eth5";
const LATE_VIP: &str = "203.0.113.1";
const LATE_ADDRESS: &str = "203.0.113.2";

/// Lengthens the interval, and with it the lease, so that an agent restarts within it even on a busy machine.
fn unhurried(router: VirtualRouter) -> VirtualRouter {
    router.with("advert_interval", "\"1s\"")
}

/// Returns a virtual router on [`LATE`].
fn late() -> VirtualRouter {
    let addresses = format!("[\"{LATE_VIP}/24\"]");
    VirtualRouter::lan(200)
        .with("name", "\"late\"")
        .with("interface", &format!("{LATE:?}"))
        .with("addresses", &addresses)
}

/// Gives the router the interface [`LATE`], which is connected to the switch.
fn plug_in_late(lab: &Lab, router: usize) -> Result<()> {
    let name = lab.routers[router].name();
    lab.switch().ip(&format!("link add late{router} up type veth peer name {LATE} netns {name}"))?;
    lab.routers[router].ip(&format!("link set {LATE} up")).map(drop)
}

fn add_address_of_late(lab: &Lab) -> Result<()> {
    lab.routers[0].ip(&format!("addr add {LATE_ADDRESS}/24 dev {LATE}")).map(drop)
}

/// Deletes the router's interface on the client's side and creates another one with the same name and, if `same_index`,
/// the same index.
fn replace_interface(lab: &Lab, router: usize, same_index: bool) -> Result<()> {
    let (host, port, switch) = (&lab.routers[router], Lab::port(router), lab.switch().name());
    let index_now = || -> Result<String> {
        let link = host.ip(&format!("-o link show {INTERFACE}"))?;
        Ok(link.split(':').next().context("no index")?.to_owned())
    };
    let before = index_now()?;
    let index = if same_index { format!("index {before}") } else { String::new() };
    lab.switch().ip(&format!("link del {port}"))?;
    // The router's end comes first: the kernel chooses the index of the peer.
    host.ip(&format!("link add {INTERFACE} {index} type veth peer name {port} netns {switch}"))?;
    ensure!((index_now()? == before) == same_index, "the index was {before}, and is {}", index_now()?);
    lab.switch().ip(&format!("link set {port} master br0 up"))?;
    host.ip(&format!("addr add {}/24 dev {INTERFACE}", Lab::address(router)))?;
    host.ip(&format!("link set {INTERFACE} up")).map(drop)
}

fn wait_for_reason(agent: &mut Xvrrp, name: &str, reason: &str) -> Result<()> {
    eventually(&format!("{name} is in fault: {reason}"), PATIENCE, || {
        agent.daemon.check_alive()?;
        let router = agent.virtual_router(name)?;
        ensure!(router["state"] == "fault" && router["reason"] == reason, "{router}");
        Ok(())
    })
    .with_context(|| agent.daemon.log())
}

fn wait_for_address(lab: &Lab, router: usize, interface: &str, address: &str) -> Result<()> {
    eventually(&format!("{address} is on {interface} of router {router}"), PATIENCE, || {
        let addresses = lab.routers[router].ip(&format!("-4 -o address show dev {interface}"))?;
        ensure!(addresses.contains(&format!(" {address}/24 ")), "{addresses}");
        Ok(())
    })
}

/// Returns on how many interfaces the first router's kernel half is attached.
fn links(lab: &Lab) -> Result<usize> {
    let pins = fs::read_dir(lab.routers[0].pins()?)?;
    Ok(pins.flatten().filter(|pin| pin.file_name().to_string_lossy().starts_with("ingress-")).count())
}

#[test]
fn a_virtual_router_waits_for_its_interface_and_follows_it_while_another_one_is_undisturbed() -> Result<()> {
    let lab = Lab::new(2)?;
    let _echoes = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
    let mut agent = Xvrrp::start(&lab.routers[0], &[unhurried(VirtualRouter::lan(200)), late()])?;
    agent.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[unhurried(VirtualRouter::lan(100))])?;
    backup.wait_for_state("lan", "backup")?;
    let probe = UdpProbe::start(&lab.client, VIP, Duration::from_millis(1))?;
    probe.wait_for_answer_from(0, PATIENCE)?;

    let absent = format!("interface {LATE} is not there");
    wait_for_reason(&mut agent, "late", &absent)?;
    let warning = ["WARN", "virtual_router \"late\": interface: there is no interface \"eth5\" yet", "xvrrp.toml:"];
    agent.daemon.wait_for_lines(&warning, 1)?;
    agent.wait_for_transitions("late", "fault", 1)?;

    plug_in_late(&lab, 0)?;
    wait_for_reason(&mut agent, "late", &format!("interface {LATE} has no IPv4 address of its own"))?;
    add_address_of_late(&lab)?;
    let started = |agent: &mut Xvrrp| agent.wait_for_state("late", "active").with_context(|| agent.daemon.log());
    started(&mut agent)?;
    wait_for_address(&lab, 0, LATE, LATE_VIP)?;
    wait_until_is("the kernel half is on both interfaces", &2, || links(&lab))?;

    lab.routers[0].ip(&format!("link del {LATE}"))?;
    wait_for_reason(&mut agent, "late", &absent)?;
    wait_until_is("the kernel half is on one interface", &1, || links(&lab))?;
    plug_in_late(&lab, 0)?;
    add_address_of_late(&lab)?;
    started(&mut agent)?;
    wait_for_address(&lab, 0, LATE, LATE_VIP)?;
    // The interface moves to another network namespace and back.
    lab.routers[0].ip(&format!("link set {LATE} netns {}", lab.client.name()))?;
    wait_for_reason(&mut agent, "late", &absent)?;
    lab.client.ip(&format!("link set {LATE} netns {}", lab.routers[0].name()))?;
    lab.routers[0].ip(&format!("link set {LATE} up"))?;
    add_address_of_late(&lab)?;
    started(&mut agent)?;

    let seen = probe.finish();
    let (lost, hosts, gap) = (seen.lost(), seen.hosts(), seen.longest_gap());
    ensure!(lost == 0 && hosts == [0], "{lost} datagrams lost, answers from {hosts:?}, longest gap {gap:?}");
    let log = agent.daemon.log();
    ensure!(backup.transitions("lan", "active") == 0, "the Backup took over:\n{log}\n{}", backup.daemon.log());
    ensure!(
        agent.daemon.count_lines(&warning) == 1 && !log.contains("ERROR"),
        "not exactly one warning, or an error: {log}"
    );
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    Ok(())
}

#[test]
fn an_agent_without_any_interface_waits_and_keeps_its_configuration_until_it_is_asked_to_reload() -> Result<()> {
    let lab = Lab::new(1)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[late()])?;
    wait_for_reason(&mut agent, "late", &format!("interface {LATE} is not there"))?;
    // The operator has not finished writing the file.
    fs::write(agent.config(), "[[virtual_router]]\nname = \"la")?;
    plug_in_late(&lab, 0)?;
    add_address_of_late(&lab)?;
    agent.wait_for_state("late", "active").with_context(|| agent.daemon.log())?;
    ensure!(agent.reload().is_err(), "a reload accepts the unfinished file");
    agent.configure(&[late().with("priority", "150")])?;
    agent.reload()?;
    wait_until_is("the new priority is in force", &serde_json::json!(150), || {
        Ok(agent.virtual_router("late")?["priority"].take())
    })?;
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    Ok(())
}

#[test]
fn an_interface_that_is_deleted_and_created_again_is_used_again() -> Result<()> {
    let mut pair = Pair::start(Lab::new(2)?, ["", ""], |router| router)?;
    // The Backup's interface even gets the same index.
    replace_interface(&pair.lab, 1, true)?;
    pair.agents[1].daemon.wait_for_line(&["interface eth0 has been replaced"], PATIENCE)?;
    pair.settle().with_context(|| pair.logs())?;
    pair.agents[0].wait_for_transitions("lan", "active", 1)?;

    replace_interface(&pair.lab, 0, false)?;
    pair.agents[1].wait_for_state("lan", "active")?;
    // The first router returns and preempts the second one.
    pair.settle().with_context(|| pair.logs())?;
    wait_for_address(&pair.lab, 0, INTERFACE, &VIP.to_string())
}

#[test]
fn an_active_router_adopts_another_primary_address_and_stays_active() -> Result<()> {
    let pair = Pair::start(Lab::new(2)?, ["", ""], unhurried)?;
    let router = &pair.lab.routers[0];
    // The kernel removes the virtual address too, which is a secondary one of the same subnet.
    router.ip(&format!("addr del 192.0.2.2/24 dev {INTERFACE}"))?;
    router.ip(&format!("addr add 192.0.2.20/24 dev {INTERFACE}"))?;
    eventually("the Backup hears adverts from the new address", PATIENCE, || {
        let backup = pair.agents[1].virtual_router("lan")?;
        ensure!(backup["active"]["address"] == "192.0.2.20", "{backup}");
        Ok(())
    })
    .with_context(|| pair.logs())?;
    wait_for_address(&pair.lab, 0, INTERFACE, &VIP.to_string())?;
    eventually("the first router is Active by the new address", PATIENCE, || {
        let active = pair.agents[0].virtual_router("lan")?;
        ensure!(active["state"] == "active" && active["active"]["this_host"] == true, "{active}");
        Ok(())
    })?;
    ensure!(pair.agents[1].transitions("lan", "active") == 0, "the Backup took over:\n{}", pair.logs());
    Ok(())
}

#[test]
fn an_active_router_without_a_primary_address_gives_up_the_role_until_it_has_one() -> Result<()> {
    let mut pair = Pair::start(Lab::new(2)?, ["", ""], |router| router)?;
    pair.lab.routers[0].ip(&format!("addr flush dev {INTERFACE}"))?;
    wait_for_reason(&mut pair.agents[0], "lan", &format!("interface {INTERFACE} has no IPv4 address of its own"))?;
    pair.agents[1].wait_for_state("lan", "active").with_context(|| pair.logs())?;
    pair.lab.routers[0].ip(&format!("addr add 192.0.2.2/24 dev {INTERFACE}"))?;
    pair.settle().with_context(|| pair.logs())?;
    wait_for_address(&pair.lab, 0, INTERFACE, &VIP.to_string())
}

#[test]
fn an_interface_that_is_down_may_lose_its_addresses() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let router = &lab.routers[0];
    let mut agent = Xvrrp::start(router, &[VirtualRouter::lan_ipv6(200)])?;
    agent.wait_for_state("lan", "active")?;
    router.ip(&format!("link set {INTERFACE} down"))?;
    wait_for_reason(&mut agent, "lan", "interface_down")?;
    wait_until("the kernel has removed the link-local address", || {
        Ok(!router.ip(&format!("-6 -o address show dev {INTERFACE}"))?.contains("fe80::2"))
    })?;
    // The agent tolerates a missing address for 2 s, and begins to look a second after its start.
    pause(Duration::from_secs(4))?;
    wait_for_reason(&mut agent, "lan", "interface_down")?;
    router.ip(&format!("link set {INTERFACE} up"))?;
    router.ip(&format!("addr add fe80::2/64 dev {INTERFACE} nodad"))?;
    agent.wait_for_state("lan", "active").with_context(|| agent.daemon.log())?;
    ensure!(
        agent.daemon.count_lines(&["restarting this agent"]) == 0,
        "the agent has restarted: {}",
        agent.daemon.log()
    );
    Ok(())
}

#[test]
fn the_virtual_address_is_back_at_once_and_secondary_again_once_the_own_address_is_back() -> Result<()> {
    let lab = Lab::new(1)?;
    let router = &lab.routers[0];
    router.sysctl(&format!("net.ipv4.conf.{INTERFACE}.promote_secondaries"), "0")?;
    let mut agent = Xvrrp::start(router, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    wait_for_address(&lab, 0, INTERFACE, &VIP.to_string())?;
    // The agent does not look earlier after its start.
    pause(Duration::from_secs(1))?;
    // The kernel removes the virtual address too, which is a secondary one of the same subnet.
    router.ip(&format!("addr del 192.0.2.2/24 dev {INTERFACE}"))?;
    wait_for_address(&lab, 0, INTERFACE, &VIP.to_string()).with_context(|| agent.daemon.log())?;
    // The agent looks within this time, and tolerates a missing address for 2 s.
    pause(Duration::from_millis(600))?;
    router.ip(&format!("addr add 192.0.2.2/24 dev {INTERFACE}"))?;
    // The host's own connections must leave from its own address, because the virtual one may move away.
    eventually("the host's own address is the primary one again", PATIENCE, || {
        let shown = router.ip(&format!("-4 -o address show dev {INTERFACE}"))?;
        let secondary =
            |address: &str| shown.lines().find(|it| it.contains(address)).map(|it| it.contains("secondary"));
        let (own, virtual_one) = (secondary(" 192.0.2.2/24 "), secondary(&format!(" {VIP}/24 ")));
        ensure!((own, virtual_one) == (Some(false), Some(true)), "the addresses are {shown}");
        Ok(())
    })
    .with_context(|| agent.daemon.log())?;
    agent.wait_for_transitions("lan", "active", 1)?;
    agent.daemon.wait_for_lines(&["virtual_router=lan", "put back"], 1)?;
    ensure!(
        agent.daemon.count_lines(&["restarting this agent"]) == 0,
        "the agent has restarted: {}",
        agent.daemon.log()
    );
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    wait_until("the agent has removed the virtual address", || {
        Ok(!router.ip(&format!("-4 -o address show dev {INTERFACE}"))?.contains(&VIP.to_string()))
    })
}

#[test]
fn an_interface_with_a_new_mac_address_keeps_serving() -> Result<()> {
    for virtual_mac in ["true", "false"] {
        let lab = Lab::with_ipv6(1)?;
        let _echo = UdpEcho::start(&lab.routers[0], 0)?;
        let router = VirtualRouter::lan_of_both(200).with("virtual_mac", virtual_mac);
        let mut agent = Xvrrp::start(&lab.routers[0], &[router])?;
        agent.wait_for_state("lan", "active")?;
        let probe = |vip: IpAddr| UdpProbe::start(&lab.client, vip, Duration::from_millis(10));
        let probes = [probe(VIP.into())?, probe(VIP_IPV6.into())?];
        let served = || probes.iter().try_for_each(|probe| probe.wait_for_answer_from(0, PATIENCE));
        served()?;
        lab.routers[0].ip(&format!("link set {INTERFACE} address 02:00:00:00:00:77"))?;
        served().with_context(|| format!("virtual_mac = {virtual_mac}\n{}", agent.daemon.log()))?;
        agent.wait_for_transitions("lan", "active", 2)?;
    }
    Ok(())
}

#[test]
fn an_interface_that_is_renamed_keeps_nothing_of_the_agent_and_may_return() -> Result<()> {
    let lab = Lab::new(1)?;
    let router = &lab.routers[0];
    let mut agent = Xvrrp::start(router, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    let rename = |from: &str, to: &str| -> Result<()> {
        router.ip(&format!("link set {from} down"))?;
        router.ip(&format!("link set {from} name {to}"))?;
        router.ip(&format!("link set {to} up")).map(drop)
    };
    rename(INTERFACE, LATE)?;
    wait_for_reason(&mut agent, "lan", &format!("interface {INTERFACE} is not there"))?;
    eventually("nothing of the agent is left on the renamed interface", PATIENCE, || {
        let (filter, addresses) = (router.sh(&format!("bridge fdb show dev {LATE}"))?, router.ip("-4 -o address")?);
        ensure!(!filter.contains("00:00:5e:00:01:33"), "the virtual MAC is in {filter}");
        ensure!(!addresses.contains(&format!(" {VIP}/")), "the virtual address is in {addresses}");
        ensure!(links(&lab)? == 0, "the kernel half is still attached");
        Ok(())
    })?;
    rename(LATE, INTERFACE)?;
    agent.wait_for_state("lan", "active").with_context(|| agent.daemon.log())?;
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    Ok(())
}

#[test]
fn of_two_interfaces_with_the_same_address_only_the_configured_one_joins_the_group() -> Result<()> {
    // RFC 9568 5.1.1.2
    let lab = Lab::new(1)?;
    plug_in_late(&lab, 0)?;
    lab.routers[0].ip(&format!("addr add {}/24 dev {LATE}", Lab::address(0)))?;
    for (interface, other) in [(INTERFACE, LATE), (LATE, INTERFACE)] {
        let router = VirtualRouter::lan(200).with("interface", &format!("{interface:?}"));
        let mut agent = Xvrrp::start(&lab.routers[0], &[router])?;
        agent.wait_for_state("lan", "active")?;
        wait_until(&format!("{interface} has joined the group, and {other} has not"), || {
            let has_joined = |name: &str| -> Result<bool> {
                Ok(lab.routers[0].ip(&format!("maddr show dev {name}"))?.contains("224.0.0.18"))
            };
            Ok(has_joined(interface)? && !has_joined(other)?)
        })?;
        ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    }
    Ok(())
}

#[test]
fn a_family_without_a_primary_address_waits_for_it_while_the_other_family_serves() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let router = &lab.routers[0];
    router.ip(&format!("addr del fe80::2/64 dev {INTERFACE}"))?;
    let mut agent = Xvrrp::start(router, &[unhurried(VirtualRouter::lan_of_both(200))])?;
    agent.daemon.wait_for_line(&["family=ipv4", "state=active"], PATIENCE)?;
    let ipv6 = |agent: &Xvrrp| -> Result<serde_json::Value> { Ok(agent.status()?["virtual_routers"][1].clone()) };
    let reason = format!("interface {INTERFACE} has no link-local address of its own");
    eventually("IPv6 waits for its address", PATIENCE, || {
        let waiting = ipv6(&agent)?;
        ensure!(waiting["family"] == "ipv6" && waiting["state"] == "fault" && waiting["reason"] == reason, "{waiting}");
        Ok(())
    })?;
    router.ip(&format!("addr add fe80::2/64 dev {INTERFACE} nodad"))?;
    agent.wait_for_state("lan", "active").with_context(|| agent.daemon.log())?;
    // The agent has restarted to serve IPv6, and IPv4 has stayed Active.
    agent.daemon.wait_for_line(&["family=ipv4", "state=active", "reason=resumed"], PATIENCE)?;
    let (times, resumed) = (
        agent.daemon.count_lines(&["family=ipv4", "state=active"]),
        agent.daemon.count_lines(&["family=ipv4", "state=active", "reason=resumed"]),
    );
    ensure!(times == resumed + 1, "IPv4 has lost the role: {}", agent.daemon.log());
    Ok(())
}

#[test]
fn an_address_owner_waits_for_its_addresses() -> Result<()> {
    let lab = Lab::new(1)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(255)])?;
    wait_for_reason(&mut agent, "lan", &format!("interface {INTERFACE} does not have {VIP}"))?;
    lab.routers[0].ip(&format!("addr add {VIP}/24 dev {INTERFACE}"))?;
    agent.wait_for_state("lan", "active").with_context(|| agent.daemon.log())?;
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    // The agent does not remove the operator's address.
    wait_for_address(&lab, 0, INTERFACE, &VIP.to_string())
}

#[test]
fn notify_programs_run_for_a_virtual_router_that_waits_and_never_twice_when_the_agent_restarts() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut active = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(200)])?;
    active.wait_for_state("lan", "active")?;
    let directory = tempfile::tempdir()?;
    let record = directory.path().join("record");
    let program = script(directory.path(), "notify", &format!("echo \"$2 $3\" >> {}", record.display()))?;
    let notifying = |router: VirtualRouter| router.with("notify", &format!("{program:?}"));
    let notified = || fs::read_to_string(&record).unwrap_or_default();
    let wait_for_last = |line: &str| {
        eventually(&format!("the latest call is {line}"), PATIENCE, || {
            let notified = notified();
            ensure!(notified.lines().last() == Some(line), "the calls so far: {notified}");
            Ok(())
        })
    };
    let never = late().with("name", "\"never\"").with("interface", "\"eth6\"");
    let routers = [notifying(VirtualRouter::lan(100)), notifying(late().with("vrid", "52")), never];
    let mut agent = Xvrrp::start(&lab.routers[0], &routers)?;
    eventually("the program has run once for each virtual router", PATIENCE, || {
        let notified = notified();
        let mut lines: Vec<_> = notified.lines().collect();
        lines.sort_unstable();
        ensure!(lines == ["lan BACKUP", "late FAULT"], "the calls so far: {notified}");
        Ok(())
    })
    .with_context(|| agent.daemon.log())?;
    // The agent restarts twice by itself, for the interface and for its address, and once because it is asked to
    // reload.
    plug_in_late(&lab, 0)?;
    wait_for_reason(&mut agent, "late", &format!("interface {LATE} has no IPv4 address of its own"))?;
    add_address_of_late(&lab)?;
    wait_for_last("late MASTER")?;
    agent.reload()?;
    agent.wait_for_state("lan", "backup")?;
    active.kill()?;
    wait_for_last("lan MASTER")?;
    let notified = notified();
    let of = |name: &str| notified.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>().join(", ");
    ensure!(of("lan") == "lan BACKUP, lan MASTER", "the calls: {notified}");
    ensure!(of("late") == "late FAULT, late BACKUP, late MASTER", "the calls: {notified}");
    agent.wait_for_transitions("never", "fault", 1)?;
    Ok(())
}
