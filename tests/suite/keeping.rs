//! What an agent installs on its host stays there: the agent puts back what something else removes. Where it cannot, it
//! gives up the role to another router.

use std::net::Ipv4Addr;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::sync::mpsc;
use xvrrp::addresses::AddressReport;
use xvrrp::election::{self, ElectionError};
use xvrrp::identity::PerRouter;
use xvrrp_dataplane::{Capacity, Dataplane};
use xvrrp_lab::{
    INTERFACE, LINK_LOCAL_VIP, Lab, Namespace, PATIENCE, Pair, VIP, VIP_IPV6, VirtualRouter, Xvrrp, agent_binary,
    eventually, host_state, pause, wait_for_host_state, wait_until, wait_until_is,
};

/// Ten advertisement intervals of the lab.
const SOON: Duration = Duration::from_secs(1);

const SECOND_INTERFACE: &str = "eth5";
const VIRTUAL_MAC: &str = "00:00:5e:00:01:33";
const VIRTUAL_MAC_IPV6: &str = "00:00:5e:00:02:33";

fn has(host: &Namespace, interface: &str, address: &str) -> Result<bool> {
    Ok(host.ip(&format!("-o address show dev {interface}"))?.contains(&format!(" {address} ")))
}

fn wait_for(host: &Namespace, interface: &str, address: &str, within: Duration) -> Result<()> {
    eventually(&format!("{address} is on {interface}"), within, || {
        ensure!(has(host, interface, address)?, "{}", host.ip("address show")?);
        Ok(())
    })
}

/// Lists the unicast filter entries for virtual MACs.
fn filters(host: &Namespace) -> Result<String> {
    let shown = host.sh("bridge fdb show")?;
    Ok(shown.lines().filter(|line| line.starts_with("00:00:5e:00:")).map(|line| format!("{line}\n")).collect())
}

fn wait_for_filter(host: &Namespace, mac: &str) -> Result<()> {
    eventually(&format!("the unicast filter has an entry for {mac}"), SOON, || {
        let filters = filters(host)?;
        ensure!(filters.contains(mac), "the entries are {filters}");
        Ok(())
    })
}

/// Returns how many addresses and filter entries of each virtual router were put back, according to the status.
fn restored(agent: &Xvrrp) -> Result<Vec<(u64, u64)>> {
    let status = agent.status()?;
    let routers = status["virtual_routers"].as_array().context("no virtual_routers")?;
    let count = |router: &serde_json::Value, what: &str| router["restored"][what].as_u64().unwrap_or(0);
    Ok(routers.iter().map(|router| (count(router, "addresses"), count(router, "filter_entries"))).collect())
}

/// Gives the first router one more interface, with the address 203.0.113.2.
fn plug_in_second(lab: &Lab) -> Result<()> {
    let host = &lab.routers[0];
    let netns = host.name();
    lab.switch().ip(&format!("link add second up type veth peer name {SECOND_INTERFACE} netns {netns}"))?;
    host.ip(&format!("link set {SECOND_INTERFACE} up"))?;
    host.ip(&format!("addr add 203.0.113.2/24 dev {SECOND_INTERFACE}")).map(drop)
}

/// A shell in a namespace that runs a command in a loop until this is dropped.
struct Loop(Child);

impl Loop {
    fn start(host: &Namespace, command: &str) -> Result<Self> {
        let mut shell = host.command("sh")?;
        shell.args(["-c", &format!("while :; do {command}; done")]).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(shell.spawn()?))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_address_that_something_else_removes_is_put_back_within_a_second_and_counted() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    plug_in_second(&lab)?;
    let host = &lab.routers[0];
    let other = VirtualRouter::lan(200)
        .with("name", "\"other\"")
        .with("interface", &format!("{SECOND_INTERFACE:?}"))
        .with("addresses", "[\"203.0.113.1/24\"]");
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan_of_both(200), other])?;
    let all = [
        (INTERFACE, format!("{VIP}/24")),
        (INTERFACE, format!("{LINK_LOCAL_VIP}/64")),
        (INTERFACE, format!("{VIP_IPV6}/64")),
        (SECOND_INTERFACE, "203.0.113.1/24".to_owned()),
    ];
    for name in ["lan", "other"] {
        agent.wait_for_state(name, "active")?;
    }
    for (interface, address) in &all {
        wait_for(host, interface, address, PATIENCE)?;
    }
    ensure!(restored(&agent)? == [(0, 0); 3], "counted before a removal: {:?}", restored(&agent)?);
    for (interface, address) in &all {
        host.ip(&format!("address del {address} dev {interface}"))?;
        wait_for(host, interface, address, SOON).with_context(|| agent.daemon.log())?;
    }
    wait_until_is("the status counts the addresses", &vec![(1, 0), (2, 0), (1, 0)], || restored(&agent))?;
    let line = format!("{VIP} had been taken off {INTERFACE}: put back");
    agent.daemon.wait_for_lines(&["WARN", "virtual_router=lan", &line], 1)?;
    ensure!(agent.transitions("lan", "fault") == 0, "the agent gave up the role: {}", agent.daemon.log());
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    for (interface, address) in &all {
        wait_until(&format!("{address} is gone"), || Ok(!has(host, interface, address)?))?;
    }
    Ok(())
}

