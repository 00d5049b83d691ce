//! Interfaces that come, go and change: those on them follow, and nobody else notices.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::{
    INTERFACE, Lab, PATIENCE, Pair, VIP, VIP_IPV6, VirtualRouter, Xvrrp, eventually, pause, script, wait_until,
    wait_until_is,
};

/// The interface that comes and goes, beside the lab's.
const LATE: &str = "eth5";
const LATE_VIP: &str = "203.0.113.1";
const LATE_ADDRESS: &str = "203.0.113.2";

/// With adverts so far apart that an agent that starts anew does so within its lease, on a busy machine too.
fn unhurried(router: VirtualRouter) -> VirtualRouter {
    router.with("advert_interval", "\"1s\"")
}

/// A virtual router on [`LATE`].
fn late() -> VirtualRouter {
    let addresses = format!("[\"{LATE_VIP}/24\"]");
    VirtualRouter::lan(200)
        .with("name", "\"late\"")
        .with("interface", &format!("{LATE:?}"))
        .with("addresses", &addresses)
}

/// Plugs a cable into the router, which then has [`LATE`].
fn plug_in_late(lab: &Lab, router: usize) -> Result<()> {
    let name = lab.routers[router].name();
    lab.switch().ip(&format!("link add late{router} up type veth peer name {LATE} netns {name}"))?;
    lab.routers[router].ip(&format!("link set {LATE} up")).map(drop)
}

fn late_gets_its_address(lab: &Lab) -> Result<()> {
    lab.routers[0].ip(&format!("addr add {LATE_ADDRESS}/24 dev {LATE}")).map(drop)
}

/// Makes the router's interface on the client's side anew, as another one of the same name, and with the same index if
/// asked.
fn replace_interface(lab: &Lab, router: usize, same_index: bool) -> Result<()> {
    let (host, port, switch) = (&lab.routers[router], Lab::port(router), lab.switch().name());
    let index_now = || -> Result<String> {
        let link = host.ip(&format!("-o link show {INTERFACE}"))?;
        Ok(link.split(':').next().context("no index")?.to_owned())
    };
    let before = index_now()?;
    let index = if same_index { format!("index {before}") } else { String::new() };
    lab.switch().ip(&format!("link del {port}"))?;
    // In this order: the kernel gives the peer an index of its own choice.
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
    eventually(&format!("{address} is on {interface}"), PATIENCE, || {
        let addresses = lab.routers[router].ip(&format!("-4 -o address show dev {interface}"))?;
        ensure!(addresses.contains(&format!(" {address}/24 ")), "{addresses}");
        Ok(())
    })
}

/// How many virtual routers and VIPs the kernel half knows, and on how many interfaces it is.
fn links(lab: &Lab) -> Result<usize> {
    let pins = fs::read_dir(lab.routers[0].pins()?)?;
    Ok(pins.flatten().filter(|pin| pin.file_name().to_string_lossy().starts_with("ingress-")).count())
}

#[test]
fn a_virtual_router_waits_for_its_interface_and_follows_it_while_another_one_goes_on() -> Result<()> {
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
    let warning = ["WARN", "virtual_router \"late\": interface: there is no \"eth5\" yet", "xvrrp.toml:"];
    agent.daemon.wait_for_lines(&warning, 1)?;
    agent.wait_for_transitions("late", "fault", 1)?;

    plug_in_late(&lab, 0)?;
    wait_for_reason(&mut agent, "late", &format!("interface {LATE} has no IPv4 address of its own"))?;
    late_gets_its_address(&lab)?;
    let started = |agent: &mut Xvrrp| agent.wait_for_state("late", "active").with_context(|| agent.daemon.log());
    started(&mut agent)?;
    wait_for_address(&lab, 0, LATE, LATE_VIP)?;
    wait_until_is("the kernel half is on both interfaces", &2, || links(&lab))?;

    lab.routers[0].ip(&format!("link del {LATE}"))?;
    wait_for_reason(&mut agent, "late", &absent)?;
    wait_until_is("one link is left", &1, || links(&lab))?;
    plug_in_late(&lab, 0)?;
    late_gets_its_address(&lab)?;
    started(&mut agent)?;
    wait_for_address(&lab, 0, LATE, LATE_VIP)?;
    // To another network namespace, from which it comes back as the same one.
    lab.routers[0].ip(&format!("link set {LATE} netns {}", lab.client.name()))?;
    wait_for_reason(&mut agent, "late", &absent)?;
    lab.client.ip(&format!("link set {LATE} netns {}", lab.routers[0].name()))?;
    lab.routers[0].ip(&format!("link set {LATE} up"))?;
    late_gets_its_address(&lab)?;
    started(&mut agent)?;

    let seen = probe.finish();
    ensure!(seen.lost() == 0 && seen.hosts() == [0], "{} lost, longest gap {:?}", seen.lost(), seen.longest_gap());
    let log = agent.daemon.log();
    ensure!(backup.transitions("lan", "active") == 0, "the Backup took over:\n{log}\n{}", backup.daemon.log());
    ensure!(agent.daemon.count_lines(&warning) == 1 && !log.contains("ERROR"), "{log}");
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    Ok(())
}

