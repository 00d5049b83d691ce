//! Looks at what a check is about, once.

use std::fs;
use std::future::pending;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::unistd::User;
use tokio::process::Command;

use super::outcome::Observation;
use super::process::{Processes, look_at_pid_file};
use crate::config::{CheckConfig, CheckKind};
use crate::net::{Echo, LinkMonitor, interface_is_running};
use crate::program::{self, Ending, Orphan};

/// As much of a file as can hold a number.
const MAX_NUMBER: u64 = 127;

/// See the module.
#[derive(Debug)]
pub(super) enum Eye {
    Script { command: Vec<String>, user: Option<String>, timeout: Duration },
    Interface { name: String, monitor: Option<LinkMonitor> },
    Process(Processes),
    PidFile(PathBuf),
    File(PathBuf),
    Ping { target: IpAddr, echo: Option<Echo>, timeout: Duration },
}

impl Eye {
    pub(super) fn open(check: &CheckConfig) -> Self {
        let timeout = check.timeout.into();
        match &check.kind {
            CheckKind::Script { command, user } => {
                Self::Script { command: command.clone(), user: user.clone(), timeout }
            }
            // Without notifications, the interval is all there is.
            CheckKind::Interface(name) => Self::Interface { name: name.clone(), monitor: LinkMonitor::open().ok() },
            CheckKind::Process(name) => Self::Process(Processes::new(name)),
            CheckKind::PidFile(path) => Self::PidFile(path.clone()),
            CheckKind::File(path) => Self::File(path.clone()),
            CheckKind::Ping(target) => Self::Ping { target: *target, echo: None, timeout },
        }
    }

    /// Returns when there may be something new before the interval is over.
    pub(super) async fn change(&mut self) {
        match self {
            Self::Interface { monitor: Some(links), .. } => {
                if links.next().await.is_none()
                    && let Self::Interface { monitor, .. } = self
                {
                    *monitor = None;
                }
            }
            Self::Process(processes) => processes.change().await,
            _ => pending().await,
        }
    }

    pub(super) async fn look(&mut self) -> Observation {
        match self {
            Self::Script { command, user, timeout } => run(command, user.as_deref(), *timeout).await,
            Self::Interface { name, .. } => match interface_is_running(name) {
                Ok(true) => Observation::Passed,
                Ok(false) => Observation::Failed(format!("{name} is down or has no carrier")),
                Err(error) => Observation::Failed(format!("{name}: {error}")),
            },
            Self::Process(processes) => processes.look(),
            Self::PidFile(path) => look_at_pid_file(path),
            Self::File(path) => look_at_number(path),
            Self::Ping { target, echo, timeout } => ping(*target, echo, *timeout).await,
        }
    }
}

async fn run(command: &[String], user: Option<&str>, timeout: Duration) -> Observation {
    let Some((path, arguments)) = command.split_first() else {
        return Observation::Failed("there is no program".into());
    };
    let mut command = Command::new(path);
    // Many times a second, what a script prints would drown the log.
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(name) = user {
        match User::from_name(name) {
            Ok(Some(user)) => command.uid(user.uid.as_raw()).gid(user.gid.as_raw()),
            Ok(None) => return Observation::Failed(format!("this host has no user {name:?}")),
            Err(error) => return Observation::Failed(format!("cannot look up the user {name:?}: {error}")),
        };
    }
    match program::run(&mut command, timeout, Orphan::Killed).await {
        Ok(Ending::Exited(status)) if status.success() => Observation::Passed,
        Ok(Ending::Exited(status)) => Observation::Failed(status.to_string()),
        Ok(Ending::Killed) => Observation::Failed(format!("killed, for it ran for {timeout:?}")),
        Err(error) => Observation::Failed(format!("cannot run {path}: {error}")),
    }
}

/// As keepalived reads a track_file: a number at its beginning, as strtol(3) has it; a file that is not there, or has
/// none, holds 0. A number out of range changes nothing there, and is a failure here.
fn look_at_number(path: &Path) -> Observation {
    let mut text = String::new();
    // A file of anything else than text holds no number either.
    let _ = fs::File::open(path).and_then(|file| file.take(MAX_NUMBER).read_to_string(&mut text));
    match number(&text) {
        Some(number) => Observation::Value(number),
        None => Observation::Failed(format!("the number in {} is out of range", path.display())),
    }
}

/// `None` if it does not fit.
fn number(text: &str) -> Option<i32> {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(hexadecimal) => (16, hexadecimal),
        None if digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let magnitude = match digits.get(..end) {
        None | Some("") => 0,
        Some(digits) => i64::from_str_radix(digits, radix).ok()?,
    };
    i32::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// The socket is opened where there is none, and after a failure anew: routes may have changed.
async fn ping(target: IpAddr, open: &mut Option<Echo>, timeout: Duration) -> Observation {
    let answered = async {
        let mut echo = match open.take() {
            Some(echo) => echo,
            None => Echo::open(target)?,
        };
        echo.ask().await?;
        *open = Some(echo);
        std::io::Result::Ok(())
    };
    match tokio::time::timeout(timeout, answered).await {
        Ok(Ok(())) => Observation::Passed,
        Ok(Err(error)) => Observation::Failed(format!("{target}: {error}")),
        Err(_) => Observation::Failed(format!("{target} does not answer within {timeout:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_strtol_does() {
        for (text, expected) in [
            ("5\n", Some(5)),
            ("  -20 and more", Some(-20)),
            ("+7", Some(7)),
            ("0x10", Some(16)),
            ("010", Some(8)),
            ("0", Some(0)),
            ("08", Some(0)),
            ("", Some(0)),
            ("up", Some(0)),
            ("2147483647", Some(i32::MAX)),
            ("-2147483648", Some(i32::MIN)),
            ("2147483648", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(number(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_holds_0() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weight");
        assert_eq!(look_at_number(&path), Observation::Value(0));
        fs::write(&path, "-3\n").unwrap();
        assert_eq!(look_at_number(&path), Observation::Value(-3));
        assert_eq!(look_at_number(Path::new("/dev/zero")), Observation::Value(0));
    }

    #[tokio::test]
    async fn a_script_passes_with_status_0_only() {
        let outcome = async |words: &[&str]| {
            let command: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            run(&command, None, Duration::from_secs(20)).await
        };
        assert_eq!(outcome(&["/bin/sh", "-c", "exit 0"]).await, Observation::Passed);
        assert_eq!(outcome(&["/bin/sh", "-c", "exit 2"]).await, Observation::Failed("exit status: 2".into()));
        assert!(matches!(outcome(&["/bin/sh", "-c", "kill -9 $$"]).await, Observation::Failed(_)));
        assert!(matches!(outcome(&["/there/is/none"]).await, Observation::Failed(_)));
    }
}