#[test]
fn hundreds_of_addresses_of_both_families_are_put_back_and_no_role_is_given_up() -> Result<()> {
    const OLD: usize = 200;
    // With the link-local address, as many as fit into one advert.
    const NEW: usize = 89;
    let lab = Lab::with_ipv6(1)?;
    let host = &lab.routers[0];
    let ipv4 = |number: usize| format!("10.0.1.{number}/24");
    let ipv6 = |number: usize| format!("2001:db8:1::{number:x}/64");
    let listed = |addresses: &[String]| format!("{addresses:?}");
    let old: Vec<_> = (1..=OLD).map(ipv4).collect();
    let new: Vec<_> = [format!("{LINK_LOCAL_VIP}/64")].into_iter().chain((1..=NEW).map(ipv6)).collect();
    let many = |addresses: &[String], name: &str, vrid: &str| {
        VirtualRouter::lan(200).with("name", name).with("vrid", vrid).with("addresses", &listed(addresses))
    };
    let routers = [many(&old, "\"four\"", "51"), many(&new, "\"six\"", "52")];
    let mut agent = Xvrrp::start(host, &routers)?;
    let present = || -> Result<usize> {
        let shown = host.ip(&format!("-o address show dev {INTERFACE}"))?;
        Ok(shown.lines().filter(|line| line.contains(" 10.0.1.") || line.contains(" 2001:db8:1::")).count())
    };
    let wait_for_all = |within| {
        eventually("every address is on the interface", within, || {
            let present = present()?;
            ensure!(present == OLD + NEW, "{present} of {} are", OLD + NEW);
            Ok(())
        })
    };
    wait_for_all(PATIENCE).with_context(|| agent.daemon.log())?;
    // Secondary addresses first: with a primary address, the kernel would remove those that are back by then.
    let removals = (1..=OLD).rev().map(ipv4).chain((1..=NEW).map(ipv6));
    let batch: String = removals.map(|address| format!("address del {address} dev {INTERFACE}\n")).collect();
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), batch)?;
    host.sh(&format!("ip -batch {}", file.path().display()))?;
    wait_for_all(Duration::from_secs(3)).with_context(|| agent.daemon.log())?;
    wait_until("the status counts every address", || {
        let counts = restored(&agent)?;
        Ok(counts[0].0 >= OLD as u64 && counts[1].0 >= NEW as u64)
    })?;
    for name in ["four", "six"] {
        agent.wait_for_state(name, "active")?;
        ensure!(agent.transitions(name, "fault") == 0, "the agent gave up a role: {}", agent.daemon.log());
    }
    let lines = agent.daemon.count_lines(&["put back"]);
    ensure!(lines <= 10, "the agent has logged {lines} lines: {}", agent.daemon.log());
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    wait_until_is("no address is left", &0, present)
}

/// When the host's last own address is deleted, the kernel also removes the virtual address, which the agent puts back
/// first. If the agent then reloads, as it does for a new primary address, the new agent must restore the order.
#[test]
fn an_own_address_that_comes_back_during_a_reload_is_the_primary_one_again() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    let shown = || host.ip(&format!("-4 -o address show dev {INTERFACE}"));
    for _ in 0..3 {
        host.ip(&format!("address del {}/24 dev {INTERFACE}", Lab::address(0)))?;
        wait_until("the virtual address is back", || Ok(shown()?.contains(&format!(" {VIP}/24 "))))?;
        host.ip(&format!("address add {}/24 dev {INTERFACE}", Lab::address(0)))?;
        agent.reload()?;
        eventually("the host's own address is the primary one", PATIENCE, || {
            let shown = shown()?;
            let of = |address: Ipv4Addr| shown.lines().find(|line| line.contains(&format!(" {address}/24 ")));
            let own = of(Lab::address(0)).context("the host's own address is gone")?;
            let ours = of(VIP).context("the virtual address is gone")?;
            ensure!(!own.contains("secondary") && ours.contains("secondary"), "the addresses are {shown}");
            Ok(())
        })?;
    }
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    let left = shown()?;
    ensure!(left.contains(&Lab::address(0).to_string()), "the host's own address is not among {left}");
    Ok(())
}

