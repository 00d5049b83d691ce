//! Reload: the agent becomes a new one in the same process, which goes on with its roles under their leases.
//!
//! What the new one finds is what it would find after a crash, only at once. So a reload takes a new configuration and a new
//! version of the program alike, and there is one way to start.
//!
//! The agent reloads by itself when its interfaces have changed ([`interface_watch`](crate::interface_watch)), and then goes
//! on with the configuration that it has.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{close, dup, execve};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::addresses::RestLeft;
use crate::config::{self, Config, Text};
use crate::control::{self, Request, Singleton};
use crate::files;
use crate::program::Running;
use crate::tracking::Outcomes;

/// What the agent tells the one that it becomes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bequest {
    /// The text to go on with, whatever stands in the file by now: it is the one that has been checked.
    pub configuration: Option<Text>,
    /// Somebody has asked for it; otherwise it is the one that runs.
    #[serde(default)]
    pub renewed: bool,
    /// The virtual routers that wait, of which has been told.
    pub waiting: Vec<Waits>,
    /// The states that notify programs have been told last, see [`Notifier::told`](crate::notify::Notifier::told).
    #[serde(default)]
    pub told: BTreeMap<String, String>,
    /// What the checks said last: until they have been looked at again, it holds.
    #[serde(default)]
    pub checks: Outcomes,
    /// The virtual routers whose role is given up for want of what should be on the host, or lately was.
    #[serde(default)]
    pub rests: Vec<Rests>,
    /// The programs that still run, or whose end nobody has seen: children of this process, whatever it becomes.
    #[serde(default)]
    pub running: Vec<Running>,
    /// For the log: what is logged just before the process becomes another program may never be written.
    #[serde(default)]
    pub note: Option<String>,
    /// Set when the process becomes that agent.
    #[serde(default)]
    pub files: Numbers,
}

/// The descriptors of [`Files`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    control: Option<RawFd>,
    kept: Vec<RawFd>,
}

/// Open files that the agent leaves to the one that it becomes.
#[derive(Debug, Default)]
pub struct Files {
    /// The control socket, which listens all the time.
    pub control: Option<OwnedFd>,
    /// Sockets that stay open until the successor has its own: closing them takes an RCU grace period, or would have the
    /// interface leave multicast groups for a moment.
    kept: Vec<OwnedFd>,
}

impl Files {
    /// Keeps it open beyond its owner's end.
    pub fn keep(&mut self, file: &impl AsFd) -> io::Result<()> {
        self.kept.push(dup(file)?);
        Ok(())
    }

    /// Closes on a thread of its own what was only kept open, so that nobody waits for it.
    pub fn close_kept(self) {
        let close = move || drop(self.kept);
        if let Err(error) = thread::Builder::new().name("leftovers".to_owned()).spawn(close) {
            tracing::warn!("sockets of the agent before had to be closed at once: {error}");
        }
    }

    /// The numbers under which the program that this process becomes finds them.
    fn bequeath(&self) -> io::Result<Numbers> {
        for file in self.control.iter().chain(&self.kept) {
            fcntl(file, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        let number = |file: &OwnedFd| file.as_raw_fd();
        Ok(Numbers { control: self.control.as_ref().map(number), kept: self.kept.iter().map(number).collect() })
    }
}

impl Numbers {
    fn open(self) -> Files {
        let open = |number: RawFd| {
            // Not one that is somebody else's, should the numbers be wrong.
            let flags = FdFlag::from_bits_truncate(fcntl(borrow(number)?, FcntlArg::F_GETFD).ok()?);
            if number <= 2 || flags.contains(FdFlag::FD_CLOEXEC) {
                return None;
            }
            // SAFETY: it is open over execve(2), as nothing is that this process has opened itself: it was left to us.
            let file = unsafe { OwnedFd::from_raw_fd(number) };
            fcntl(&file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
            Some(file)
        };
        Files { control: self.control.and_then(open), kept: self.kept.into_iter().filter_map(open).collect() }
    }
}

fn borrow(number: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: only for a look at its flags, which fails if it is not open.
    (number >= 0).then(|| unsafe { BorrowedFd::borrow_raw(number) })
}

/// That a virtual router waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waits {
    pub name: String,
    pub family: String,
    pub reason: String,
    /// Seconds since 1970.
    pub since: f64,
}

/// That a virtual router leaves its role alone, or lately did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rests {
    pub name: String,
    pub family: String,
    pub rest: RestLeft,
}

impl Waits {
    /// Whether both are of the same virtual router.
    pub fn is_of(&self, other: &Self) -> bool {
        self.name == other.name && self.family == other.family
    }
}

impl Bequest {
    const NAME: &CStr = c"xvrrp-bequest";
    /// Where a program finds its number that this process becomes, or that it starts.
    const INHERITED: &str = "XVRRP_BEQUEST";
    /// Room for the largest configuration, each byte of it escaped.
    const LONGEST: u64 = 1 << 30;

