//! Taking over from the agent that runs, as for an upgrade.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use xvrrp_dataplane::namespace_cookie;

use crate::control::{self, ControlError, Incumbent, Singleton};

/// How long the other agent may take to let go.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes the agent of this network namespace let go and leave everything as it is, if there is one; it ends once it is
/// relieved. `control` is its control socket. Before it is asked, `check` says whether we can go on with what it will leave.
pub async fn take_over(
    control: &Path,
    check: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<(Singleton, Option<Incumbent>)> {
    match Singleton::claim(Duration::ZERO) {
        Err(ControlError::AgentRuns) => {}
        claimed => return Ok((claimed?, None)),
    }
    check().await.context("not taken over from the agent that runs, which goes on")?;
    let namespace = namespace_cookie().context("cannot tell which network namespace this is")?;
    let mut incumbent = match Incumbent::ask(control, Some(namespace)) {
        Ok(incumbent) => incumbent,
        // It may just be ending.
        Err(ControlError::NoAgent { path, source }) => match Singleton::claim(control::ENDING) {
            Ok(singleton) => return Ok((singleton, None)),
            Err(_) => {
                let error = ControlError::NoAgent { path, source };
                return Err(error).context("cannot take over from the agent that runs");
            }
        },
        Err(error) => return Err(error).context("cannot take over from the agent that runs"),
    };
    if let Some(singleton) = incumbent.receive() {
        return Ok((singleton, Some(incumbent)));
    }
    match Singleton::claim(PATIENCE) {
        Err(ControlError::AgentRuns) => bail!("the agent that runs did not let go within {PATIENCE:?}"),
        claimed => Ok((claimed?, Some(incumbent))),
    }
}