#[test]
fn an_address_and_a_filter_entry_of_the_operator_become_the_agents_when_the_operator_removes_them() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let before = host_state(host)?;
    let (address, filter) = (format!("{VIP}/24"), format!("{VIRTUAL_MAC} dev {INTERFACE} self permanent"));
    host.ip(&format!("address add {address} dev {INTERFACE}"))?;
    host.sh(&format!("bridge fdb add {filter}"))?;
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    host.ip(&format!("address del {address} dev {INTERFACE}"))?;
    wait_for(host, INTERFACE, &address, SOON).with_context(|| agent.daemon.log())?;
    host.sh(&format!("bridge fdb del {filter}"))?;
    wait_for_filter(host, VIRTUAL_MAC).with_context(|| agent.daemon.log())?;
    wait_until_is("both are counted", &vec![(1, 1)], || restored(&agent))?;
    // Both now belong to the agent, even after a crash, so the next agent removes them at its end.
    agent.kill()?;
    let mut agent = agent.restart(host, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    wait_for_host_state(host, &before)?;
    Ok(())
}

#[test]
fn a_unicast_filter_entry_is_put_back_in_either_role() -> Result<()> {
    let lab = Lab::with_ipv6(2)?;
    let mut active = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan_of_both(200)])?;
    active.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan_of_both(100)])?;
    backup.wait_for_state("lan", "backup")?;
    for (host, agent) in lab.routers.iter().zip([&mut active, &mut backup]) {
        for mac in [VIRTUAL_MAC, VIRTUAL_MAC_IPV6] {
            wait_for_filter(host, mac)?;
            host.sh(&format!("bridge fdb del {mac} dev {INTERFACE} self"))?;
            wait_for_filter(host, mac).with_context(|| agent.daemon.log())?;
        }
        wait_until_is("both are counted", &vec![(0, 1), (0, 1)], || restored(agent))?;
        // The same while the interface is down.
        host.ip(&format!("link set {INTERFACE} down"))?;
        host.sh(&format!("bridge fdb del {VIRTUAL_MAC} dev {INTERFACE} self"))?;
        host.ip(&format!("link set {INTERFACE} up"))?;
        wait_for_filter(host, VIRTUAL_MAC).with_context(|| agent.daemon.log())?;
        ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
        wait_until_is("no entry for a virtual MAC is left", &String::new(), || filters(host))?;
    }
    Ok(())
}

/// Runs a hostile command in a loop on an Active router, and fails unless the router gives up its role for the reason
/// `named`, another one takes over at once, and the first one is Active again some time after the loop has ended.
fn ensure_role_is_given_up(command: &str, named: &str) -> Result<()> {
    let mut pair = Pair::start(Lab::new(2)?, ["", ""], |router| router)?;
    let host = &pair.lab.routers[0];
    let hostile = Loop::start(host, command)?;
    pair.agents[0].wait_for_state("lan", "fault").with_context(|| pair.logs())?;
    pair.agents[1].wait_for_state("lan", "active").with_context(|| pair.logs())?;
    // It took over because of an advert with priority 0, without waiting for Active_Down_Interval.
    pair.agents[1].daemon.wait_for_line(&["virtual_router=lan ", "reason=active_released"], PATIENCE)?;
    let releases = pair.agents[1].counter("lan", "advert_release")?;
    ensure!(releases == 1, "{releases} adverts with priority 0 instead of one\n{}", pair.logs());
    eventually("the status gives the reason", PATIENCE, || {
        let status = pair.agents[0].virtual_router("lan")?;
        ensure!(status["reason"] == "addresses_not_kept", "{status}");
        ensure!(status["not_kept"].as_str().is_some_and(|failure| failure.contains(named)), "{status}");
        Ok(())
    })?;
    pair.agents[0].daemon.wait_for_lines(&["ERROR", "virtual_router=lan", named, "giving up the role"], 1)?;
    drop(hostile);
    wait_until("the address is gone", || Ok(!has(host, INTERFACE, &format!("{VIP}/24"))?))?;
    // The router returns after ten seconds and does not give up the role again.
    pair.settle().with_context(|| pair.logs())?;
    wait_for(host, INTERFACE, &format!("{VIP}/24"), PATIENCE)?;
    wait_until_nothing_is_missing(&pair.agents[0])?;
    pair.agents[0].wait_for_transitions("lan", "fault", 1)?;
    Ok(())
}

