//! Reload: the agent becomes a new one in the same process, which goes on with its roles under their leases.
//!
//! What the new one finds is what it would find after a crash, only at once. So a reload takes a new configuration and a new
//! version of the program alike, and there is one way to start.
//!
//! The agent reloads by itself when its interfaces have changed (`service/interface_watch.rs`), and then goes
//! on with the configuration that it has.

use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::execve;
use tokio::sync::Mutex;
use xvrrp_config::{Config, Text};

use super::{Files, InheritedState};
use crate::control::Singleton;

/// How long a check may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(3);

/// How this process was started, and so will be again.
#[derive(Debug)]
pub struct Reload {
    program: PathBuf,
    /// With its own name.
    arguments: Vec<CString>,
    /// What it runs with.
    file: PathBuf,
    control: PathBuf,
    /// One check after the other.
    checking: Mutex<()>,
}

impl Reload {
    /// To be called early: later the program's file may have been replaced, and its name not be found any more.
    pub fn new(config: &Config) -> io::Result<Self> {
        // A path is looked up anew, so that a link may lead to another version by then.
        let program = match std::env::args_os().next().map(PathBuf::from) {
            Some(path) if path.components().count() > 1 => path,
            _ => std::env::current_exe()?,
        };
        // Whom it replaced has gone long since.
        let arguments = std::env::args_os().filter(|argument| argument != "--replace");
        Ok(Self {
            program,
            arguments: arguments.map(|argument| CString::new(argument.into_vec())).collect::<Result<_, _>>()?,
            file: config.file.clone(),
            control: config.agent.control.clone(),
            checking: Mutex::default(),
        })
    }

    /// The configuration's file as it is now.
    pub async fn read_configuration(&self) -> Result<Text, String> {
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || xvrrp_config::read_text(&file));
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(read)) => read.map_err(|error| error.to_string()),
            _ => Err(format!("{}: could not be read within {PATIENCE:?}", self.file.display())),
        }
    }

    /// Has the program that will run check the configuration of `bequest`, in our network namespace, and what we shall
    /// leave. What it says against either is the error.
    pub async fn check(&self, bequest: &InheritedState) -> Result<(), String> {
        let _one = self.checking.lock().await;
        let failed = |what: &dyn std::fmt::Display| format!("{} check: {what}", self.program.display());
        let mut check = tokio::process::Command::new(&self.program);
        check.arg("check").arg("--from").arg(&self.control).arg(&self.file);
        check.stdout(Stdio::null()).kill_on_drop(true);
        check.stdin(bequest.write().map_err(|error| failed(&error))?).env(InheritedState::INHERITED, "0");
        match tokio::time::timeout(PATIENCE, check.output()).await {
            Err(_) => Err(failed(&format!("no answer within {PATIENCE:?}"))),
            Ok(Err(error)) => Err(failed(&error)),
            Ok(Ok(output)) if output.status.success() => Ok(()),
            Ok(Ok(output)) => match String::from_utf8_lossy(&output.stderr).trim() {
                "" => Err(failed(&output.status)),
                complaint => Err(complaint.to_owned()),
            },
        }
    }

    /// Becomes the new agent, which holds the singleton from the first moment on.
    pub fn become_successor(
        &self,
        singleton: &Singleton,
        mut bequest: InheritedState,
        files: &Files,
    ) -> io::Result<Infallible> {
        let program = CString::new(self.program.clone().into_os_string().into_vec())?;
        bequest.files = files.bequeath()?;
        let bequest = bequest.write()?;
        fcntl(&bequest, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let ours = [singleton.bequeath()?, (InheritedState::INHERITED, bequest.as_raw_fd().to_string())];
        let mut environment = Vec::new();
        for (known, value) in std::env::vars_os().filter(|(known, _)| ours.iter().all(|(name, _)| known != name)) {
            environment.push(CString::new([known.into_vec(), value.into_vec()].join(&b'='))?);
        }
        for (name, value) in ours {
            environment.push(CString::new(format!("{name}={value}"))?);
        }
        Ok(execve(&program, &self.arguments, &environment)?)
    }
}
