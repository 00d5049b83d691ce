//! keepalived and an agent run the same keepalived.conf, each alone on a segment of its own, and install the same
//! routes, rules and static addresses.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use xvrrp_lab::{INTERFACE, Keepalived, Lab, Namespace, PATIENCE, eventually};

use crate::same_file::{Imported, Running};

/// How ip(8) shows the protocols with which the two mark their own.
const MARKS: [&str; 3] = ["proto keepalived", "proto 18", "proto 112"];

const CONFIG: &str = "global_defs {
  vrrp_version 3
}
static_ipaddress {
  198.51.100.9/24 brd + dev eth0
  2001:db8:9::9/64 dev eth0
}
static_routes {
  203.0.113.0/25 via 192.0.2.254 dev eth0
  2001:db8:1::/48 via 2001:db8::fe dev eth0
}
static_rules {
  from 203.0.113.0/25 table 100
  from 2001:db8:1::/48 table 100
  to 203.0.113./25 table 100
}
vrrp_instance lan {
  interface eth0
  virtual_router_id 51
  priority 100
  advert_int 0.1
  virtual_ipaddress {
    192.0.2.1/24
  }
  virtual_routes {
    src 192.0.2.1 203.0.114.0/24 via 192.0.2.254 dev eth0 mtu lock 1400 advmss 1300
    default via 192.0.2.254 table 100 metric 7
    203.0.113.128/26 via 192.0.2.253 or 192.0.2.254
    203.0.115.0/24 nexthop via 192.0.2.253 dev eth0 weight 3 nexthop via 192.0.2.254 dev eth0
    blackhole 203.0.113.192/26
    unreachable 203.0.113.224/27 metric 50
    203.0.116.0/24 gw 192.0.2.254 tos 16
    2001:db8:5::/48 via 2001:db8::fe dev eth0 metric 30 hoplimit 9
  }
  virtual_rules {
    from 192.0.2.0/24 table 100 priority 500
    to 203.0.114.0/24 iif eth0 fwmark 7/15 lookup 100 order 501 tos 16
    from 192.0.2.8 blackhole preference 502
    from 2001:db8:5::/48 table 101 priority 503
    to 203.0.116.0/24 table 101
  }
}
";

/// Returns the routes and rules that a daemon has marked, without the mark, and the static addresses.
fn installed(host: &Namespace) -> Result<BTreeSet<String>> {
    let shown = host.sh("ip -4 route show table all; ip -6 route show table all; ip -4 rule; ip -6 rule")?;
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut installed = BTreeSet::new();
    for line in shown.lines() {
        if let Some(mark) = MARKS.into_iter().find(|mark| format!("{line} ").contains(&format!("{mark} "))) {
            installed.insert(words(&line.replacen(mark, "", 1)));
        }
    }
    // An address has the mark of its daemon only on newer kernels.
    let addresses = host.ip(&format!("-o address show dev {INTERFACE}"))?;
    let statics =
        addresses.lines().filter(|line| line.contains(" 198.51.100.9/24 ") || line.contains(" 2001:db8:9::9/"));
    for line in statics {
        let line = MARKS.into_iter().fold(line.replace('\\', ""), |line, mark| line.replacen(mark, "", 1));
        let (_, line) = line.split_once(": ").unwrap_or_default();
        installed.insert(words(line));
    }
    Ok(installed)
}

/// Starts a daemon on a segment of its own, and returns what it has installed once that is complete.
fn outcome(start: impl Fn(&Namespace, &str) -> Result<Running>, count: usize) -> Result<BTreeSet<String>> {
    let lab = Lab::with_ipv6(1)?;
    let host = &lab.routers[0];
    let mut daemon = start(host, CONFIG)?;
    daemon.wait_for_state("lan", "MASTER")?;
    let found = eventually(&format!("{} has installed {count} entries", daemon.name()), PATIENCE, || {
        let found = installed(host)?;
        ensure!(found.len() == count, "{found:#?}\n{}", daemon.log());
        Ok(found)
    })?;
    daemon.stop()?;
    eventually(&format!("{} has removed them", daemon.name()), PATIENCE, || {
        let left = installed(host)?;
        ensure!(left.is_empty(), "{left:#?}");
        Ok(())
    })?;
    Ok(found)
}

// parity 8, 23, 64, 86, 92, 95, 99
#[test]
fn both_install_the_same_routes_rules_and_static_addresses_and_remove_them() -> Result<()> {
    const ENTRIES: usize = 2 + 2 + 2 + 8 + 5;
    let keepalived =
        outcome(|namespace, config| Keepalived::start_with(namespace, config).map(Running::Keepalived), ENTRIES)?;
    let agent = outcome(|namespace, config| Imported::start(namespace, config, None).map(Running::Xvrrp), ENTRIES)?;
    ensure!(keepalived == agent, "keepalived: {keepalived:#?}\nxvrrp: {agent:#?}");
    Ok(())
}
