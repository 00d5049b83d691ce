//! Taking over from the agent that runs, as for an upgrade.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::control::{self, ControlError, Request, Singleton};

/// How long the other agent may take to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often to look whether it has. Every millisecond here is one without adverts.
const LOOK: Duration = Duration::from_micros(200);

/// Makes the agent of this network namespace end and leave everything as it is, if there is one. `control` is its
/// control socket.
pub async fn take_over(control: &Path) -> anyhow::Result<Singleton> {
    match Singleton::claim() {
        Err(ControlError::AgentRuns) => {}
        claimed => return Ok(claimed?),
    }
    let answer = control::ask(control, &Request::HandOver).context("cannot take over from the agent that runs")?;
    if let Some(error) = answer.get("error") {
        bail!("the agent that runs cannot hand over ({error}); stop it first");
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match Singleton::claim() {
            Err(ControlError::AgentRuns) if tokio::time::Instant::now() < deadline => {}
            Err(ControlError::AgentRuns) => bail!("the agent that runs did not end within {PATIENCE:?}"),
            claimed => return Ok(claimed?),
        }
        // Not tokio's sleep, which rounds to a millisecond; nothing else runs here yet.
        std::thread::sleep(LOOK);
    }
}