#[test]
fn with_no_interface_at_all_it_waits_and_goes_on_with_what_runs_whatever_is_in_the_file() -> Result<()> {
    let lab = Lab::new(1)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[late()])?;
    wait_for_reason(&mut agent, "late", &format!("interface {LATE} is not there"))?;
    // Half written.
    fs::write(agent.config(), "[[virtual_router]]\nname = \"la")?;
    plug_in_late(&lab, 0)?;
    late_gets_its_address(&lab)?;
    agent.wait_for_state("late", "active").with_context(|| agent.daemon.log())?;
    ensure!(agent.reload().is_err(), "the file is read when somebody asks");
    agent.configure(&[late().with("priority", "150")])?;
    agent.reload()?;
    ensure!(agent.virtual_router("late")?["priority"] == 150);
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    Ok(())
}

#[test]
fn an_interface_that_is_made_anew_is_used_again_by_active_router_and_backup() -> Result<()> {
    let mut pair = Pair::start(Lab::new(2)?, ["", ""], |router| router)?;
    // The Backup's even with the same index.
    replace_interface(&pair.lab, 1, true)?;
    pair.agents[1].daemon.wait_for_line(&["interface eth0 has been replaced"], PATIENCE)?;
    pair.settle().with_context(|| pair.logs())?;
    pair.agents[0].wait_for_transitions("lan", "active", 1)?;

    replace_interface(&pair.lab, 0, false)?;
    pair.agents[1].wait_for_state("lan", "active")?;
    // It preempts.
    pair.settle().with_context(|| pair.logs())?;
    wait_for_address(&pair.lab, 0, INTERFACE, &VIP.to_string())
}

#[test]
fn another_primary_address_is_taken_by_an_active_router_that_stays_so() -> Result<()> {
    let pair = Pair::start(Lab::new(2)?, ["", ""], unhurried)?;
    let router = &pair.lab.routers[0];
    // The kernel takes the virtual address along, which is of the same subnet and came later.
    router.ip(&format!("addr del 192.0.2.2/24 dev {INTERFACE}"))?;
    router.ip(&format!("addr add 192.0.2.20/24 dev {INTERFACE}"))?;
    eventually("the Backup hears the other address", PATIENCE, || {
        let backup = pair.agents[1].virtual_router("lan")?;
        ensure!(backup["active"]["address"] == "192.0.2.20", "{backup}");
        Ok(())
    })
    .with_context(|| pair.logs())?;
    wait_for_address(&pair.lab, 0, INTERFACE, &VIP.to_string())?;
    let active = pair.agents[0].virtual_router("lan")?;
    ensure!(active["state"] == "active" && active["active"]["this_host"] == true, "{active}");
    ensure!(pair.agents[1].transitions("lan", "active") == 0, "{}", pair.logs());
    Ok(())
}

#[test]
fn an_active_router_that_loses_its_address_leaves_the_role_to_another_until_it_has_one() -> Result<()> {
    let mut pair = Pair::start(Lab::new(2)?, ["", ""], |router| router)?;
    pair.lab.routers[0].ip(&format!("addr flush dev {INTERFACE}"))?;
    wait_for_reason(&mut pair.agents[0], "lan", &format!("interface {INTERFACE} has no IPv4 address of its own"))?;
    pair.agents[1].wait_for_state("lan", "active").with_context(|| pair.logs())?;
    pair.lab.routers[0].ip(&format!("addr add 192.0.2.2/24 dev {INTERFACE}"))?;
    pair.settle().with_context(|| pair.logs())?;
    wait_for_address(&pair.lab, 0, INTERFACE, &VIP.to_string())
}