    /// Reads what the agent before has left to this process. If this version cannot read it, the agent starts without it
    /// and still keeps its roles.
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
    pub fn rest(&self, name: &str, family: &str) -> RestLeft {
        let rests = self.rests.iter().find(|rests| rests.name == name && rests.family == family);
        rests.map(|rests| rests.rest.clone()).unwrap_or_default()
    }

    /// The open files that were left to this process; to be had once.
    pub fn take_files(&mut self) -> Files {
        std::mem::take(&mut self.files).open()
    }

    fn write(&self) -> io::Result<OwnedFd> {
        let file = memfd_create(Self::NAME, MFdFlags::MFD_CLOEXEC)?;
        let mut file = File::from(file);
        file.write_all(&serde_json::to_vec(self)?)?;
        Ok(file.into())
    }
}

/// How long a check may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the new agent may take until it answers, and how often it is asked.
const STARTED: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);

/// Has the agent at this control socket reload, and waits until the new one answers: the command.
pub fn ask(control: &Path) -> anyhow::Result<()> {
    let answer = control::ask(control, &Request::Reload)?;
    let Some(before) = answer["started"].as_f64() else {
        let error = answer["error"].as_str().unwrap_or("the agent is of another version");
        bail!("not reloaded, everything stays as it was:\n{error}");
    };
    let deadline = Instant::now() + STARTED;
    loop {
        match control::ask(control, &Request::Status) {
            Ok(status) if status["started"].as_f64() != Some(before) => return Ok(()),
            _ if Instant::now() < deadline => thread::sleep(LOOK),
            Ok(_) => bail!("the agent goes on as before; its log says why"),
            Err(error) => return Err(error).context("the new agent does not answer; its log says why"),
        }
    }
}

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
        let read = tokio::task::spawn_blocking(move || config::read_text(&file));
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(read)) => read.map_err(|error| error.to_string()),
            _ => Err(format!("{}: could not be read within {PATIENCE:?}", self.file.display())),
        }
    }

    /// Has the program that will run check the configuration of `bequest`, in our network namespace, and what we shall
    /// leave. What it says against either is the error.
    pub async fn check(&self, bequest: &Bequest) -> Result<(), String> {
        let _one = self.checking.lock().await;
        let failed = |what: &dyn std::fmt::Display| format!("{} check: {what}", self.program.display());
        let mut check = tokio::process::Command::new(&self.program);
        check.arg("check").arg("--from").arg(&self.control).arg(&self.file);
        check.stdout(Stdio::null()).kill_on_drop(true);
        check.stdin(bequest.write().map_err(|error| failed(&error))?).env(Bequest::INHERITED, "0");
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
        mut bequest: Bequest,
        files: &Files,
    ) -> io::Result<Infallible> {
        let program = CString::new(self.program.clone().into_os_string().into_vec())?;
        bequest.files = files.bequeath()?;
        let bequest = bequest.write()?;
        fcntl(&bequest, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let ours = [singleton.bequeath()?, (Bequest::INHERITED, bequest.as_raw_fd().to_string())];
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
