//! Routes and rules are on the host while a virtual router that wants them is Active, whatever else happens there.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xvrrp_lab::traffic::{AdvertTap, Advertiser};
use xvrrp_lab::{
    INTERFACE, Lab, Namespace, PATIENCE, UPSTREAM, VirtualRouter, Xvrrp, alone, eventually, host_state, pause,
    wait_for_host_state,
};

/// Ten advertisement intervals of the lab.
const SOON: Duration = Duration::from_secs(1);

const ROUTE: &str = "203.0.113.0/24 via 198.51.100.254";
const RULE: &str = "from 203.0.113.0/24 lookup 100";

/// Returns the virtual router `lan` with a route by the second interface, and a rule.
fn routed(priority: u8) -> VirtualRouter {
    VirtualRouter::lan(priority)
        .with("routes", &format!("[\"{ROUTE} dev {UPSTREAM}\", \"blackhole 203.0.114.0/24\"]"))
        .with("rules", &format!("[\"{RULE} priority 500\"]"))
}

/// Returns the routes and rules with the mark of an agent.
fn installed(host: &Namespace) -> Result<String> {
    host.sh("ip route show table all proto 112; ip rule show proto 112")
}

fn wait_for(host: &Namespace, entry: &str, is_there: bool, within: Duration) -> Result<()> {
    eventually(&format!("{entry} is installed: {is_there}"), within, || {
        let installed = installed(host)?;
        ensure!(installed.contains(entry) == is_there, "{installed}");
        Ok(())
    })
}

#[test]
fn what_something_else_removes_is_put_back_and_counted_and_a_stop_leaves_nothing() -> Result<()> {
    let lab = Lab::with_second_interfaces(1)?;
    let host = &lab.routers[0];
    host.ip("route add 203.0.115.0/24 via 198.51.100.254 proto static")?;
    let before = host_state(host)?;
    let mut agent = Xvrrp::start(host, &[routed(200)])?;
    agent.wait_for_state("lan", "active")?;
    for entry in [ROUTE, "blackhole 203.0.114.0/24", RULE] {
        wait_for(host, entry, true, PATIENCE)?;
    }
    host.ip("route del 203.0.113.0/24 proto 112")?;
    host.ip("route del blackhole 203.0.114.0/24 proto 112")?;
    host.ip("rule del priority 500")?;
    for entry in [ROUTE, "blackhole 203.0.114.0/24", RULE] {
        wait_for(host, entry, true, SOON)?;
    }
    eventually("the status counts them", PATIENCE, || {
        let restored = agent.virtual_router("lan")?["restored"]["routes"].as_u64().context("no count")?;
        ensure!(restored == 3, "{restored}");
        Ok(())
    })?;
    // The kernel removes the route with the interface.
    host.ip(&format!("link set {UPSTREAM} down"))?;
    wait_for(host, ROUTE, false, PATIENCE)?;
    eventually("the status says that one is missing", PATIENCE, || {
        let missing = agent.virtual_router("lan")?["missing"].clone();
        ensure!(missing.to_string().contains("203.0.113.0/24"), "{missing}");
        Ok(())
    })?;
    host.ip(&format!("link set {UPSTREAM} up"))?;
    wait_for(host, ROUTE, true, PATIENCE)?;
    ensure!(agent.transitions("lan", "fault") == 0, "{}", agent.daemon.log());
    host.ip("route replace 203.0.115.0/24 via 198.51.100.254 proto static")?;
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    wait_for_host_state(host, &before)
}

#[test]
fn a_route_that_two_virtual_routers_want_stays_while_one_of_them_is_active() -> Result<()> {
    const SHARED: &str = "203.0.113.0/24 via 192.0.2.254";
    let lab = Lab::with_second_interfaces(1)?;
    let host = &lab.routers[0];
    let routes = format!("[\"{SHARED} dev {INTERFACE}\"]");
    let other = VirtualRouter::lan(200)
        .with("name", "\"other\"")
        .with("interface", &format!("{UPSTREAM:?}"))
        .with("addresses", "[\"198.51.100.1/24\"]")
        .with("routes", &routes);
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan(200).with("routes", &routes), other])?;
    agent.wait_until_all_are("active", 2)?;
    wait_for(host, SHARED, true, PATIENCE)?;
    host.ip(&format!("link set {UPSTREAM} down"))?;
    agent.wait_for_state("other", "fault")?;
    pause(SOON)?;
    ensure!(installed(host)?.contains(SHARED), "{}", installed(host)?);
    host.ip(&format!("link set {UPSTREAM} up"))?;
    agent.wait_for_state("other", "active")?;
    host.ip(&format!("link set {INTERFACE} down"))?;
    agent.wait_for_state("lan", "fault")?;
    host.ip(&format!("link set {INTERFACE} up"))?;
    wait_for(host, SHARED, true, PATIENCE)
}

