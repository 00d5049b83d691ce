//! Checks.

use std::net::IpAddr;
use std::path::PathBuf;

use xvrrp_common::units::Interval;

use crate::index::CheckIndex;

/// `[[check]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckConfig {
    /// Unique among the checks; 1 to 64 characters from `A-Z a-z 0-9 . _ -`. Required.
    pub name: String,
    /// What is checked. Required.
    pub kind: CheckKind,
    /// Time from the start of one probe to the start of the next: 10 ms to 60 min. Default:
    /// [`Self::DEFAULT_INTERVAL`].
    pub interval: Interval,
    /// Time after which a script or a ping has failed: 10 ms to 60 min. Default: the interval.
    pub timeout: Interval,
    /// How many successes in a row end a failure: 1 to 255. Default: 1.
    pub rise: u8,
    /// How many failed probes in a row are a failure: 1 to 255. Default: 1.
    pub fall: u8,
    /// Lines of the file: of the header, and of the key that says what is checked.
    pub lines: (usize, usize),
}

impl CheckConfig {
    /// The default of `interval`.
    pub const DEFAULT_INTERVAL: Interval = Interval::from_seconds(1);
}

/// What a check looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// Succeeds if the program ends with exit status 0.
    Script {
        /// Absolute path of the program, and its arguments.
        command: Vec<String>,
        /// User that runs the program. Default: the user that runs the agent.
        user: Option<String>,
    },
    /// Succeeds if the interface is up and has a carrier.
    Interface(String),
    /// Succeeds if a process has this name (`/proc/PID/comm`).
    Process(String),
    /// Succeeds if a process has the id that this file holds.
    PidFile(PathBuf),
    /// Multiplies the weight by the number that this file holds, or by 0 if the file is missing or holds no number.
    File(PathBuf),
    /// Succeeds if the address answers an echo request.
    Ping(IpAddr),
}

/// A check that a virtual router tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The check.
    pub check: CheckIndex,
    /// -253 to 253. A success adds a positive weight to the priority, a failure adds a negative one. With 0, a failure
    /// is a fault.
    pub weight: i16,
}
