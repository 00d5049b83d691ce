//! What an agent leaves to the one that it becomes.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use anyhow::Context;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::close;
use serde::{Deserialize, Serialize};
use xvrrp_common::units::Family;
use xvrrp_config::{Text, files};

use super::files::{Files, Numbers};
use crate::addresses::RestLeft;
use crate::notify::programs::LastNotified;
use crate::plan::waits::Waits;
use crate::process::program::RunningProgram;
use crate::tracking::Outcomes;

/// What the agent tells the one that it becomes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InheritedState {
    /// The text to go on with, whatever stands in the file by now: it is the one that has been checked.
    pub configuration: Option<Text>,
    /// Somebody has asked for it; otherwise it is the one that runs.
    #[serde(default)]
    pub renewed: bool,
    /// The virtual routers that wait, of which has been told.
    pub waiting: Vec<Waits>,
    /// What notify programs were run for last, from
    /// [`Notifier::last_notified`](crate::notify::programs::Notifier::last_notified).
    #[serde(default)]
    pub told: BTreeMap<String, LastNotified>,
    /// What the checks said last: until they have been looked at again, it holds.
    #[serde(default)]
    pub checks: Outcomes,
    /// The virtual routers whose role is given up for want of what should be on the host, or lately was.
    #[serde(default)]
    pub rests: Vec<Rests>,
    /// The programs that still run, or whose end nobody has seen: children of this process, whatever it becomes.
    #[serde(default)]
    pub running: Vec<RunningProgram>,
    /// For the log: what is logged just before the process becomes another program may never be written.
    #[serde(default)]
    pub note: Option<String>,
    /// Set when the process becomes that agent.
    #[serde(default)]
    pub files: Numbers,
}

/// That a virtual router leaves its role alone, or lately did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rests {
    pub name: String,
    pub family: Family,
    pub rest: RestLeft,
}

impl InheritedState {
    const NAME: &CStr = c"xvrrp-bequest";
    /// Where a program finds its number that this process becomes, or that it starts.
    pub(super) const INHERITED: &str = "XVRRP_BEQUEST";
    /// Room for the largest configuration, each byte of it escaped.
    const LONGEST: u64 = 1 << 30;

    /// Reads what the agent before has left to this process. If this version cannot read it, the agent starts without
    /// it and still keeps its roles.
    pub fn inherited() -> anyhow::Result<Option<Self>> {
        let Some(number) = std::env::var(Self::INHERITED).ok().and_then(|number| number.parse::<RawFd>().ok()) else {
            return Ok(None);
        };
        let path = PathBuf::from(format!("/proc/self/fd/{number}"));
        // In a child of ours the number is nobody's, or another's.
        let target = std::fs::read_link(&path).unwrap_or_default();
        if !target.to_string_lossy().contains(&*Self::NAME.to_string_lossy()) {
            return Ok(None);
        }
        let text = files::read(&path, Self::LONGEST).context("cannot read what the agent before has left")?;
        // Else every agent would leave one more to the next.
        let _ = close(number);
        Ok(Some(serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::warn!("what the agent before has left is of another version ({error}): going on without");
            Self::default()
        })))
    }

    /// What was left of a virtual router's rest.
    pub fn rest(&self, name: &str, family: Family) -> RestLeft {
        let rests = self.rests.iter().find(|rests| rests.name == name && rests.family == family);
        rests.map(|rests| rests.rest.clone()).unwrap_or_default()
    }

    /// The open files that were left to this process; to be had once.
    pub fn take_files(&mut self) -> Files {
        std::mem::take(&mut self.files).open()
    }

    pub(super) fn write(&self) -> io::Result<OwnedFd> {
        let file = memfd_create(Self::NAME, MFdFlags::MFD_CLOEXEC)?;
        let mut file = File::from(file);
        file.write_all(&serde_json::to_vec(self)?)?;
        Ok(file.into())
    }
}
