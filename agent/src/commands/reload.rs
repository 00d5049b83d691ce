//! `xvrrp reload`: makes the running agent restart with its current configuration.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::control::{self, Request};

/// How long the new agent may take until it answers.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked.
const LOOK: Duration = Duration::from_millis(10);

/// Makes the agent with this control socket reload, and waits until the new one answers.
///
/// # Errors
/// The agent does not answer or refuses, or the new one does not start.
pub fn ask(control: &Path) -> anyhow::Result<()> {
    let answer = control::ask(control, &Request::Reload)?;
    let Some(before) = answer["started"].as_f64() else {
        let error = answer["error"].as_str().unwrap_or("the agent is of another version");
        bail!("not reloaded, everything stays as it was:\n{error}");
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match control::ask(control, &Request::Status) {
            Ok(status) if status["started"].as_f64() != Some(before) => return Ok(()),
            _ if Instant::now() < deadline => thread::sleep(LOOK),
            Ok(_) => bail!("the agent has not reloaded and runs as before; see its log"),
            Err(error) => return Err(error).context("the new agent does not answer; see its log"),
        }
    }
}
