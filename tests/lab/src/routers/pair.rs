//! An Active router and its Backup.

use std::iter;

use anyhow::{Result, ensure};

use crate::{Lab, PATIENCE, VirtualRouter, Xvrrp, eventually};

/// Two agents on the first two routers of a lab: the first has priority 200 and is Active, the second has 100.
#[derive(Debug)]
pub struct Pair {
    pub agents: Vec<Xvrrp>,
    pub lab: Lab,
}

impl Pair {
    /// The states that both keep while nobody fails.
    pub const STATES: [&str; 2] = ["active", "backup"];

    /// Returns when both have their states. `complete` adds to the virtual router `lan` with its priority; `keys` are more
    /// lines of `[agent]`, for each of them. The second one starts when the first one is Active: on a busy machine it might
    /// otherwise have the role first.
    pub fn start(lab: Lab, keys: [&str; 2], complete: impl Fn(VirtualRouter) -> VirtualRouter) -> Result<Self> {
        let mut agents = Vec::new();
        for (place, (priority, keys)) in lab.routers.iter().zip(iter::zip([200, 100], keys)) {
            let mut agent = Xvrrp::start_by(place, &[complete(VirtualRouter::lan(priority))], &[], keys)?;
            agent.wait_for_state("lan", Self::STATES[agents.len()])?;
            agents.push(agent);
        }
        let pair = Self { agents, lab };
        pair.settle()?;
        Ok(pair)
    }

    /// Until the first one is Active and the second one knows it.
    pub fn settle(&self) -> Result<()> {
        eventually("the Backup hears the Active router", PATIENCE, || {
            let (first, second) = (self.agents[0].state("lan")?, self.agents[1].virtual_router("lan")?);
            ensure!(first == Self::STATES[0], "the first one is {first}");
            ensure!(second["state"] == Self::STATES[1] && second["active"]["priority"] == 200, "{second}");
            Ok(())
        })
    }

    /// How many changes of state both have logged.
    pub fn changes(&self) -> usize {
        self.agents.iter().map(|agent| agent.daemon.count_lines(&["state changed"])).sum()
    }

    pub fn logs(&self) -> String {
        self.agents.iter().map(|agent| agent.daemon.log()).collect()
    }
}
