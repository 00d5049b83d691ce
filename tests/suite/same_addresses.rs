//! Virtual routers without addresses, IPv6 lists that do not begin with a link-local address, and addresses of the
//! other family: keepalived and an agent that run the same keepalived.conf understand each other's adverts and serve
//! the same addresses, with either of them on either host.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use xvrrp_lab::traffic::capture::Capture;
use xvrrp_lab::{INTERFACE, Keepalived, Lab, Namespace, PATIENCE, VirtualRouter, Xvrrp, eventually, script};

use crate::same_file::{Imported, Running};

#[derive(Clone, Copy, Debug)]
enum Kind {
    Keepalived,
    Xvrrp,
}

fn start(namespace: &Namespace, kind: Kind, config: &str) -> Result<Running> {
    match kind {
        Kind::Keepalived => Keepalived::start_with(namespace, config).map(Running::Keepalived),
        Kind::Xvrrp => Imported::start(namespace, config, None).map(Running::Xvrrp),
    }
}

/// Returns a configuration with an instance `lan`, with these lines in `global_defs` and in the instance.
fn configuration(global: &str, priority: u8, lines: &str) -> String {
    format!(
        "global_defs {{
  script_user root
  {global}
}}
vrrp_instance lan {{
  state BACKUP
  interface {INTERFACE}
  virtual_router_id 51
  priority {priority}
{lines}
}}
"
    )
}

/// Runs a scenario with both daemons on either host of a segment.
fn with_all(scenario: impl Fn(&Lab, [Kind; 2]) -> Result<()> + Sync) -> Result<()> {
    use Kind::{Keepalived as K, Xvrrp as X};
    thread::scope(|scope| {
        let scenario = &scenario;
        let run = |kinds| scope.spawn(move || scenario(&Lab::with_ipv6(2)?, kinds));
        let runs: Vec<_> = [[K, K], [X, X], [K, X], [X, K]].into_iter().map(|kinds| (kinds, run(kinds))).collect();
        for (kinds, run) in runs {
            let outcome = run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcome.with_context(|| format!("{kinds:?}"))?;
        }
        Ok(())
    })
}

/// Fails if an instance `lan` leaves this state within a time that is longer than Active_Down_Interval.
fn ensure_stays(daemon: &Running, state: &str, settled: Duration) -> Result<()> {
    thread::sleep(settled);
    let (found, _) = daemon.look("lan", 0)?;
    ensure!(found == state, "{} is in {found} instead of {state}:\n{}", daemon.name(), daemon.log());
    Ok(())
}

/// Waits until the client reaches each of these addresses.
fn wait_until_served(lab: &Lab, addresses: &[&str]) -> Result<()> {
    addresses.iter().try_for_each(|address| {
        let line = format!("ping -n -q -c 1 -W 1 {address}");
        eventually(&format!("{address} answers"), PATIENCE, || lab.client.sh(&line)).map(drop)
    })
}

/// Starts a daemon with priority 200 and one with 100, and lets them change roles when the first one's cable is pulled
/// and plugged in. `settled` is called whenever one of them is Master and the other one is Backup or cut off.
fn change_roles(
    lab: &Lab,
    [better, worse]: [Kind; 2],
    version: u8,
    config: impl Fn(usize, u8) -> String,
    settled: impl Fn(&Namespace) -> Result<()>,
) -> Result<()> {
    // The intervals are 1 s and 100 ms.
    let pause = Duration::from_millis(if version == 2 { 5_000 } else { 1_500 });
    let first = start(&lab.routers[0], better, &config(0, 200))?;
    first.wait_for_state("lan", "MASTER")?;
    let second = start(&lab.routers[1], worse, &config(1, 100))?;
    second.wait_for_state("lan", "BACKUP")?;
    ensure_stays(&second, "BACKUP", pause)?;
    settled(&lab.routers[0])?;
    lab.pull(0)?;
    first.wait_for_state("lan", "FAULT")?;
    second.wait_for_state("lan", "MASTER")?;
    settled(&lab.routers[1])?;
    lab.plug(0)?;
    first.wait_for_state("lan", "MASTER")?;
    second.wait_for_state("lan", "BACKUP")?;
    ensure_stays(&second, "BACKUP", pause)?;
    settled(&lab.routers[0])
}