fn wait_until_nothing_is_missing(agent: &Xvrrp) -> Result<()> {
    wait_until_is("the status reports nothing that cannot be kept", &serde_json::Value::Null, || {
        Ok(agent.virtual_router("lan")?["not_kept"].take())
    })
}

#[test]
fn a_router_gives_up_its_role_if_an_address_is_removed_again_and_again() -> Result<()> {
    ensure_role_is_given_up(&format!("ip address del {VIP}/24 dev {INTERFACE}"), &format!("{VIP} on {INTERFACE}"))
}

#[test]
fn a_router_gives_up_its_role_if_a_filter_entry_is_removed_again_and_again() -> Result<()> {
    ensure_role_is_given_up(&format!("bridge fdb del {VIRTUAL_MAC} dev {INTERFACE} self"), "the unicast filter entry")
}

#[test]
fn a_reload_does_not_shorten_the_pause_after_a_role_was_given_up() -> Result<()> {
    /// How long a router stays in fault after it has given up the role for the first time.
    const PAUSE: Duration = Duration::from_secs(10);
    let mut pair = Pair::start(Lab::new(2)?, ["", ""], |router| router)?;
    let host = &pair.lab.routers[0];
    let since = Instant::now();
    let hostile = Loop::start(host, &format!("ip address del {VIP}/24 dev {INTERFACE}"))?;
    pair.agents[0].wait_for_state("lan", "fault").with_context(|| pair.logs())?;
    drop(hostile);
    pair.agents[1].wait_for_state("lan", "active").with_context(|| pair.logs())?;
    let before = pair.agents[0].virtual_router("lan")?;
    pair.agents[0].configure(&[VirtualRouter::lan(200)])?;
    for _ in 0..2 {
        pair.agents[0].reload()?;
        eventually("the new agent is in fault for the same reason", PATIENCE, || {
            let status = pair.agents[0].virtual_router("lan")?;
            ensure!(status["state"] == "fault" && status["reason"] == "addresses_not_kept", "{status}");
            ensure!(status["not_kept"] == before["not_kept"], "{status}");
            Ok(())
        })?;
    }
    // Longer than the router would need to preempt the other one.
    pause(PAUSE / 2)?;
    ensure!(pair.agents[0].state("lan")? == "fault", "the pause is too short\n{}", pair.logs());
    pair.settle().with_context(|| pair.logs())?;
    let passed = since.elapsed();
    ensure!((PAUSE..3 * PAUSE).contains(&passed), "the router was Active again after {passed:?}\n{}", pair.logs());
    wait_until_nothing_is_missing(&pair.agents[0])
}

#[test]
fn a_router_gives_up_its_role_if_the_kernel_refuses_an_address() -> Result<()> {
    let lab = Lab::with_ipv6(2)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan_of_both(200)])?;
    agent.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan_of_both(100)])?;
    backup.wait_for_state("lan", "backup")?;
    lab.routers[0].sysctl(&format!("net.ipv6.conf.{INTERFACE}.disable_ipv6"), "1")?;
    let refused = ["ERROR", "virtual_router=lan", "cannot be put back: the kernel refuses it", "giving up the role"];
    agent.daemon.wait_for_line(&refused, PATIENCE)?;
    backup.wait_for_state("lan", "active").with_context(|| agent.daemon.log())?;
    Ok(())
}