#[test]
fn an_interface_that_is_down_may_lose_its_addresses_meanwhile() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let router = &lab.routers[0];
    let mut agent = Xvrrp::start(router, &[VirtualRouter::lan_ipv6(200)])?;
    agent.wait_for_state("lan", "active")?;
    router.ip(&format!("link set {INTERFACE} down"))?;
    wait_for_reason(&mut agent, "lan", "interface_down")?;
    wait_until("the kernel has taken the link-local address off", || {
        Ok(!router.ip(&format!("-6 -o address show dev {INTERFACE}"))?.contains("fe80::2"))
    })?;
    // Longer than an address may be missing, from when the agent looks: a second after its start at the earliest.
    pause(Duration::from_secs(4))?;
    wait_for_reason(&mut agent, "lan", "interface_down")?;
    router.ip(&format!("link set {INTERFACE} up"))?;
    router.ip(&format!("addr add fe80::2/64 dev {INTERFACE} nodad"))?;
    agent.wait_for_state("lan", "active").with_context(|| agent.daemon.log())?;
    ensure!(agent.daemon.count_lines(&["starting anew"]) == 0, "{}", agent.daemon.log());
    Ok(())
}

#[test]
fn an_address_that_is_taken_off_and_put_back_comes_before_the_virtual_one_which_is_back_at_once() -> Result<()> {
    let lab = Lab::new(1)?;
    let router = &lab.routers[0];
    router.sysctl(&format!("net.ipv4.conf.{INTERFACE}.promote_secondaries"), "0")?;
    let mut agent = Xvrrp::start(router, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    wait_for_address(&lab, 0, INTERFACE, &VIP.to_string())?;
    // Earlier the agent does not look.
    pause(Duration::from_secs(1))?;
    // The kernel takes the virtual one along, which came later.
    router.ip(&format!("addr del 192.0.2.2/24 dev {INTERFACE}"))?;
    wait_for_address(&lab, 0, INTERFACE, &VIP.to_string()).with_context(|| agent.daemon.log())?;
    // Far less than the 2 s that an address may be missing, and more than the agent waits before it looks.
    pause(Duration::from_millis(600))?;
    router.ip(&format!("addr add 192.0.2.2/24 dev {INTERFACE}"))?;
    // What the host starts by itself leaves from its own address, not from one that may go.
    eventually("the host's own address is the primary one again", PATIENCE, || {
        let shown = router.ip(&format!("-4 -o address show dev {INTERFACE}"))?;
        let secondary =
            |address: &str| shown.lines().find(|it| it.contains(address)).map(|it| it.contains("secondary"));
        let (own, virtual_one) = (secondary(" 192.0.2.2/24 "), secondary(&format!(" {VIP}/24 ")));
        ensure!((own, virtual_one) == (Some(false), Some(true)), "{shown}");
        Ok(())
    })
    .with_context(|| agent.daemon.log())?;
    agent.wait_for_transitions("lan", "active", 1)?;
    agent.daemon.wait_for_lines(&["virtual_router=lan", "put back"], 1)?;
    ensure!(agent.daemon.count_lines(&["starting anew"]) == 0, "{}", agent.daemon.log());
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    wait_until("the agent has taken its address off", || {
        Ok(!router.ip(&format!("-4 -o address show dev {INTERFACE}"))?.contains(&VIP.to_string()))
    })
}

#[test]
fn an_interface_that_gets_another_mac_address_goes_on_serving() -> Result<()> {
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
fn an_interface_that_is_renamed_keeps_nothing_of_the_agents_and_may_come_back() -> Result<()> {
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
    eventually("nothing is left on it", PATIENCE, || {
        let (filter, addresses) = (router.sh(&format!("bridge fdb show dev {LATE}"))?, router.ip("-4 -o address")?);
        ensure!(!filter.contains("00:00:5e:00:01:33"), "{filter}");
        ensure!(!addresses.contains(&format!(" {VIP}/")), "{addresses}");
        ensure!(links(&lab)? == 0, "the kernel half is attached");
        Ok(())
    })?;
    rename(LATE, INTERFACE)?;
    agent.wait_for_state("lan", "active").with_context(|| agent.daemon.log())?;
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    Ok(())
}

#[test]
fn of_two_interfaces_with_the_same_address_the_right_one_listens() -> Result<()> {
    // RFC 9568 5.1.1.2
    let lab = Lab::new(1)?;
    plug_in_late(&lab, 0)?;
    lab.routers[0].ip(&format!("addr add {}/24 dev {LATE}", Lab::address(0)))?;
    for (interface, other) in [(INTERFACE, LATE), (LATE, INTERFACE)] {
        let router = VirtualRouter::lan(200).with("interface", &format!("{interface:?}"));
        let mut agent = Xvrrp::start(&lab.routers[0], &[router])?;
        agent.wait_for_state("lan", "active")?;
        let listens = |name: &str| -> Result<bool> {
            Ok(lab.routers[0].ip(&format!("maddr show dev {name}"))?.contains("224.0.0.18"))
        };
        ensure!(listens(interface)? && !listens(other)?, "not on {interface}, or on {other}");
        ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    }
    Ok(())
}

#[test]
fn a_family_without_a_primary_address_waits_for_it_while_the_other_one_goes_on() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let router = &lab.routers[0];
    router.ip(&format!("addr del fe80::2/64 dev {INTERFACE}"))?;
    let mut agent = Xvrrp::start(router, &[unhurried(VirtualRouter::lan_of_both(200))])?;
    agent.daemon.wait_for_line(&["family=ipv4", "state=active"], PATIENCE)?;
    let ipv6 = |agent: &Xvrrp| -> Result<serde_json::Value> { Ok(agent.status()?["virtual_routers"][1].clone()) };
    let waiting = ipv6(&agent)?;
    let reason = format!("interface {INTERFACE} has no link-local address of its own");
    ensure!(waiting["family"] == "ipv6" && waiting["state"] == "fault" && waiting["reason"] == reason, "{waiting}");
    router.ip(&format!("addr add fe80::2/64 dev {INTERFACE} nodad"))?;
    eventually("both are Active", PATIENCE, || {
        let (now, ipv4) = (ipv6(&agent)?, agent.state("lan")?);
        ensure!(now["state"] == "active" && ipv4 == "active", "{ipv4}, {now}");
        Ok(())
    })
    .with_context(|| agent.daemon.log())?;
    let resumed = agent.daemon.count_lines(&["family=ipv4", "state=active", "reason=resumed"]);
    agent.daemon.wait_for_lines(&["family=ipv4", "state=active"], resumed + 1)?;
    Ok(())
}

#[test]
fn an_owner_waits_for_its_addresses() -> Result<()> {
    let lab = Lab::new(1)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(255)])?;
    wait_for_reason(&mut agent, "lan", &format!("interface {INTERFACE} does not have {VIP}"))?;
    lab.routers[0].ip(&format!("addr add {VIP}/24 dev {INTERFACE}"))?;
    agent.wait_for_state("lan", "active").with_context(|| agent.daemon.log())?;
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    // It was there before.
    wait_for_address(&lab, 0, INTERFACE, &VIP.to_string())
}

