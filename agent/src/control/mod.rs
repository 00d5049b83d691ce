//! The control socket: one JSON line asks, one JSON document answers.

mod client;
mod hand_over;
pub mod monitor;
mod server;
mod singleton;
pub mod status;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::client::{ask, ask_for, follow, status};
pub use self::hand_over::{Incumbent, Successor};
pub use self::server::{Client, Server};
pub use self::singleton::Singleton;
use self::status::AgentStatus;

/// Longest request that is read.
const MAX_REQUEST: u64 = 4096;
/// Longest answer that is read.
const MAX_ANSWER: u64 = 64 << 20;
/// How long a client may take to ask and to read the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an agent that is ending may take to let go of what only one can have.
pub const ENDING: Duration = Duration::from_secs(1);
/// How often to look whether it has. Every millisecond here is one without adverts.
const LOOK: Duration = Duration::from_micros(200);

/// What a client can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    Status,
    /// Leave roles, addresses and pins to the agent that asks, and end once it says that it runs
    /// ([`Successor::comes_up`]). If it hangs up before that, go on.
    HandOver {
        /// The asker's network namespace. An agent of another one may have the same control socket.
        #[serde(default)]
        namespace: Option<u64>,
    },
    /// Leave the role of the virtual router with this name to others, or do so no longer.
    StandBy {
        name: String,
        on: bool,
    },
    /// Send what the kernel half sees, in lines ([`MonitorLine`](monitor::MonitorLine)), until the client hangs up.
    Monitor,
    /// Check the configuration, and start anew with it if it is valid.
    Reload,
}

/// What it gets.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Status(AgentStatus),
    HandingOver {
        handing_over: bool,
    },
    Monitoring {
        monitoring: bool,
    },
    StandingBy {
        standing_by: bool,
        /// Whether a lower priority than ours has to yield from now on.
        preempts: bool,
    },
    /// When the agent was started that will be another one: [`AgentStatus::started`].
    Reloading {
        started: f64,
    },
    Refused {
        error: String,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(
        "another xvrrp agent runs in this network namespace; stop it first, or take over from it with `xvrrp run --replace`"
    )]
    AgentRuns,
    #[error("another xvrrp agent answers at {0}; stop it first, or set another agent.control")]
    SocketTaken(PathBuf),
    #[error("cannot open the control socket {path}: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error("no agent answers at {path}: {source}; is `xvrrp run` running, and is this its agent.control?")]
    NoAgent { path: PathBuf, source: io::Error },
    #[error("the agent at {path} refused: {error}")]
    Refused { path: PathBuf, error: String },
    #[error(
        "the agent at {0} ended the connection without an answer: it was just stopping, reloading or handing over to another \
         agent, and may have done what was asked or not; look at `xvrrp status`, and try again"
    )]
    HungUp(PathBuf),
    #[error("the agent at {path} did not answer as expected: {source}")]
    Answer { path: PathBuf, source: io::Error },
}
