//! What an agent puts on its host stays there, whatever removes it; and where it cannot, another router serves.

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

/// The entries for virtual MACs.
fn filters(host: &Namespace) -> Result<String> {
    let shown = host.sh("bridge fdb show")?;
    Ok(shown.lines().filter(|line| line.starts_with("00:00:5e:00:")).map(|line| format!("{line}\n")).collect())
}

fn wait_for_filter(host: &Namespace, mac: &str) -> Result<()> {
    eventually(&format!("the filter lets {mac} in"), SOON, || {
        let filters = filters(host)?;
        ensure!(filters.contains(mac), "{filters}");
        Ok(())
    })
}

/// What was put back of each virtual router in the status, as addresses and filter entries.
fn restored(agent: &Xvrrp) -> Result<Vec<(u64, u64)>> {
    let status = agent.status()?;
    let routers = status["virtual_routers"].as_array().context("no virtual_routers")?;
    let count = |router: &serde_json::Value, what: &str| router["restored"][what].as_u64().unwrap_or(0);
    Ok(routers.iter().map(|router| (count(router, "addresses"), count(router, "filter_entries"))).collect())
}

/// The router has one more interface, with 203.0.113.2 on it.
fn plug_in_second(lab: &Lab) -> Result<()> {
    let host = &lab.routers[0];
    let netns = host.name();
    lab.switch().ip(&format!("link add second up type veth peer name {SECOND_INTERFACE} netns {netns}"))?;
    host.ip(&format!("link set {SECOND_INTERFACE} up"))?;
    host.ip(&format!("addr add 203.0.113.2/24 dev {SECOND_INTERFACE}")).map(drop)
}

/// A shell in a namespace that does something again and again, until this is dropped.
struct Loop(Child);

impl Loop {
    fn start(host: &Namespace, what: &str) -> Result<Self> {
        let mut shell = host.command("sh")?;
        shell.args(["-c", &format!("while :; do {what}; done")]).stdout(Stdio::null()).stderr(Stdio::null());
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
fn an_address_that_something_else_removes_is_back_within_an_interval_or_so_and_counted() -> Result<()> {
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
    ensure!(restored(&agent)? == [(0, 0); 3], "{:?}", restored(&agent)?);
    for (interface, address) in &all {
        host.ip(&format!("address del {address} dev {interface}"))?;
        wait_for(host, interface, address, SOON).with_context(|| agent.daemon.log())?;
    }
    eventually("the status counts them", SOON, || {
        let restored = restored(&agent)?;
        ensure!(restored == [(1, 0), (2, 0), (1, 0)], "{restored:?}");
        Ok(())
    })?;
    let line = format!("{VIP} had been taken off {INTERFACE}: put back");
    agent.daemon.wait_for_lines(&["WARN", "virtual_router=lan", &line], 1)?;
    ensure!(agent.transitions("lan", "fault") == 0, "{}", agent.daemon.log());
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    for (interface, address) in &all {
        wait_until(&format!("{address} is gone"), || Ok(!has(host, interface, address)?))?;
    }
    Ok(())
}

#[test]
fn hundreds_of_addresses_of_both_families_are_all_back_and_nothing_is_given_up() -> Result<()> {
    const OLD: usize = 200;
    // As many as one advert can carry, with the link-local one.
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
    let there = || -> Result<usize> {
        let shown = host.ip(&format!("-o address show dev {INTERFACE}"))?;
        Ok(shown.lines().filter(|line| line.contains(" 10.0.1.") || line.contains(" 2001:db8:1::")).count())
    };
    let wait_for_all = |within| {
        eventually("every address is there", within, || {
            let there = there()?;
            ensure!(there == OLD + NEW, "{there}");
            Ok(())
        })
    };
    wait_for_all(PATIENCE).with_context(|| agent.daemon.log())?;
    // The secondary ones first; with the primary one, the kernel takes those off that are back by then.
    let removals = (1..=OLD).rev().map(ipv4).chain((1..=NEW).map(ipv6));
    let batch: String = removals.map(|address| format!("address del {address} dev {INTERFACE}\n")).collect();
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), batch)?;
    host.sh(&format!("ip -batch {}", file.path().display()))?;
    wait_for_all(Duration::from_secs(3)).with_context(|| agent.daemon.log())?;
    let counts = restored(&agent)?;
    ensure!(counts[0].0 >= OLD as u64 && counts[1].0 >= NEW as u64, "{counts:?}");
    for name in ["four", "six"] {
        ensure!(agent.state(name)? == "active" && agent.transitions(name, "fault") == 0, "{}", agent.daemon.log());
    }
    // Not a line for each of them.
    ensure!(agent.daemon.count_lines(&["put back"]) <= 10, "{}", agent.daemon.log());
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    ensure!(there()? == 0, "{} are left", there()?);
    Ok(())
}

