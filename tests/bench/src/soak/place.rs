//! A router of the soak: its agent, and what is presently wrong with it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use xvrrp_common::units::MacAddress;

use super::shim::Shim;
use xvrrp_lab::traffic::AdvertTap;
use xvrrp_lab::{INTERFACE, Namespace, Segments, Side, VirtualRouter, Xvrrp};

/// How many routers there are.
pub const ROUTERS: usize = 3;
/// The interval of their adverts.
pub const INTERVAL: Duration = Duration::from_millis(100);
/// Their priorities.
pub const PRIORITIES: [u8; ROUTERS] = [200, 150, 100];
/// The lab's default.
pub const VRID: u8 = 51;
/// Virtual routers beside the one whose address the clients ask for: with VRID 1 and so on.
pub const OTHERS: Segments = Segments { routers: 29, interfaces: 1 };

#[derive(Debug)]
pub struct Place {
    pub agent: Xvrrp,
    /// Whether its process should be there.
    pub running: bool,
    /// The one that has to end since another took over from it.
    pub predecessor: Option<Xvrrp>,
    side: Side,
    side_tap: AdvertTap,
    /// Since when its address there is what it is, if nobody has seen yet that the agent knows.
    side_since: Option<Instant>,
    /// When the agent had been started, if it was asked to start anew and nobody has seen yet that it has.
    started_before: Option<f64>,
    pub shim: Option<Shim>,
    /// Since when it is cut off.
    pub apart_since: Option<Instant>,
    /// As it was in the beginning.
    pub mac: MacAddress,
}

/// When an agent was started, or has last started anew.
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

    /// How many changes of role the agent has logged.
    pub fn role_changes(&self) -> usize {
        role_changes(&self.agent.daemon.log())
    }

    pub fn change_side(&mut self, host: &Namespace) -> Result<()> {
        self.side_tap.forget();
        self.side_since = Some(Instant::now());
        self.side.change(host)
    }

    /// What the agent was asked for and has not done yet, as far as anybody knows.
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
                return Some("the agent does not advertise from its address on the other interface");
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

/// Of the agent with this priority.
pub fn configuration(priority: u8) -> Vec<VirtualRouter> {
    let mut all = OTHERS.configuration(priority, INTERVAL);
    // The last of many.
    all.extend([VirtualRouter::lan(priority), Side::virtual_router()]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_is_gone_on_with_has_not_changed() {
        let line = |name, state| format!("INFO state changed virtual_router={name} vrid=1 state={state} reason=x\n");
        let lines =
            [("a", "backup"), ("b", "backup"), ("a", "backup"), ("a", "active"), ("b", "backup"), ("a", "active")];
        let log: String = lines.iter().map(|(name, state)| line(*name, *state)).collect();
        assert_eq!(role_changes(&log), 1);
        let side: String = ["backup", "active"].map(|state| line(Side::NAME, state)).concat();
        assert_eq!(role_changes(&side), 0);
    }
}