/// Returns what a notify script has been called with.
fn calls(directory: &Path) -> Vec<String> {
    let calls = fs::read_to_string(directory.join("calls")).unwrap_or_default();
    calls.lines().map(str::to_owned).collect()
}

// parity 34
#[test]
fn without_an_address_both_elect_and_notify_and_hear_each_other() -> Result<()> {
    // This keepalived needs an address in version 3.
    let password = "  authentication {\n    auth_type PASS\n    auth_pass 1111\n  }";
    for lines in ["  virtual_ipaddress {\n  }", password] {
        with_all(|lab, kinds| {
            let directories = [TempDir::with_prefix("xvrrp-lab-same-")?, TempDir::with_prefix("xvrrp-lab-same-")?];
            let scripts = directories.each_ref().map(|directory| {
                let calls = directory.path().join("calls");
                script(directory.path(), "notify", &format!("echo \"$@\" >> {}", calls.display()))
            });
            let [one, two] = scripts;
            let scripts = [one?, two?];
            let mut capture = Capture::start(lab.switch(), "br0", "ip proto 112")?;
            let config = |host: usize, priority| {
                let notify = format!("{lines}\n  notify \"{}\"", scripts[host].display());
                configuration("", priority, &notify)
            };
            change_roles(lab, kinds, 2, config, |_| Ok(()))?;
            for (directory, priority, states) in [
                (&directories[0], 200, ["BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER"].as_slice()),
                (&directories[1], 100, &["BACKUP", "MASTER", "BACKUP"]),
            ] {
                let expected: Vec<_> = states.iter().map(|state| format!("INSTANCE lan {state} {priority}")).collect();
                eventually("the script has been called", PATIENCE, || {
                    let calls = calls(directory.path());
                    // By now they have been stopped too.
                    ensure!(calls.starts_with(&expected), "{calls:?} instead of {expected:?}");
                    Ok(())
                })?;
            }
            capture.finish()?;
            let counts = capture.read("vrrp", &["vrrp.addr_count"])?.concat();
            ensure!(!counts.is_empty() && counts.iter().all(|count| count == "0"), "{counts:?}");
            Ok(())
        })
        .with_context(|| lines.to_owned())?;
    }
    Ok(())
}

#[test]
fn without_an_address_version_3_elects_over_either_family() -> Result<()> {
    for (family, group, source) in [("ipv4", "224.0.0.18", "192.0.2.2"), ("ipv6", "ff02::12", "fe80::2")] {
        let lab = Lab::with_ipv6(2)?;
        let mut capture = Capture::start(lab.switch(), "br0", "ip proto 112 or ip6 proto 112")?;
        let family = format!("{family:?}");
        let router = |priority| VirtualRouter::lan(priority).with("addresses", "[]").with("family", &family);
        let mut first = Xvrrp::start(&lab.routers[0], &[router(200)])?;
        first.wait_for_state("lan", "active")?;
        let mut second = Xvrrp::start(&lab.routers[1], &[router(100)])?;
        eventually("the Backup hears the Active router", PATIENCE, || {
            let status = second.virtual_router("lan")?;
            ensure!(status["state"] == "backup" && status["active"]["address"] == source, "{status}");
            Ok(())
        })?;
        // A Backup that discarded the adverts would have taken over.
        thread::sleep(Duration::from_millis(1_500));
        ensure!(second.state("lan")? == "backup", "{}", second.daemon.log());
        first.kill()?;
        second.wait_for_state("lan", "active")?;
        capture.finish()?;
        capture.check_adverts()?;
        let destination = if group.contains(':') { "ipv6.dst" } else { "ip.dst" };
        let adverts = capture.read("vrrp", &["vrrp.addr_count", destination])?;
        let expected = ["0", group];
        ensure!(!adverts.is_empty() && adverts.iter().all(|advert| *advert == expected), "{adverts:?}");
    }
    Ok(())
}

