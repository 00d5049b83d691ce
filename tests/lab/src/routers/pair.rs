//! An Active router and its Backup, both xvrrp.

use std::iter;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{Lab, PATIENCE, VirtualRouter, Xvrrp, eventually};

/// How long the logs must not grow before all changes of state count as logged.
const LOGGED: Duration = Duration::from_millis(200);

/// Two agents on the first two routers of a lab. The first has priority 200 and is Active; the second has priority 100.
#[derive(Debug)]
pub struct Pair {
    /// The agents, the Active one first.
    pub agents: Vec<Xvrrp>,
    /// The lab, which outlives the agents.
    pub lab: Lab,
}

impl Pair {
    /// The states that the two agents keep while neither fails.
    pub const STATES: [&str; 2] = ["active", "backup"];

    /// Starts both agents, and returns when they have their states. `complete` adds keys to the virtual router `lan`;
    /// `keys` are more lines of `[agent]` for each agent. The second one starts when the first one is Active, because
    /// on a busy machine it might otherwise become Active before the first one.
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

    /// Waits until the first agent is Active, the second one is Backup and has heard the first one, and both have
    /// logged their states.
    pub fn settle(&self) -> Result<()> {
        eventually("the Backup hears the Active router", PATIENCE, || {
            let (first, second) = (self.agents[0].state("lan")?, self.agents[1].virtual_router("lan")?);
            ensure!(first == Self::STATES[0], "the first one is {first}");
            ensure!(second["state"] == Self::STATES[1] && second["active"]["priority"] == 200, "{second}");
            self.agents.iter().zip(Self::STATES).try_for_each(|(agent, state)| agent.ensure_logged("lan", state))
        })
    }

    /// Returns how many changes of state the two agents have logged.
    pub fn changes(&self) -> usize {
        self.agents.iter().map(|agent| agent.daemon.count_lines(&["state changed"])).sum()
    }

    /// Returns how many changes of state the two agents have logged, once their logs no longer grow. A busy agent logs
    /// a change late.
    pub fn changes_once_logged(&self) -> usize {
        loop {
            let changes = self.changes();
            thread::sleep(LOGGED);
            if self.changes() == changes {
                return changes;
            }
        }
    }

    /// Returns the logs of both agents.
    pub fn logs(&self) -> String {
        self.agents.iter().map(|agent| agent.daemon.log()).collect()
    }
}