#[test]
fn notify_programs_are_told_of_who_waits_and_nothing_twice_when_the_agent_starts_anew() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut active = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(200)])?;
    active.wait_for_state("lan", "active")?;
    let directory = tempfile::tempdir()?;
    let told = directory.path().join("told");
    let program = script(directory.path(), "notify", &format!("echo \"$2 $3\" >> {}", told.display()))?;
    let telling = |router: VirtualRouter| router.with("notify", &format!("{program:?}"));
    let told = || fs::read_to_string(&told).unwrap_or_default();
    let wait_for_last = |line: &str| {
        eventually(&format!("{line} is told"), PATIENCE, || {
            let told = told();
            ensure!(told.lines().last() == Some(line), "{told}");
            Ok(())
        })
    };
    let never = late().with("name", "\"never\"").with("interface", "\"eth6\"");
    let routers = [telling(VirtualRouter::lan(100)), telling(late().with("vrid", "52")), never];
    let mut agent = Xvrrp::start(&lab.routers[0], &routers)?;
    eventually("both are told", PATIENCE, || {
        let told = told();
        let mut lines: Vec<_> = told.lines().collect();
        lines.sort_unstable();
        ensure!(lines == ["lan BACKUP", "late FAULT"], "{told}");
        Ok(())
    })
    .with_context(|| agent.daemon.log())?;
    // By itself, twice, and asked.
    plug_in_late(&lab, 0)?;
    wait_for_reason(&mut agent, "late", &format!("interface {LATE} has no IPv4 address of its own"))?;
    late_gets_its_address(&lab)?;
    wait_for_last("late MASTER")?;
    agent.reload()?;
    agent.wait_for_state("lan", "backup")?;
    active.kill()?;
    wait_for_last("lan MASTER")?;
    let told = told();
    let of = |name: &str| told.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>().join(", ");
    ensure!(of("lan") == "lan BACKUP, lan MASTER", "{told}");
    ensure!(of("late") == "late FAULT, late BACKUP, late MASTER", "{told}");
    agent.wait_for_transitions("never", "fault", 1)?;
    Ok(())
}
