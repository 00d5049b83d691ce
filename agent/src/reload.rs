//! Reload: the agent becomes a new one in the same process, which goes on with its roles under their leases.
//!
//! What the new one finds is what it would find after a crash, only at once. So a reload takes a new configuration and a new
//! version of the program alike, and there is one way to start.

use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::unistd::execv;

use crate::config::{self, AgentConfig, Config};
use crate::control::{self, Request};

/// How long a check may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the new agent may take until it answers, and how often it is asked.
const STARTED: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);

/// Has the agent at this control socket reload, and waits until the new one answers: the command.
pub fn ask(control: &Path) -> anyhow::Result<()> {
    let started = |status: &serde_json::Value| status["started"].as_f64();
    let before = started(&control::ask(control, &Request::Status)?);
    let answer = control::ask(control, &Request::Reload)?;
    if let Some(error) = answer["error"].as_str() {
        bail!("not reloaded, everything stays as it was:\n{error}");
    }
    let deadline = Instant::now() + STARTED;
    loop {
        match control::ask(control, &Request::Status) {
            Ok(status) if started(&status) != before => return Ok(()),
            _ if Instant::now() < deadline => thread::sleep(LOOK),
            Ok(_) => bail!("the agent goes on as before; its log says why"),
            Err(error) => return Err(error).context("the new agent does not answer; its log says why"),
        }
    }
}

/// How this process was started.
#[derive(Clone, Debug)]
pub struct Reload {
    program: PathBuf,
    /// With its own name.
    arguments: Vec<CString>,
    /// What it runs with.
    file: PathBuf,
    agent: AgentConfig,
}

impl Reload {
    /// To be called early: later the program's file may have been replaced, and its name not be found any more.
    pub fn new(config: &Config) -> io::Result<Self> {
        let arguments = std::env::args_os().map(|argument| CString::new(argument.into_vec()));
        Ok(Self {
            program: std::env::current_exe()?,
            arguments: arguments.collect::<Result<_, _>>()?,
            file: config.file.clone(),
            agent: config.agent.clone(),
        })
    }

    /// Has the program that will run check the configuration that it will find, in our network namespace. What it says
    /// against it is the error.
    pub async fn check(&self) -> Result<(), String> {
        let mut check = tokio::process::Command::new(&self.program);
        check.arg("check").arg(&self.file).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let failed = |what: &dyn std::fmt::Display| format!("{} check: {what}", self.program.display());
        match tokio::time::timeout(PATIENCE, check.output()).await {
            Err(_) => Err(failed(&format!("no answer within {PATIENCE:?}"))),
            Ok(Err(error)) => Err(failed(&error)),
            Ok(Ok(output)) if output.status.success() => self.can_be_found_again(),
            Ok(Ok(output)) => match String::from_utf8_lossy(&output.stderr).trim() {
                "" => Err(failed(&output.status)),
                complaint => Err(complaint.to_owned()),
            },
        }
    }

    /// The new agent looks for what we leave where its configuration says.
    fn can_be_found_again(&self) -> Result<(), String> {
        // What only a newer version understands, it has checked.
        let Ok(config) = config::load(&self.file) else { return Ok(()) };
        let moved = [
            ("control", config.agent.control != self.agent.control),
            ("bpffs", config.agent.bpffs != self.agent.bpffs),
        ];
        match moved.iter().find(|(_, moved)| *moved) {
            Some((key, _)) => {
                let file = self.file.display();
                Err(format!("{file}: agent: {key}: cannot be changed by a reload; stop the agent and start it again"))
            }
            None => Ok(()),
        }
    }

    /// Becomes the new agent.
    pub fn become_successor(&self) -> io::Result<Infallible> {
        let program = CString::new(self.program.clone().into_os_string().into_vec())?;
        Ok(execv(&program, &self.arguments)?)
    }
}
