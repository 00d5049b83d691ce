//! The agent with a configuration of keepalived.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::{Daemon, agent_binary};
use crate::{Namespace, PATIENCE, ProcessConnector, eventually, run};

/// An agent that runs a keepalived.conf as it is.
#[derive(Debug)]
pub struct Imported {
    /// The process.
    pub daemon: Daemon,
    files: TempDir,
}

impl Imported {
    /// Starts it with the text of a keepalived.conf, of which nothing may be left out. With a connector, it can listen
    /// to the process connector.
    pub fn start(namespace: &Namespace, original: &str, connector: Option<&ProcessConnector>) -> Result<Self> {
        let files = TempDir::with_prefix("xvrrp-lab-same-")?;
        let path = |name: &str| files.path().join(name);
        fs::write(path("keepalived.conf"), original)?;
        let agent = agent_binary()?;
        let mut check = namespace.command(&agent)?;
        let output = check.arg("check").arg(path("keepalived.conf")).output()?;
        let messages = String::from_utf8_lossy(&output.stderr);
        // The status is 3 if something is left out.
        ensure!(output.status.success(), "{}: {messages}", output.status);
        let mut command = namespace.command(&agent)?;
        command.arg("run").arg("--config").arg(path("keepalived.conf")).arg("--control").arg(path("xvrrp.sock"));
        if let Some(connector) = connector {
            connector.give_to(&mut command);
        }
        let daemon = Daemon::start("xvrrp", &mut command, files.path())?;
        Ok(Self { daemon, files })
    }

    /// Returns its status.
    pub fn status(&self) -> Result<Value> {
        let control = self.files.path().join("xvrrp.sock");
        let mut command = Command::new(agent_binary()?);
        Ok(serde_json::from_str(&run(command.args(["status", "--json", "--control"]).arg(control))?)?)
    }

    /// Waits until its virtual routers are `active`, `backup` or `fault`.
    pub fn wait_for_state(&self, state: &str) -> Result<()> {
        eventually(&format!("the agent is {state}"), PATIENCE, || {
            let status = self.status()?;
            let routers = status["virtual_routers"].as_array().context("status without virtual_routers")?;
            ensure!(!routers.is_empty() && routers.iter().all(|router| router["state"] == state), "{status}");
            Ok(())
        })
    }
}
