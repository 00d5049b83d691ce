//! Two hosts that are connected by cables only, so that no figure includes the cost of a bridge.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use xvrrp_lab::{Namespace, pause};

/// The hosts. Their interfaces are called `eth0`, `eth1` and so on, and have the addresses 10.N.0.1/16 and 10.N.0.2/16.
#[derive(Debug)]
pub struct Wires {
    pub left: Namespace,
    pub right: Namespace,
}

impl Wires {
    pub fn new(cables: u8) -> Result<Self> {
        let wires = Self { left: Namespace::new("left")?, right: Namespace::new("right")? };
        let (left, right) = (&wires.left, &wires.right);
        for host in [left, right] {
            for scope in ["all", "default"] {
                host.sysctl(&format!("net.ipv4.conf.{scope}.rp_filter"), "0")?;
            }
        }
        for cable in 0..cables {
            left.ip(&format!("link add eth{cable} type veth peer name eth{cable} netns {}", right.name()))?;
            for (host, number) in [(left, 1), (right, 2)] {
                host.ip(&format!("addr add 10.{cable}.0.{number}/16 dev eth{cable}"))?;
                host.ip(&format!("link set eth{cable} up"))?;
            }
        }
        Ok(wires)
    }
}

/// Returns the number of virtual addresses on a host, whose third octet is 64 or more.
pub fn virtual_addresses(host: &Namespace) -> Result<usize> {
    let is_virtual = |line: &&str| {
        let address = line.split_whitespace().nth(3).unwrap_or_default();
        address.starts_with("10.") && address.split('.').nth(2).and_then(|octet| octet.parse().ok()) >= Some(64_u8)
    };
    Ok(host.ip("-4 -o addr show")?.lines().filter(is_virtual).count())
}

/// Waits until a host has exactly this number of virtual addresses. Asks rarely, because asking is expensive.
pub fn wait_for_virtual_addresses(host: &Namespace, count: usize, within: Duration) -> Result<()> {
    let deadline = Instant::now() + within;
    loop {
        let now = virtual_addresses(host)?;
        if now == count {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{} has {now} virtual addresses after {within:?}, not {count}", host.name());
        }
        pause(Duration::from_millis(250))?;
    }
}
