//! Routes and rules are on the host while a virtual router that wants them is Active, whatever else happens there.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xvrrp_lab::{
    INTERFACE, Lab, Namespace, PATIENCE, UPSTREAM, VirtualRouter, Xvrrp, eventually, host_state, pause,
    wait_for_host_state, wait_until_is,
};

/// Ten advertisement intervals of the lab.
const SOON: Duration = Duration::from_secs(1);

const ROUTE: &str = "203.0.113.0/24 via 198.51.100.254";
const ROUTE4: &str = "203.0.113.0/24 via 192.0.2.254";
const ROUTE6: &str = "2001:db8:5::/48 via 2001:db8::fe metric 50";
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
fn a_foreign_route_with_the_same_key_stays_behind_ours_over_ipv4_and_in_the_way_of_ours_over_ipv6() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let host = &lab.routers[0];
    host.ip("-4 route add 203.0.113.0/24 via 192.0.2.253 proto static")?;
    host.ip("-6 route add 2001:db8:5::/48 via 2001:db8::fd metric 50 proto static")?;
    let routes = format!("[\"{ROUTE4}\", \"{ROUTE6}\"]");
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan(200).with("routes", &routes)])?;
    agent.wait_for_state("lan", "active")?;
    let gateways = |family: &str, destination: &str| -> Result<Vec<String>> {
        let shown = host.ip(&format!("{family} route show {destination}"))?;
        let gateway = |line: &str| line.split_whitespace().skip_while(|word| *word != "via").nth(1).map(str::to_owned);
        Ok(shown.lines().filter_map(gateway).collect())
    };
    let ipv4 = || gateways("-4", "203.0.113.0/24");
    let ipv6 = || gateways("-6", "2001:db8:5::/48");
    wait_until_is("ours comes first over IPv4", &vec!["192.0.2.254".to_owned(), "192.0.2.253".to_owned()], ipv4)?;
    eventually("the status says why one is missing", PATIENCE, || {
        let missing = agent.virtual_router("lan")?["missing"].to_string();
        ensure!(missing.contains("2001:db8:5::/48") && missing.contains("another route"), "{missing}");
        Ok(())
    })?;
    ensure!(ipv6()? == ["2001:db8::fd"], "{:?}", ipv6()?);
    host.ip("-6 route del 2001:db8:5::/48 via 2001:db8::fd metric 50")?;
    wait_until_is("ours follows over IPv6", &vec!["2001:db8::fe".to_owned()], ipv6)?;
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    wait_until_is("only theirs is left", &vec!["192.0.2.253".to_owned()], ipv4)?;
    wait_until_is("nothing is left", &Vec::new(), ipv6)
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
            host.ip(&format!("route add {route}"))?;
            host.ip(&format!("route del {route}"))?;
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
