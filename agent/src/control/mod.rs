//! The control socket. A request is one JSON line, and an answer is one JSON document.

mod client;
pub mod monitor;
mod server;
mod singleton;
pub mod status;
mod successor;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::client::{ask, ask_for, follow, status};
pub use self::server::{Client, Server};
pub use self::singleton::Singleton;
use self::status::AgentStatus;
pub use self::successor::{Incumbent, Successor, SuccessorError};

/// Longest request that the agent reads, in bytes.
const MAX_REQUEST: u64 = 4096;
/// Longest answer that a client reads, in bytes.
const MAX_ANSWER: u64 = 64 << 20;
/// How long a client may take to send its request and to read the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an agent that is ending may take to release what only one agent can hold.
pub const ENDING: Duration = Duration::from_secs(1);
/// Interval at which a waiting agent checks for that. It is short, because no adverts are sent while it waits.
const POLL: Duration = Duration::from_micros(200);

/// Request of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Return the status.
    Status,
    /// Leave roles, addresses and pins to the agent that asks, and end once that agent reports that it runs
    /// ([`Successor::comes_up`]). If it hangs up before that, continue.
    #[serde(rename = "hand_over")]
    Succeed {
        /// Cookie of the network namespace of the agent that asks. An agent of another namespace may have the same
        /// control socket.
        #[serde(default)]
        namespace: Option<u64>,
    },
    /// Leave the role of the virtual router with this name to others, or stop doing so.
    StandBy { name: String, on: bool },
    /// Send the frames that the kernel half captures as lines ([`MonitorLine`](monitor::MonitorLine)), until the client
    /// hangs up.
    Monitor,
    /// Check the configuration, and restart the agent with it if it is valid.
    Reload,
}

/// Answer to a [`Request`].
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Status(AgentStatus),
    Succession {
        #[serde(rename = "handing_over")]
        accepted: bool,
    },
    Monitoring {
        monitoring: bool,
    },
    StandingBy {
        standing_by: bool,
        /// Whether this router preempts a router of lower priority from now on.
        preempts: bool,
    },
    Reloading {
        /// Start time of the agent that reloads ([`AgentStatus::started`]), in seconds since 1970. The next agent has
        /// another one.
        started: f64,
    },
    Refused {
        error: String,
    },
}

/// Failure to use the control socket or to claim the singleton.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(
        "another xvrrp agent runs in this network namespace; stop it first, or take over from it with \
         `xvrrp run --replace`"
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
        "the agent at {0} closed the connection without an answer: it was stopping, reloading or leaving its roles to \
         another agent, and may or may not have carried out the request; look at `xvrrp status`, and try again"
    )]
    HungUp(PathBuf),
    #[error("the agent at {path} did not answer as expected: {source}")]
    Answer { path: PathBuf, source: io::Error },
}