// parity 34
#[test]
fn an_ipv6_list_that_begins_with_a_global_address_is_heard_and_served_by_both() -> Result<()> {
    let lines = "  advert_int 0.1\n  native_ipv6\n  virtual_ipaddress {\n    2001:db8::1/64\n    fe80::51/64\n    2001:db8::7/64\n  }";
    with_all(|lab, kinds| {
        let mut capture = Capture::start(lab.switch(), "br0", "ip6 proto 112")?;
        let config = |_, priority| configuration("", priority, lines);
        change_roles(lab, kinds, 3, config, |_| wait_until_served(lab, &["2001:db8::1", "2001:db8::7"]))?;
        capture.finish()?;
        let listed = capture.read("vrrp", &["vrrp.ipv6_addr"])?.concat();
        let expected = "2001:db8::1,fe80::51,2001:db8::7";
        ensure!(!listed.is_empty() && listed.iter().all(|list| list == expected), "{listed:?}");
        Ok(())
    })
}

// parity 35
#[test]
fn unadvertised_addresses_of_the_other_family_move_with_the_role_in_both() -> Result<()> {
    const OVER_IPV4: (&str, &[&str]) = (
        "  virtual_ipaddress {\n    192.0.2.1/24\n  }\n  virtual_ipaddress_excluded {\n    192.0.2.7/24\n    \
         2001:db8::7/64\n    fe80::55/64\n  }",
        &["192.0.2.1", "192.0.2.7", "2001:db8::7"],
    );
    const OVER_IPV6: (&str, &[&str]) = (
        "  virtual_ipaddress {\n    fe80::51/64\n    2001:db8::1/64\n  }\n  virtual_ipaddress_excluded {\n    \
         192.0.2.7/24\n  }",
        &["2001:db8::1", "192.0.2.7"],
    );
    // Over IPv4, because no line has a family.
    const OF_NO_FAMILY: (&str, &[&str]) = ("  virtual_ipaddress_excluded {\n    2001:db8::7/64\n  }", &["2001:db8::7"]);
    for ((addresses, served), version) in [(OVER_IPV4, 3), (OVER_IPV4, 2), (OVER_IPV6, 3), (OF_NO_FAMILY, 2)] {
        with_all(|lab, kinds| {
            let interval = if version == 2 { "1" } else { "0.1" };
            let config = |_, priority| {
                let lines = format!("  advert_int {interval}\n{addresses}");
                configuration(&format!("vrrp_version {version}"), priority, &lines)
            };
            change_roles(lab, kinds, version, config, |master| {
                wait_until_served(lab, served)?;
                for router in &lab.routers {
                    let shown = router.ip(&format!("-o address show dev {INTERFACE}"))?;
                    for address in served {
                        let has_it = shown.contains(&format!(" {address}/"));
                        ensure!(has_it == std::ptr::eq(router, master), "{address} is not where it should be: {shown}");
                    }
                }
                Ok(())
            })
        })
        .with_context(|| addresses.to_owned())?;
    }
    Ok(())
}

/// Waits until the client knows an address at the virtual MAC of the IPv4 router.
fn wait_until_at_virtual_mac(lab: &Lab, address: &str) -> Result<()> {
    wait_until_served(lab, &[address])?;
    eventually(&format!("{address} is at the virtual MAC"), PATIENCE, || {
        let found = lab.client.ip(&format!("neigh show to {address} dev {INTERFACE}"))?;
        ensure!(found.contains("00:00:5e:00:01:33"), "the client has {found}");
        Ok(())
    })
}