/// With the last address of the host's own the kernel takes off ours, which is back before the other one is. If the agent
/// reloads just then, as it does for another address, the new one has to put them in order.
#[test]
fn an_own_address_that_comes_back_during_a_reload_comes_first_again() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    let shown = || host.ip(&format!("-4 -o address show dev {INTERFACE}"));
    for _ in 0..3 {
        host.ip(&format!("address del {}/24 dev {INTERFACE}", Lab::address(0)))?;
        eventually("the virtual address is back", PATIENCE, || {
            ensure!(shown()?.contains(&format!(" {VIP}/24 ")));
            Ok(())
        })?;
        host.ip(&format!("address add {}/24 dev {INTERFACE}", Lab::address(0)))?;
        agent.reload()?;
        eventually("the host's own address is the primary one", PATIENCE, || {
            let shown = shown()?;
            let of = |address: Ipv4Addr| shown.lines().find(|line| line.contains(&format!(" {address}/24 ")));
            let (own, ours) = (of(Lab::address(0)).context("gone")?, of(VIP).context("ours is gone")?);
            ensure!(!own.contains("secondary") && ours.contains("secondary"), "{shown}");
            Ok(())
        })?;
    }
    ensure!(agent.stop()?.success());
    ensure!(shown()?.contains(&Lab::address(0).to_string()), "{}", shown()?);
    Ok(())
}

#[test]
fn an_address_that_stood_there_before_is_replaced_by_ours_when_its_owner_removes_it() -> Result<()> {
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
    eventually("both are counted", SOON, || {
        let restored = restored(&agent)?;
        ensure!(restored == [(1, 1)], "{restored:?}");
        Ok(())
    })?;
    // Both are ours now, to the end and after a crash.
    agent.kill()?;
    let mut agent = agent.restart(host, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    wait_for_host_state(host, &before)?;
    Ok(())
}

#[test]
fn an_entry_of_the_unicast_filter_is_put_back_whatever_the_role() -> Result<()> {
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
        eventually("both are counted", SOON, || {
            let restored = restored(agent)?;
            ensure!(restored == [(0, 1), (0, 1)], "{restored:?}");
            Ok(())
        })?;
        // While the interface is down.
        host.ip(&format!("link set {INTERFACE} down"))?;
        host.sh(&format!("bridge fdb del {VIRTUAL_MAC} dev {INTERFACE} self"))?;
        host.ip(&format!("link set {INTERFACE} up"))?;
        wait_for_filter(host, VIRTUAL_MAC).with_context(|| agent.daemon.log())?;
        ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
        wait_until_is("no filter is left", &String::new(), || filters(host))?;
    }
    Ok(())
}

/// Until something removes what the first router needs, which becomes Active again a while after that has ended.
fn role_is_given_up_for(what: &str, named: &str) -> Result<()> {
    let mut pair = Pair::start(Lab::new(2)?, ["", ""], |router| router)?;
    let host = &pair.lab.routers[0];
    let hostile = Loop::start(host, what)?;
    pair.agents[0].wait_for_state("lan", "fault").with_context(|| pair.logs())?;
    pair.agents[1].wait_for_state("lan", "active").with_context(|| pair.logs())?;
    // A priority 0 has told it: it has not waited for three intervals.
    pair.agents[1].wait_for_counter("lan", "advert_release", 1)?;
    ensure!(pair.agents[1].counter("lan", "advert_release")? == 1, "{}", pair.logs());
    let status = pair.agents[0].virtual_router("lan")?;
    ensure!(status["reason"] == "addresses_not_kept", "{status}");
    ensure!(status["not_kept"].as_str().is_some_and(|failure| failure.contains(named)), "{status}");
    pair.agents[0].daemon.wait_for_lines(&["ERROR", "virtual_router=lan", named, "giving up the role"], 1)?;
    drop(hostile);
    wait_until("the address is gone", || Ok(!has(host, INTERFACE, &format!("{VIP}/24"))?))?;
    // Once, after ten seconds, and no sooner.
    pair.settle().with_context(|| pair.logs())?;
    wait_for(host, INTERFACE, &format!("{VIP}/24"), PATIENCE)?;
    let status = pair.agents[0].virtual_router("lan")?;
    ensure!(status["not_kept"].is_null(), "{status}");
    pair.agents[0].wait_for_transitions("lan", "fault", 1)?;
    Ok(())
}

#[test]
fn an_address_that_is_removed_again_and_again_makes_another_router_serve() -> Result<()> {
    role_is_given_up_for(&format!("ip address del {VIP}/24 dev {INTERFACE}"), &format!("{VIP} on {INTERFACE}"))
}

#[test]
fn a_filter_entry_that_is_removed_again_and_again_makes_another_router_serve() -> Result<()> {
    role_is_given_up_for(&format!("bridge fdb del {VIRTUAL_MAC} dev {INTERFACE} self"), "the unicast filter entry")
}

