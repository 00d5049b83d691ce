//! Takes over from the running agent, for example for an upgrade.

use std::io;
use std::path::Path;
use std::time::Duration;

use xvrrp_dataplane::namespace_cookie;

use crate::control::{self, ControlError, Incumbent, Singleton};

/// Longest time that the running agent may take to release its roles.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why this process cannot take over from the running agent.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// The kernel does not identify the network namespace.
    #[error("cannot identify the network namespace")]
    Namespace(#[source] io::Error),
    /// The running agent refuses, or does not answer properly.
    #[error("cannot take over from the running agent")]
    Ask(#[source] ControlError),
    /// The running agent cannot be reached, or hangs up, but it still holds the singleton.
    #[error(
        "the running agent does not answer: it is starting, another `xvrrp run --replace` is taking over from it, or it \
         has another agent.control; look at `xvrrp status`, and try again if this agent is still needed"
    )]
    Busy,
    /// The running agent has agreed, but it still holds the singleton.
    #[error(
        "the running agent did not release its roles within {PATIENCE:?}: another `xvrrp run --replace` has taken over \
         from it, or it hangs; look at `xvrrp status`, and try again if this agent is still needed"
    )]
    Late,
    /// The singleton is free, but cannot be claimed.
    #[error(transparent)]
    Claim(ControlError),
}

/// Makes the running agent of this network namespace release its roles and leave everything in place. That agent ends
/// once it is relieved. It is `None` if it has just ended.
///
/// `control` is the control socket of that agent.
///
/// # Errors
/// The running agent cannot be reached or refuses, or it does not release its roles in time.
pub fn take_over(control: &Path) -> Result<(Singleton, Option<Incumbent>), TakeOverError> {
    let namespace = namespace_cookie().map_err(TakeOverError::Namespace)?;
    let incumbent = match Incumbent::ask(control, Some(namespace)) {
        Ok(incumbent) => incumbent,
        // The running agent may just be ending, or was killed before it could answer.
        Err(ControlError::NoAgent { .. } | ControlError::HungUp(_)) => {
            return match Singleton::claim(control::ENDING) {
                Ok(singleton) => Ok((singleton, None)),
                Err(ControlError::AgentRuns) => Err(TakeOverError::Busy),
                Err(error) => Err(TakeOverError::Claim(error)),
            };
        }
        Err(error) => return Err(TakeOverError::Ask(error)),
    };
    if let Some(singleton) = incumbent.receive() {
        return Ok((singleton, Some(incumbent)));
    }
    // It has ended, or it continues as soon as this connection is closed.
    drop(incumbent);
    match Singleton::claim(PATIENCE) {
        Ok(singleton) => Ok((singleton, None)),
        Err(ControlError::AgentRuns) => Err(TakeOverError::Late),
        Err(error) => Err(TakeOverError::Claim(error)),
    }
}