#[test]
fn an_address_of_the_other_family_is_announced_answered_and_fenced_at_the_routers_own_virtual_mac() -> Result<()> {
    const ADDRESS: &str = "2001:db8::7";
    let lab = Lab::with_ipv6(2)?;
    let mut capture = Capture::start(lab.switch(), "br0", "icmp6 and ip6[40] = 136")?;
    let router = |priority| {
        VirtualRouter::unhurried_lan(priority).with("unadvertised_addresses", &format!("[\"{ADDRESS}/64\"]"))
    };
    let mut first = Xvrrp::start(&lab.routers[0], &[router(200)])?;
    first.wait_for_state("lan", "active")?;
    let mut second = Xvrrp::start(&lab.routers[1], &[router(100)])?;
    second.wait_for_state("lan", "backup")?;
    // One state machine has the addresses of both families.
    let status = first.status()?;
    let routers = status["virtual_routers"].as_array().context("no virtual routers")?;
    ensure!(routers.len() == 1 && routers[0]["family"] == "ipv4", "{status}");
    ensure!(routers[0]["addresses"] == serde_json::json!(["192.0.2.1/24", "2001:db8::7/64"]), "{status}");
    wait_until_at_virtual_mac(&lab, ADDRESS)?;
    wait_until_at_virtual_mac(&lab, "192.0.2.1")?;
    first.wait_for_counter("lan", "nd_answered", 1)?;
    // The address stays on the host of the dead agent, but nothing there serves it any more.
    first.kill()?;
    second.wait_for_state("lan", "active")?;
    let shown = lab.routers[0].ip(&format!("-6 address show dev {INTERFACE}"))?;
    ensure!(shown.contains(ADDRESS), "{shown}");
    lab.client.ip(&format!("neigh flush dev {INTERFACE}"))?;
    wait_until_at_virtual_mac(&lab, ADDRESS)?;
    second.wait_for_counter("lan", "nd_answered", 1)?;
    let echo = lab.client.sh(&format!("ping -n -c 5 -i 0.1 -W 1 {ADDRESS}"))?;
    ensure!(!echo.contains("DUP!") && echo.contains("5 received"), "{echo}");
    capture.finish()?;
    let fields = ["icmpv6.nd.na.target_address", "icmpv6.opt.linkaddr", "icmpv6.nd.na.flag.s"];
    let announced = capture.read("icmpv6.type == 136 && ipv6.dst == ff02::1", &fields)?;
    let expected = [ADDRESS, "00:00:5e:00:01:33"];
    let ours = announced.iter().filter(|fields| fields[..2] == expected).count();
    // One at least from each of the two takeovers.
    ensure!(ours >= 2 && ours == announced.len(), "{announced:?}");
    Ok(())
}

#[test]
fn a_reload_that_removes_such_virtual_routers_gives_up_their_roles_with_valid_adverts() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let mut capture = Capture::start(lab.switch(), "br0", "ip proto 112 or ip6 proto 112")?;
    let named = |name: &str, vrid: u8| {
        VirtualRouter::unhurried_lan(200).with("name", &format!("{name:?}")).with("vrid", &vrid.to_string())
    };
    let other_family = named("other", 61)
        .with("addresses", "[\"192.0.2.61/24\"]")
        .with("unadvertised_addresses", "[\"2001:db8::61/64\"]");
    let without = named("without", 62)
        .with("addresses", "[]")
        .with("family", "\"ipv6\"")
        .with("unadvertised_addresses", "[\"192.0.2.62/24\", \"2001:db8::62/64\"]");
    let stays = named("stays", 63).with("addresses", "[\"192.0.2.63/24\"]");
    let mut agent = Xvrrp::start(&lab.routers[0], &[other_family, without, stays.clone()])?;
    for name in ["other", "without", "stays"] {
        agent.wait_for_state(name, "active")?;
    }
    agent.configure(&[stays])?;
    agent.reload()?;
    capture.wait_for("vrrp.prio == 0", 2)?;
    capture.finish()?;
    capture.check_adverts()?;
    let fields = ["vrrp.virt_rtr_id", "vrrp.addr_count", "vrrp.ip_addr"];
    let mut released = capture.read("vrrp.prio == 0", &fields)?;
    released.sort();
    ensure!(released == [["61", "1", "192.0.2.61"], ["62", "0", ""]], "{released:?}");
    let left = lab.routers[0].ip(&format!("-o address show dev {INTERFACE}"))?;
    for address in ["192.0.2.61", "2001:db8::61", "192.0.2.62", "2001:db8::62"] {
        ensure!(!left.contains(&format!(" {address}/")), "{left}");
    }
    Ok(())
}