#[test]
fn an_address_that_failed_duplicate_address_detection_is_replaced_by_one_that_works() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let host = &lab.routers[0];
    let address = format!("{VIP_IPV6}/64");
    lab.client.ip(&format!("addr add {address} dev {INTERFACE} nodad"))?;
    host.ip(&format!("addr add {address} dev {INTERFACE}"))?;
    let shown = || host.ip(&format!("-6 -o address show dev {INTERFACE} to {VIP_IPV6}"));
    eventually("duplicate address detection fails", PATIENCE, || {
        let shown = shown()?;
        ensure!(shown.contains("dadfailed"), "{shown}");
        Ok(())
    })?;
    lab.client.ip(&format!("addr del {address} dev {INTERFACE}"))?;
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan_ipv6(200)])?;
    agent.wait_for_state("lan", "active")?;
    eventually("the address is usable", PATIENCE, || {
        let shown = shown()?;
        ensure!(shown.contains(&address) && !shown.contains("dadfailed"), "{shown}");
        Ok(())
    })
    .with_context(|| agent.daemon.log())?;
    agent.daemon.wait_for_lines(&["WARN", "has failed duplicate address detection"], 1)?;
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    wait_until_is("the address is gone", &String::new(), shown)
}

#[test]
fn an_agent_that_is_refused_leaves_the_record_of_an_agent_in_another_namespace_alone() -> Result<()> {
    let lab = Lab::new(2)?;
    let host = &lab.routers[0];
    let before = host_state(host)?;
    let mut first = Xvrrp::start(host, &[VirtualRouter::lan(200)])?;
    first.wait_for_state("lan", "active")?;
    wait_for_filter(host, VIRTUAL_MAC)?;
    let mut second = lab.routers[1].command(agent_binary()?)?;
    let refused = second.args(["run", "--config"]).arg(first.config()).output()?;
    let said = String::from_utf8_lossy(&refused.stderr);
    let is_refused = refused.status.code() == Some(1) && said.contains("another xvrrp agent answers");
    ensure!(is_refused, "{}: {said}", refused.status);
    // After a crash, the next agent finds the entry by the record.
    first.kill()?;
    let mut first = first.restart(host, &[VirtualRouter::lan(200).with("vrid", "77")])?;
    first.wait_for_state("lan", "active")?;
    wait_until("the filter entry that the first agent has left is gone", || Ok(!filters(host)?.contains(VIRTUAL_MAC)))?;
    ensure!(first.stop()?.success(), "{}", first.daemon.log());
    wait_for_host_state(host, &before)?;
    Ok(())
}

#[test]
fn cleanup_in_another_namespace_changes_neither_the_record_nor_a_filter() -> Result<()> {
    let lab = Lab::new(2)?;
    let before = host_state(&lab.routers[0])?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    wait_for_filter(&lab.routers[0], VIRTUAL_MAC)?;
    // An entry that is not the agent's, on an interface with the same name and index.
    lab.routers[1].sh(&format!("bridge fdb add {VIRTUAL_MAC} dev {INTERFACE} self permanent"))?;
    let config = agent.config();
    let cleanup = |host: &Namespace| -> Result<String> {
        let output = host.command(agent_binary()?)?.arg("cleanup").arg("--config").arg(&config).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    // Elsewhere while the agent runs, and in its own namespace after it was killed.
    let said = cleanup(&lab.routers[1])?;
    let has_left_it = said.contains("nothing was left\n") && said.contains("is another network namespace's");
    ensure!(has_left_it, "cleanup has printed: {said}");
    ensure!(agent.state("lan")? == "active", "{}", agent.daemon.log());
    let filters_there = filters(&lab.routers[1])?;
    ensure!(filters_there.contains(VIRTUAL_MAC), "the entry is not among {filters_there}");
    agent.kill()?;
    let said = cleanup(&lab.routers[0])?;
    ensure!(said.contains(&format!("unicast filter {VIRTUAL_MAC} on {INTERFACE}")), "cleanup has printed: {said}");
    wait_for_host_state(&lab.routers[0], &before)?;
    Ok(())
}

#[test]
fn an_election_whose_address_thread_has_ended_ends_with_an_error() -> Result<()> {
    let lab = Lab::new(1)?;
    let outcome = lab.routers[0].run(|| -> Result<_> {
        let tables = Dataplane::load(Capacity { routers: 1, vips: 1, sources: 0 })?.tables;
        let (requests, _keep) = mpsc::unbounded_channel();
        let (reports, report_receiver) = mpsc::unbounded_channel::<AddressReport>();
        let mut election = election::spawn(tables, PerRouter::default(), (requests, report_receiver), 0)?;
        // The address thread drops its sender when it panics.
        drop(reports);
        ensure!(
            election.reports.blocking_recv().is_none(),
            "an election without virtual routers has reported something"
        );
        Ok(election.join().1)
    })??;
    ensure!(matches!(outcome, Err(ElectionError::AddressesEnded)), "the election has returned {outcome:?}");
    Ok(())
}
