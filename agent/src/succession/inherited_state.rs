//! State that an agent leaves to the agent that this process becomes.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::close;
use serde::{Deserialize, Serialize};
use xvrrp_common::units::{Family, Instant};
use xvrrp_config::Text;
use xvrrp_config::files::{self, FileError};

use super::files::{Files, Numbers};
use crate::addresses::RestLeft;
use crate::notify::LatestStates;
use crate::notify::fifo::FifoLeft;
use crate::notify::programs::LastNotified;
use crate::plan::waits::Waits;
use crate::process::program::RunningProgram;
use crate::tracking::Outcomes;

/// State that the agent passes on to the agent that this process becomes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InheritedState {
    /// Text of the configuration to continue with, whatever is in the file by now. This is the text that was checked.
    pub configuration: Option<Text>,
    /// True if a reload was requested. False if the running configuration is kept.
    #[serde(default)]
    pub renewed: bool,
    /// Virtual routers that wait for their interface and have been logged.
    pub waiting: Vec<Waits>,
    /// The last state of which each notify program was notified.
    #[serde(default, rename = "told")]
    pub notified: BTreeMap<String, LastNotified>,
    /// The last outcomes of the checks. They hold until the checks have run again.
    #[serde(default)]
    pub checks: Outcomes,
    /// Virtual routers that have given up their role, or recently had, because something that they need did not stay on
    /// the host.
    #[serde(default)]
    pub rests: Vec<Rests>,
    /// The latest state and priority of each virtual router, by its name.
    #[serde(default)]
    pub latest: LatestStates,
    /// The FIFOs of notifications, in the order of [`Files::fifos`].
    #[serde(default)]
    pub fifos: Vec<FifoLeft>,
    /// Text of the configuration that ran before a reload, if it was another one.
    #[serde(default)]
    pub before: Option<Text>,
    /// Programs that still run, or that have ended unnoticed. They are children of this process, whatever it becomes.
    #[serde(default)]
    pub running: Vec<RunningProgram>,
    /// When the delay of takeovers after the start of the first agent ends.
    #[serde(default)]
    pub delayed_until: Instant,
    /// A line for the next agent to log. A line that is logged just before the process becomes another program may
    /// never be written.
    #[serde(default)]
    pub note: Option<String>,
    /// Numbers of the open files. They are set just before the process becomes the next agent.
    #[serde(default)]
    pub files: Numbers,
}

/// The state that the previous agent left cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the state that the previous agent left")]
pub struct UnreadableState(#[source] FileError);

/// Rest of one virtual router, which has given up its role or recently had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rests {
    pub name: String,
    pub family: Family,
    pub rest: RestLeft,
}

impl InheritedState {
    const NAME: &CStr = c"xvrrp-inherited";
    /// Environment variable that holds the descriptor number of the state, for the program that this process becomes or
    /// starts.
    pub(super) const INHERITED: &str = "XVRRP_INHERITED";
    /// Largest size of the state in bytes: room for the largest configuration with every byte escaped.
    const LONGEST: u64 = 1 << 30;

    /// Reads the state that the previous agent has left to this process. Returns `None` if there is none.
    ///
    /// If this version cannot parse the state, the agent starts without it and still keeps its roles.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn inherited() -> Result<Option<Self>, UnreadableState> {
        let Some(number) = std::env::var(Self::INHERITED).ok().and_then(|number| number.parse::<RawFd>().ok()) else {
            return Ok(None);
        };
        let path = PathBuf::from(format!("/proc/self/fd/{number}"));
        // In a child of this process the number is unused or belongs to another file.
        let target = std::fs::read_link(&path).unwrap_or_default();
        if !target.to_string_lossy().contains(&*Self::NAME.to_string_lossy()) {
            return Ok(None);
        }
        let text = files::read(&path, Self::LONGEST).map_err(UnreadableState)?;
        // Without this, every agent would leave one more open file to the next.
        let _ = close(number);
        Ok(Some(serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::warn!(
                "the state that the previous agent left is of another version ({error}): continuing without it"
            );
            Self::default()
        })))
    }

    /// Returns what is left of a virtual router's rest.
    pub fn rest(&self, name: &str, family: Family) -> RestLeft {
        let rests = self.rests.iter().find(|rests| rests.name == name && rests.family == family);
        rests.map(|rests| rests.rest.clone()).unwrap_or_default()
    }

    /// Returns the open files that were left to this process. Later calls return none.
    pub fn take_files(&mut self) -> Files {
        std::mem::take(&mut self.files).open()
    }

    /// Writes the state to a file in memory (memfd_create(2)).
    pub(super) fn write(&self) -> io::Result<OwnedFd> {
        let file = memfd_create(Self::NAME, MFdFlags::MFD_CLOEXEC)?;
        let mut file = File::from(file);
        file.write_all(&serde_json::to_vec(self)?)?;
        Ok(file.into())
    }
}
