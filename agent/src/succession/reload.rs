//! Reload: a new agent replaces the old one in the same process and continues its roles under their leases.
//!
//! The new agent finds the same state as after a crash, only sooner. A reload therefore handles a new configuration and
//! a new version of the program in the same way, and there is only one way to start.
//!
//! The agent also reloads when its interfaces have changed (`service/interface_watch.rs`). It then keeps the running
//! configuration.

use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::execve;
use tokio::sync::Mutex;
use xvrrp_config::{Config, Text};
use xvrrp_import::{Source, SourceError};

use super::{Files, InheritedState};
use crate::control::Singleton;

/// Longest time that a check may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why the agent does not reload. Displays as the answer to `xvrrp reload`, and in the log.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration file cannot be read.
    #[error(transparent)]
    Configuration(#[from] SourceError),
    /// The file system of the configuration file does not answer.
    #[error("{}: could not be read within {PATIENCE:?}", .0.display())]
    Unread(PathBuf),
    /// The check of the configuration found this.
    #[error("{0}")]
    Objection(String),
    /// The program that should check the configuration does not do so.
    #[error("{} check: {failure}", program.display())]
    Check {
        /// The installed program.
        program: PathBuf,
        /// What prevents the check.
        failure: CheckFailure,
    },
}

/// What prevents the check of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum CheckFailure {
    /// The program cannot be run, or the state cannot be passed to it.
    #[error(transparent)]
    Run(#[from] io::Error),
    /// The program does not end.
    #[error("no answer within {PATIENCE:?}")]
    Late,
    /// The program failed and did not say why.
    #[error("{0}")]
    Silent(ExitStatus),
}

/// How this process was started, which is also how it starts the next agent.
#[derive(Debug)]
pub struct Reload {
    program: PathBuf,
    /// Arguments, including the name of the program.
    arguments: Vec<CString>,
    /// Configuration file.
    source: Source,
    control: PathBuf,
    /// Held during a check, because only one check runs at a time.
    checking: Mutex<()>,
}

impl Reload {
    /// Records how this process was started.
    ///
    /// This has to be called early. Later the file of the program may have been replaced, so that its name can no
    /// longer be determined.
    ///
    /// # Errors
    /// The path of the program cannot be determined.
    pub fn new(config: &Config, source: Source) -> io::Result<Self> {
        // A path is resolved again at each reload, so a symbolic link may lead to another version by then.
        let program = match std::env::args_os().next().map(PathBuf::from) {
            Some(path) if path.components().count() > 1 => path,
            _ => std::env::current_exe()?,
        };
        // The agent that this process replaced is gone by then.
        let arguments = std::env::args_os().filter(|argument| argument != "--replace");
        Ok(Self {
            program,
            arguments: arguments.map(|argument| CString::new(argument.into_vec())).collect::<Result<_, _>>()?,
            source,
            control: config.agent.control.clone(),
            checking: Mutex::default(),
        })
    }

    /// Reads the configuration file as it is now, with the files that it includes.
    ///
    /// # Errors
    /// The file cannot be read, or not within 3 s.
    pub async fn read_configuration(&self) -> Result<Text, ReloadError> {
        let source = self.source.clone();
        let read = tokio::task::spawn_blocking(move || source.read());
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(read)) => Ok(read?),
            _ => Err(ReloadError::Unread(self.source.path.clone())),
        }
    }

    /// Makes the installed program check the configuration in `state`, and whether it can continue with what this agent
    /// leaves. The program runs in the network namespace of this agent.
    ///
    /// # Errors
    /// The program objects to something, cannot be run, or does not answer within 3 s.
    pub async fn check(&self, state: &InheritedState) -> Result<(), ReloadError> {
        let _one = self.checking.lock().await;
        let failed = |failure| ReloadError::Check { program: self.program.clone(), failure };
        let mut check = tokio::process::Command::new(&self.program);
        check.arg("check").arg("--from").arg(&self.control).arg(&self.source.path);
        check.stdout(Stdio::null()).kill_on_drop(true);
        check.stdin(state.write().map_err(|error| failed(error.into()))?).env(InheritedState::INHERITED, "0");
        match tokio::time::timeout(PATIENCE, check.output()).await {
            Err(_) => Err(failed(CheckFailure::Late)),
            Ok(Err(error)) => Err(failed(error.into())),
            Ok(Ok(output)) if output.status.success() => Ok(()),
            Ok(Ok(output)) => match String::from_utf8_lossy(&output.stderr).trim() {
                "" => Err(failed(CheckFailure::Silent(output.status))),
                objection => Err(ReloadError::Objection(without_name(objection))),
            },
        }
    }

    /// Replaces this process by the new agent, which holds the singleton without interruption. Returns only on failure.
    ///
    /// # Errors
    /// The state cannot be passed on, or the program cannot be executed.
    pub fn become_successor(
        &self,
        singleton: &Singleton,
        mut state: InheritedState,
        files: &Files,
    ) -> io::Result<Infallible> {
        let program = CString::new(self.program.clone().into_os_string().into_vec())?;
        state.files = files.keep_over_exec()?;
        let state = state.write()?;
        fcntl(&state, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let ours = [singleton.keep_over_exec()?, (InheritedState::INHERITED, state.as_raw_fd().to_string())];
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

/// Removes the name of the program from the beginning of each line, because it is added again where the
/// objection is printed.
fn without_name(objection: &str) -> String {
    let lines = objection.lines().map(|line| line.strip_prefix("xvrrp: ").unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}
