//! `xvrrp reload`.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::control::{self, Request};

/// How long the new agent may take until it answers, and how often it is asked.
const STARTED: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);

/// Has the agent at this control socket reload, and waits until the new one answers: the command.
pub fn ask(control: &Path) -> anyhow::Result<()> {
    let answer = control::ask(control, &Request::Reload)?;
    let Some(before) = answer["started"].as_f64() else {
        let error = answer["error"].as_str().unwrap_or("the agent is of another version");
        bail!("not reloaded, everything stays as it was:\n{error}");
    };
    let deadline = Instant::now() + STARTED;
    loop {
        match control::ask(control, &Request::Status) {
            Ok(status) if status["started"].as_f64() != Some(before) => return Ok(()),
            _ if Instant::now() < deadline => thread::sleep(LOOK),
            Ok(_) => bail!("the agent goes on as before; its log says why"),
            Err(error) => return Err(error).context("the new agent does not answer; its log says why"),
        }
    }
}
