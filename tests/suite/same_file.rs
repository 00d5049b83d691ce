//! Daemons that run a keepalived.conf: keepalived itself, or an agent.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
pub use xvrrp_lab::Imported;
use xvrrp_lab::{Keepalived, PATIENCE, eventually};

/// A daemon that runs a keepalived.conf.
pub enum Running {
    Keepalived(Keepalived),
    Xvrrp(Imported),
}

impl Running {
    /// Returns the state of an instance in keepalived's words, and its priority, if it is known. `configured` is the
    /// priority that keepalived logs no line for.
    pub fn look(&self, instance: &str, configured: u8) -> Result<(String, u8)> {
        match self {
            Self::Keepalived(keepalived) => {
                let log = keepalived.daemon.log();
                let lines = log.lines().rev().filter_map(|line| line.split_once(&format!("({instance}) ")));
                let latest = |words: &str| lines.clone().find_map(|(_, line)| line.split_once(words));
                // At the start it is "entering FAULT state", later "Entering FAULT STATE".
                let state = latest("ntering ").and_then(|(_, line)| line.split(' ').next());
                let priority = latest("Changing effective priority").and_then(|(_, line)| line.rsplit(' ').next());
                let priority = priority.map_or(Ok(configured), str::parse)?;
                Ok((state.context("no state yet")?.to_owned(), priority))
            }
            Self::Xvrrp(agent) => {
                let status = agent.status()?;
                let routers = status["virtual_routers"].as_array().context("no virtual routers")?;
                let router = routers.iter().find(|router| router["name"] == instance).context("no such instance")?;
                let state = match router["state"].as_str() {
                    Some("active") => "MASTER",
                    Some("backup") => "BACKUP",
                    Some("fault") => "FAULT",
                    other => other.unwrap_or_default(),
                };
                Ok((state.to_owned(), router["priority"].as_u64().unwrap_or_default().try_into()?))
            }
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Keepalived(_) => "keepalived",
            Self::Xvrrp(_) => "xvrrp",
        }
    }

    pub fn log(&self) -> String {
        match self {
            Self::Keepalived(keepalived) => keepalived.daemon.log(),
            Self::Xvrrp(agent) => agent.daemon.log(),
        }
    }

    /// Waits until an instance has this state.
    pub fn wait_for_state(&self, instance: &str, state: &str) -> Result<()> {
        eventually(&format!("{} has {instance} in {state}", self.name()), PATIENCE, || {
            let (found, _) = self.look(instance, 0)?;
            ensure!(found == state, "{found}");
            Ok(())
        })
    }

    /// Stops it as an operator would.
    pub fn stop(&mut self) -> Result<()> {
        match self {
            Self::Keepalived(keepalived) => keepalived.stop(),
            Self::Xvrrp(agent) => agent.daemon.stop(Signal::SIGTERM, PATIENCE).map(drop),
        }
    }
}
