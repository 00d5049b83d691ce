//! Takes over from the running agent, for example for an upgrade.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use xvrrp_dataplane::namespace_cookie;

use crate::control::{self, ControlError, Incumbent, Singleton};

/// Longest time that the running agent may take to let go.
const PATIENCE: Duration = Duration::from_secs(5);
const CANNOT_TAKE_OVER: &str = "cannot take over from the running agent";

/// Makes the running agent of this network namespace, if there is one, let go and leave everything in place. That agent
/// ends once it is relieved.
///
/// `control` is the control socket of that agent. `check` is called before that agent is asked, and checks whether this
/// process can continue with what it will leave.
///
/// # Errors
/// `check` fails, the running agent cannot be reached or refuses, or it does not let go in time.
pub async fn take_over(
    control: &Path,
    check: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<(Singleton, Option<Incumbent>)> {
    match Singleton::claim(Duration::ZERO) {
        Err(ControlError::AgentRuns) => {}
        claimed => return Ok((claimed?, None)),
    }
    check().await.context("did not take over from the running agent, which continues")?;
    let namespace = namespace_cookie().context("cannot identify the network namespace")?;
    let mut incumbent = match Incumbent::ask(control, Some(namespace)) {
        Ok(incumbent) => incumbent,
        // The running agent may just be ending.
        Err(ControlError::NoAgent { path, source }) => match Singleton::claim(control::ENDING) {
            Ok(singleton) => return Ok((singleton, None)),
            Err(_) => {
                let error = ControlError::NoAgent { path, source };
                return Err(error).context(CANNOT_TAKE_OVER);
            }
        },
        Err(error) => return Err(error).context(CANNOT_TAKE_OVER),
    };
    if let Some(singleton) = incumbent.receive() {
        return Ok((singleton, Some(incumbent)));
    }
    match Singleton::claim(PATIENCE) {
        Err(ControlError::AgentRuns) => bail!("the running agent did not let go within {PATIENCE:?}"),
        claimed => Ok((claimed?, Some(incumbent))),
    }
}