#[test]
fn what_a_crashed_agent_has_left_is_removed_unless_it_is_wanted() -> Result<()> {
    let lab = Lab::with_second_interfaces(1)?;
    let host = &lab.routers[0];
    let mut agent = Xvrrp::start(host, &[routed(200)])?;
    agent.wait_for_state("lan", "active")?;
    wait_for(host, RULE, true, PATIENCE)?;
    wait_for(host, ROUTE, true, PATIENCE)?;
    agent.kill()?;
    ensure!(installed(host)?.contains(ROUTE), "{}", installed(host)?);
    let only_route = VirtualRouter::lan(200).with("routes", &format!("[\"{ROUTE} dev {UPSTREAM}\"]"));
    let mut agent = agent.restart(host, &[only_route])?;
    agent.wait_for_state("lan", "active")?;
    wait_for(host, RULE, false, PATIENCE)?;
    wait_for(host, "blackhole 203.0.114.0/24", false, PATIENCE)?;
    wait_for(host, ROUTE, true, PATIENCE)
}

#[test]
fn ten_thousand_routes_delay_no_advert_when_they_are_installed_kept_over_a_reload_and_put_back() -> Result<()> {
    const COUNT: usize = 10_000;
    // Three advertisement intervals: another router would not have taken over.
    const LATE: Duration = Duration::from_millis(300);
    let _alone = alone();
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let routes: Vec<String> = (0..COUNT)
        .map(|number| format!("\"10.{}.{}.0/24 via 192.0.2.254 dev {INTERFACE}\"", number / 250, number % 250))
        .collect();
    let router = VirtualRouter::lan(200).with("routes", &format!("[{}]", routes.join(", ")));
    let tap = AdvertTap::start(&lab.client, INTERFACE)?;
    let start = Instant::now();
    let mut agent = Xvrrp::start(host, &[router])?;
    agent.wait_for_state("lan", "active")?;
    let all_are_there = |when: &str| {
        eventually(&format!("all routes are there {when}"), PATIENCE, || {
            let count = host.ip("-4 route show proto 112")?.lines().count();
            ensure!(count == COUNT, "{count}");
            Ok(())
        })
    };
    all_are_there("after the start")?;
    agent.reload()?;
    host.ip("route flush proto 112")?;
    all_are_there("after something else has removed them")?;
    let source = Lab::address(0);
    let begin = tap.first_after(source, start)?;
    let gap = tap.longest_gap(&[Advertiser { interface: 0, vrid: 51, source }], begin, Instant::now());
    ensure!(gap < LATE, "no advert for {gap:?}\n{}", agent.daemon.log());
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    let left = host.ip("-4 route show proto 112")?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

#[test]
fn reloads_remove_no_route_that_is_wanted_before_and_after() -> Result<()> {
    const RELOADS: usize = 100;
    let lab = Lab::with_second_interfaces(1)?;
    let host = &lab.routers[0];
    let mut agent = Xvrrp::start(host, &[routed(200)])?;
    agent.wait_for_state("lan", "active")?;
    wait_for(host, ROUTE, true, PATIENCE)?;
    wait_for(host, RULE, true, PATIENCE)?;
    let log = tempfile::NamedTempFile::new()?;
    let mut monitor = host.command("ip")?.args(["monitor", "route", "rule"]).stdout(log.reopen()?).spawn()?;
    let shows = |route: &str| {
        eventually(&format!("the monitor shows {route}"), PATIENCE, || {
            host.ip(&format!("route replace {route}"))?;
            let seen = std::fs::read_to_string(log.path())?;
            ensure!(seen.contains(route), "{seen}");
            Ok(())
        })
    };
    // The monitor watches from before the first reload until after the last one.
    let outcome = shows("blackhole 203.0.116.0/24")
        .and_then(|()| (0..RELOADS).try_for_each(|_| agent.reload()))
        .and_then(|()| pause(SOON))
        .and_then(|()| shows("blackhole 203.0.117.0/24"));
    let _ = monitor.kill();
    let _ = monitor.wait();
    outcome?;
    let seen = std::fs::read_to_string(log.path())?;
    ensure!(!seen.contains("203.0.113.0/24") && !seen.contains("203.0.114.0/24"), "{seen}");
    ensure!(installed(host)?.contains(ROUTE) && installed(host)?.contains(RULE), "{}", installed(host)?);
    Ok(())
}
