//! Reads the counters of an agent and its host.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::Pair;

/// A counter.
#[derive(Clone, Copy, Debug)]
pub enum Counter {
    /// A counter of the virtual router, by its name in the status.
    Ours(&'static str),
    /// A counter of frames that belong to no virtual router, by its name in the status.
    Foreign(&'static str),
    /// The host's counter of datagrams to closed ports. The kernel half passes these without counting them.
    NoPort,
}

pub use Counter::{Foreign, NoPort, Ours};

/// The counters that only an Active router increments.
pub const SERVED: &[Counter] = &[Ours("arp_answered"), Ours("virtual_mac_admitted")];

/// The counters of all reasons to discard an advert, and of the two reasons to pass one that is not ours.
pub const DISCARDED: &[Counter] = &[
    Ours("advert_fragment"),
    Ours("advert_time_to_live"),
    Ours("advert_version"),
    Ours("advert_type"),
    Ours("advert_length"),
    Ours("advert_checksum"),
    Ours("advert_interval_zero"),
    Ours("advert_no_address"),
    Ours("advert_own_source"),
    Ours("advert_forbidden_source"),
    Foreign("advert_unknown_vrid"),
    Foreign("advert_length"),
];

/// The counters of one router at one moment.
#[derive(Clone, Debug)]
pub struct Counts {
    ours: Value,
    foreign: Value,
    no_ports: u64,
}

impl Counts {
    /// Reads the counters now.
    pub fn look(pair: &Pair, router: usize) -> Result<Self> {
        let status = pair.agents[router].status()?;
        Ok(Self {
            ours: status["virtual_routers"][0]["counters"].clone(),
            foreign: status["counters"].clone(),
            no_ports: pair.lab.routers[router].run(no_ports)??,
        })
    }

    pub fn sum(&self, counters: &[Counter]) -> u64 {
        counters.iter().map(|&counter| self.of(counter)).sum()
    }

    fn of(&self, counter: Counter) -> u64 {
        match counter {
            Ours(name) => self.ours[name].as_u64().unwrap_or(0),
            Foreign(name) => self.foreign[name].as_u64().unwrap_or(0),
            NoPort => self.no_ports,
        }
    }
}

/// Returns `NoPorts` of UDP in the network namespace of the caller.
fn no_ports() -> Result<u64> {
    let snmp = fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut udp = snmp.lines().filter_map(|line| line.strip_prefix("Udp: ")).map(str::split_whitespace);
    let (mut names, mut values) = (udp.next().context("no names")?, udp.next().context("no values")?);
    let index = names.position(|name| name == "NoPorts").context("no NoPorts")?;
    Ok(values.nth(index).context("no value")?.parse()?)
}
