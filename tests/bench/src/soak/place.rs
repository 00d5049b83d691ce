//! A router of the soak: its agent, and its present faults.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use xvrrp_common::units::MacAddress;

use super::shim::Shim;
use xvrrp_lab::traffic::AdvertTap;
use xvrrp_lab::{INTERFACE, Namespace, Segments, Side, VirtualRouter, Xvrrp};

/// Number of routers.
pub const ROUTERS: usize = 3;
/// Advertisement interval of all virtual routers.
pub const INTERVAL: Duration = Duration::from_millis(100);
/// Priorities of the routers.
pub const PRIORITIES: [u8; ROUTERS] = [200, 150, 100];
/// VRID of the virtual router whose address the clients ask for, the default of the lab.
pub const VRID: u8 = 51;
/// The other virtual routers, which have VRID 1 and so on.
pub const OTHERS: Segments = Segments { routers: 29, interfaces: 1 };

#[derive(Debug)]
pub struct Place {
    pub agent: Xvrrp,
    /// Whether the agent's process should be running.
    pub running: bool,
    /// Agent that has been replaced and must end.
    pub predecessor: Option<Xvrrp>,
    side: Side,
    side_tap: AdvertTap,
    /// Time of the last change of the address on the second interface, until an advert shows that the agent knows of
    /// it.
    side_since: Option<Instant>,
    /// Start time of the agent before a reload, until the status shows that it has reloaded.
    started_before: Option<f64>,
    pub shim: Option<Shim>,
    /// Time since which the router has been cut off.
    pub apart_since: Option<Instant>,
    /// Original MAC of the interface.
    pub mac: MacAddress,
}

/// Returns the time at which an agent was started or has last reloaded.
fn started(agent: &Xvrrp) -> Result<f64> {
    agent.status()?["started"].as_f64().context("status without started")
}

impl Place {
    pub fn start(router: &Namespace, priority: u8) -> Result<Self> {
        let side = Side::new(router)?;
        Ok(Self {
            agent: Xvrrp::start_in_tiny_run(router, &configuration(priority))?,
            running: true,
            predecessor: None,
            side,
            side_tap: AdvertTap::start(router, Side::OTHER_END)?,
            side_since: None,
            started_before: None,
            shim: None,
            apart_since: None,
            mac: router.mac(INTERFACE)?,
        })
    }

    pub fn reload(&mut self) -> Result<()> {
        self.started_before = Some(started(&self.agent)?);
        self.agent.daemon.signal(Signal::SIGHUP)
    }

    /// Returns the number of changes of role that the agent has logged.
    pub fn role_changes(&self) -> usize {
        role_changes(&self.agent.daemon.log())
    }

    pub fn change_side(&mut self, host: &Namespace) -> Result<()> {
        self.side_tap.forget();
        self.side_since = Some(Instant::now());
        self.side.change(host)
    }

    /// Returns what the agent was asked to do and has not been seen to do yet.
    pub fn unfinished(&mut self) -> Option<&'static str> {
        if let Some(before) = self.started_before {
            if started(&self.agent).is_ok_and(|now| now > before) {
                self.started_before = None;
            } else {
                return Some("the agent has not reloaded");
            }
        }
        if let Some(since) = self.side_since {
            if self.side_tap.first_after(self.side.address(), since).is_err() {
                return Some("the agent does not advertise from the new address of the second interface");
            }
            self.side_since = None;
        }
        self.side_tap.forget();
        None
    }
}

fn role_changes(log: &str) -> usize {
    let mut states = BTreeMap::new();
    let word =
        |line: &str, key: &str| line.split_whitespace().find_map(|word| word.strip_prefix(key).map(str::to_owned));
    let changes = log.lines().filter(|line| line.contains("state changed")).filter(|line| {
        let (Some(name), Some(state)) = (word(line, "virtual_router="), word(line, "state=")) else { return false };
        name != Side::NAME && states.insert(name, state.clone()).is_some_and(|before| before != state)
    });
    changes.count()
}

/// Returns the configuration of the agent with this priority.
pub fn configuration(priority: u8) -> Vec<VirtualRouter> {
    let mut all = OTHERS.configuration(priority, INTERVAL);
    // The virtual router that the clients ask for comes after many others.
    all.extend([VirtualRouter::lan(priority), Side::virtual_router()]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_a_successor_continues_has_not_changed() {
        let line = |name, state| format!("INFO state changed virtual_router={name} vrid=1 state={state} reason=x\n");
        let lines =
            [("a", "backup"), ("b", "backup"), ("a", "backup"), ("a", "active"), ("b", "backup"), ("a", "active")];
        let log: String = lines.iter().map(|(name, state)| line(*name, *state)).collect();
        assert_eq!(role_changes(&log), 1);
        let side: String = ["backup", "active"].map(|state| line(Side::NAME, state)).concat();
        assert_eq!(role_changes(&side), 0);
    }
}
