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
pub use self::successor::{Fate, Incumbent, Successor, SuccessorError};

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
    /// ([`Successor::comes_up`]). If it hangs up before that, continue. If it does neither in time, kill it and
    /// continue.
    #[serde(rename = "hand_over")]
    Succeed {
        /// Cookie of the network namespace of the agent that asks. An agent of another namespace may have the same
        /// control socket.
        #[serde(default)]
        namespace: Option<u64>,
    },
    /// Leave the role of the virtual router with this name to others, or stop doing so.
    StandBy {
        /// Name of the virtual router.
        name: String,
        /// Whether the role is left to others from now on.
        on: bool,
    },
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
    /// Answer to [`Request::Status`].
    Status(AgentStatus),
    /// Answer to [`Request::Succeed`].
    Succession {
        /// Always true. A refusal is [`Self::Refused`].
        #[serde(rename = "handing_over")]
        accepted: bool,
    },
    /// Answer to [`Request::Monitor`].
    Monitoring {
        /// Always true. A refusal is [`Self::Refused`].
        monitoring: bool,
    },
    /// Answer to [`Request::StandBy`].
    StandingBy {
        /// Whether the role is left to others from now on, as requested.
        standing_by: bool,
        /// Whether this router preempts a router of lower priority from now on.
        preempts: bool,
    },
    /// Answer to [`Request::Reload`].
    Reloading {
        /// Start time of the agent that reloads ([`AgentStatus::started`]), in seconds since 1970. The next agent has
        /// another one.
        started: f64,
    },
    /// Answer to a request that the agent does not carry out.
    Refused {
        /// The reason, as the operator reads it.
        error: String,
    },
}

/// Failure to use the control socket or to claim the singleton.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another agent holds the singleton of this network namespace.
    #[error(
        "another xvrrp agent runs in this network namespace; stop it first, or take over from it with \
         `xvrrp run --replace`"
    )]
    AgentRuns,
    /// Another agent, of whichever network namespace, has the control socket at this path.
    #[error("another xvrrp agent answers at {0}; stop it first, or set another agent.control")]
    SocketTaken(PathBuf),
    /// A socket cannot be created.
    #[error("cannot open the control socket {path}: {source}")]
    Open {
        /// Path of the socket, or the name of the abstract one after `@`.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Nothing listens on the control socket.
    #[error("no agent answers at {path}: {source}; is `xvrrp run` running, and is this its agent.control?")]
    NoAgent {
        /// Path of the control socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The agent does not carry out the request.
    #[error("the agent at {path} refused: {error}")]
    Refused {
        /// Path of the control socket.
        path: PathBuf,
        /// The agent's reason.
        error: String,
    },
    /// The connection to the control socket at this path ended before the answer.
    #[error(
        "the agent at {0} closed the connection without an answer: it was stopping, reloading or leaving its roles to \
         another agent, and may or may not have carried out the request; look at `xvrrp status`, and try again"
    )]
    HungUp(PathBuf),
    /// The answer cannot be read.
    #[error("the agent at {path} did not answer as expected: {source}")]
    Answer {
        /// Path of the control socket.
        path: PathBuf,
        /// What went wrong with the connection or the document.
        source: io::Error,
    },
}
