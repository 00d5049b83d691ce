//! Checks.

use std::net::IpAddr;
use std::path::PathBuf;

use xvrrp_common::units::Interval;

use super::program::Program;
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
    /// Whether the check counts as failed, instead of pending, until its first look. Default: false.
    pub init_fail: bool,
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
    Script(Program),
    /// Succeeds if the interface is up and has a carrier.
    Interface(String),
    /// Succeeds if the number of certain processes is within limits.
    Process(ProcessCheck),
    /// Succeeds if a process has the id that this file holds.
    PidFile(PathBuf),
    /// Multiplies the weight by the number that a file holds, or by 0 if the file is missing or holds no number.
    File {
        /// Path of the file. Required.
        path: PathBuf,
        /// What an agent writes to the file when it starts. Default: nothing.
        initial: Option<InitialNumber>,
    },
    /// Succeeds if one of these addresses, of which there are 1 to 16, answers an echo request.
    Ping(Vec<IpAddr>),
}

/// The number that an agent writes to a file when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitialNumber {
    /// The number.
    pub value: i32,
    /// Whether it replaces what an existing file holds. Default: false.
    pub overwrite: bool,
}

/// A check of processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessCheck {
    /// The processes that count. Required.
    pub processes: ProcessMatch,
    /// How many of them there must be: 0 to 65535. Default: 1, or 0 if `quorum_max` is 0.
    pub quorum: u16,
    /// How many of them there may be: `quorum` to 65535. Default: any number.
    pub quorum_max: Option<u16>,
    /// How long a check that passes, or fails, because a process has forked keeps its former outcome: 0 to 60 min.
    /// Default: 0.
    pub fork_delay: Interval,
    /// Likewise for a process that has ended. Default: 0.
    pub terminate_delay: Interval,
}

impl ProcessCheck {
    /// Returns whether this number of processes is within the limits.
    pub fn accepts(&self, count: usize) -> bool {
        count >= self.quorum.into() && self.quorum_max.is_none_or(|max| count <= max.into())
    }
}

/// What identifies a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessMatch {
    /// Its name (`/proc/PID/comm`).
    Name(String),
    /// Its command line (`/proc/PID/cmdline`).
    Command {
        /// The program as the command line names it.
        program: String,
        /// The arguments that `rule` compares.
        arguments: Vec<String>,
        /// How the arguments are compared.
        rule: ArgumentRule,
    },
}

/// How the arguments of a process are compared with those of a [`ProcessMatch::Command`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentRule {
    /// Not at all.
    Any,
    /// The process has exactly these.
    Exact,
    /// The process has these, and may have more after them.
    Leading,
    /// The process has these, but the last of them may be longer, and more may follow.
    Prefix,
}

/// A check that a virtual router tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The check.
    pub check: CheckIndex,
    /// -253 to 253. A success adds a positive weight to the priority, a failure adds a negative one. With 0, a failure
    /// is a fault.
    pub weight: i16,
    /// Whether the weight is subtracted where it would be added. With weight 0, a success is a fault. Default: false.
    pub reverse: bool,
}