#[test]
fn a_role_that_is_given_up_is_left_alone_for_as_long_over_a_reload() -> Result<()> {
    /// The first rest is 10 s.
    const REST: Duration = Duration::from_secs(10);
    let mut pair = Pair::start(Lab::new(2)?, ["", ""], |router| router)?;
    let host = &pair.lab.routers[0];
    let hostile = Loop::start(host, &format!("ip address del {VIP}/24 dev {INTERFACE}"))?;
    pair.agents[0].wait_for_state("lan", "fault").with_context(|| pair.logs())?;
    let since = Instant::now();
    drop(hostile);
    pair.agents[1].wait_for_state("lan", "active").with_context(|| pair.logs())?;
    let before = pair.agents[0].virtual_router("lan")?;
    pair.agents[0].configure(&[VirtualRouter::lan(200)])?;
    for _ in 0..2 {
        pair.agents[0].reload()?;
        let status = pair.agents[0].virtual_router("lan")?;
        ensure!(status["state"] == "fault" && status["reason"] == "addresses_not_kept", "{status}");
        ensure!(status["not_kept"] == before["not_kept"], "{status}");
    }
    // Longer than it would take to be Active as the higher one.
    pause(REST / 2)?;
    ensure!(pair.agents[0].state("lan")? == "fault", "{}", pair.logs());
    pair.settle().with_context(|| pair.logs())?;
    let rested = since.elapsed();
    ensure!((REST * 9 / 10..2 * REST).contains(&rested), "it has rested for {rested:?}\n{}", pair.logs());
    ensure!(pair.agents[0].virtual_router("lan")?["not_kept"].is_null());
    Ok(())
}

#[test]
fn an_address_that_the_kernel_refuses_makes_another_router_serve() -> Result<()> {
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
fn an_address_that_failed_duplicate_detection_is_replaced_by_one_that_works() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let host = &lab.routers[0];
    let address = format!("{VIP_IPV6}/64");
    lab.client.ip(&format!("addr add {address} dev {INTERFACE} nodad"))?;
    host.ip(&format!("addr add {address} dev {INTERFACE}"))?;
    let shown = || host.ip(&format!("-6 -o address show dev {INTERFACE} to {VIP_IPV6}"));
    eventually("duplicate detection fails", PATIENCE, || {
        let shown = shown()?;
        ensure!(shown.contains("dadfailed"), "{shown}");
        Ok(())
    })?;
    lab.client.ip(&format!("addr del {address} dev {INTERFACE}"))?;
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan_ipv6(200)])?;
    agent.wait_for_state("lan", "active")?;
    eventually("the address works", SOON, || {
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
fn an_agent_that_is_refused_leaves_the_record_of_another_namespaces_agent_alone() -> Result<()> {
    let lab = Lab::new(2)?;
    let host = &lab.routers[0];
    let before = host_state(host)?;
    let mut first = Xvrrp::start(host, &[VirtualRouter::lan(200)])?;
    first.wait_for_state("lan", "active")?;
    let mut second = lab.routers[1].command(agent_binary()?)?;
    let refused = second.args(["run", "--config"]).arg(first.config()).output()?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(refused.status.code() == Some(1) && said.contains("another xvrrp agent answers"), "{said}");
    // A crash: whoever starts next finds the entry by the record.
    first.kill()?;
    let mut first = first.restart(host, &[VirtualRouter::lan(200).with("vrid", "77")])?;
    first.wait_for_state("lan", "active")?;
    wait_until("the filter that the first one left is gone", || Ok(!filters(host)?.contains(VIRTUAL_MAC)))?;
    ensure!(first.stop()?.success(), "{}", first.daemon.log());
    wait_for_host_state(host, &before)?;
    Ok(())
}

#[test]
fn cleanup_in_another_namespace_touches_neither_record_nor_filter() -> Result<()> {
    let lab = Lab::new(2)?;
    let before = host_state(&lab.routers[0])?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    // Somebody else's, on an interface with the same name and index.
    lab.routers[1].sh(&format!("bridge fdb add {VIRTUAL_MAC} dev {INTERFACE} self permanent"))?;
    let config = agent.config();
    let cleanup = |host: &Namespace| -> Result<String> {
        let output = host.command(agent_binary()?)?.arg("cleanup").arg("--config").arg(&config).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    // While the agent runs, and after it was killed.
    let said = cleanup(&lab.routers[1])?;
    ensure!(said.contains("nothing was left\n") && said.contains("is another network namespace's"), "{said}");
    ensure!(agent.state("lan")? == "active");
    let filters_there = filters(&lab.routers[1])?;
    ensure!(filters_there.contains(VIRTUAL_MAC), "{filters_there}");
    agent.kill()?;
    let said = cleanup(&lab.routers[0])?;
    ensure!(said.contains(&format!("unicast filter {VIRTUAL_MAC} on {INTERFACE}")), "{said}");
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
        // As when it panics.
        drop(reports);
        ensure!(election.reports.blocking_recv().is_none(), "there is nothing to report");
        Ok(election.join().1)
    })??;
    ensure!(matches!(outcome, Err(ElectionError::AddressesEnded)), "{outcome:?}");
    Ok(())
}
