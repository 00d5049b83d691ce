//! Probes the target of a check: each look finds it up, down, or with a number.

use std::future::pending;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use xvrrp_config::files::{self, Fault};
use xvrrp_config::{CheckConfig, CheckKind, InitialNumber, Program};
use xvrrp_net::{Echo, LinkMonitor, LinkState, interface_link};

use super::initial_number;
use super::outcome::Observation;
use super::process::{Processes, look_at_pid_file};
use crate::process::blocking_call::BlockingCall;
use crate::process::command;
use crate::process::program::{self, Children, Orphan, ProgramEnd, Purpose, UserLookup};

/// How many bytes of a file are searched for a number.
const MAX_NUMBER: u64 = 127;

/// A program whose exit status is the result of the check.
#[derive(Debug)]
pub(super) struct Script {
    program: Program,
    users: UserLookup,
    timeout: Duration,
    children: Children,
}

/// What a check looks at, with what it needs to look again.
#[derive(Debug)]
pub(super) enum Probe {
    Script(Script),
    Interface {
        name: String,
        monitor: Option<LinkMonitor>,
    },
    Process(Processes),
    PidFile {
        path: PathBuf,
        read: BlockingCall<Observation>,
        timeout: Duration,
    },
    /// `initial` is written before the first look.
    File {
        path: PathBuf,
        initial: Option<InitialNumber>,
        read: BlockingCall<Observation>,
        timeout: Duration,
    },
    Ping {
        targets: Vec<(IpAddr, Option<Echo>)>,
        timeout: Duration,
    },
}

impl Probe {
    pub(super) fn open(check: &CheckConfig, children: Children) -> Self {
        let timeout = check.timeout.into();
        match &check.kind {
            CheckKind::Script(program) => {
                let (program, users) = (program.clone(), UserLookup::default());
                Self::Script(Script { program, users, timeout, children })
            }
            // If the kernel's notifications are not available, the check looks once per interval only.
            CheckKind::Interface(name) => Self::Interface { name: name.clone(), monitor: LinkMonitor::open().ok() },
            CheckKind::Process(check) => Self::Process(Processes::new(check)),
            CheckKind::PidFile(path) => Self::PidFile { path: path.clone(), read: BlockingCall::default(), timeout },
            CheckKind::File { path, initial } => {
                Self::File { path: path.clone(), initial: *initial, read: BlockingCall::default(), timeout }
            }
            CheckKind::Ping(targets) => {
                Self::Ping { targets: targets.iter().map(|target| (*target, None)).collect(), timeout }
            }
        }
    }

    /// Returns when the kernel reports a change that the next look may find. Otherwise it never returns.
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

    /// Looks at the target once.
    pub(super) async fn look(&mut self) -> Observation {
        match self {
            Self::Script(script) => script.run().await,
            Self::Interface { name, .. } => match interface_link(name) {
                Ok(LinkState::Running) => Observation::Passed,
                Ok(_) => Observation::Failed(format!("{name} is down or has no carrier")),
                Err(error) => Observation::Failed(format!("{name}: {error}")),
            },
            Self::Process(processes) => processes.look().await,
            Self::PidFile { path, read, timeout } => look_at_file(look_at_pid_file, path, read, *timeout).await,
            Self::File { path, initial, read, timeout } => {
                let initial = initial.take();
                let look = move |path: &Path| {
                    initialize(path, initial);
                    look_at_number(path)
                };
                look_at_file(look, path, read, *timeout).await
            }
            Self::Ping { targets, timeout } => ping_any(targets, *timeout).await,
        }
    }
}

/// Looks at a file; its file system may not answer.
async fn look_at_file(
    look: impl FnOnce(&Path) -> Observation + Send + 'static,
    path: &Path,
    read: &mut BlockingCall<Observation>,
    timeout: Duration,
) -> Observation {
    let owned = path.to_owned();
    let late = || Observation::Failed(format!("{} could not be read within {timeout:?}", path.display()));
    read.run(timeout, move || look(&owned)).await.unwrap_or_else(late)
}

impl Script {
    async fn run(&mut self) -> Observation {
        let Self { program: Program { command: line, user }, users, timeout, children } = self;
        let timeout = *timeout;
        let mut command = command::command(line, &[]);
        // A script may run many times a second: its output would flood the log.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(user) = user
            && let Err(reason) = users.apply(user, &mut command, timeout).await
        {
            return Observation::Failed(reason);
        }
        match program::run(&mut command, timeout, Orphan::Killed, children, Purpose::default()).await {
            Ok(ProgramEnd::Exited(status)) if status.success() => Observation::Passed,
            Ok(ProgramEnd::Exited(status)) => Observation::Failed(status.to_string()),
            Ok(ProgramEnd::Killed) => Observation::Failed(format!("killed because it ran for {timeout:?}")),
            Err(error) => Observation::Failed(format!("cannot run {line}: {error}")),
        }
    }
}

/// Writes the number that a file holds from the start. As in keepalived, a failure is no reason not to start.
fn initialize(path: &Path, initial: Option<InitialNumber>) {
    let Some(initial) = initial else { return };
    if let Err(error) = initial_number::initialize(path, initial) {
        tracing::error!("cannot write the initial value to {}: {error}", path.display());
    }
}

/// Reads the number at the beginning of a file, as keepalived reads a track_file: by the rules of strtol(3), and 0 if
/// there is no file or no number. keepalived ignores a number that is out of range; here it is a failure.
fn look_at_number(path: &Path) -> Observation {
    let text = match files::read_beginning(path, MAX_NUMBER) {
        Ok(text) => text,
        Err(error) if matches!(error.fault, Fault::NotRegular(_)) => return Observation::Failed(error.to_string()),
        Err(_) => Vec::new(),
    };
    // A file that is not text holds no number.
    let text = String::from_utf8_lossy(&text);
    match number(&text) {
        Some(number) => Observation::Value(number),
        None => Observation::Failed(format!("the number in {} is out of range", path.display())),
    }
}

/// Parses the number at the beginning of `text` as strtol(3) does; `None` if it is out of range.
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

/// Sends echo requests to all targets, and waits for the first answer.
async fn ping_any(targets: &mut [(IpAddr, Option<Echo>)], timeout: Duration) -> Observation {
    let mut looks: FuturesUnordered<_> =
        targets.iter_mut().map(|(target, echo)| ping(*target, echo, timeout)).collect();
    let mut failures = Vec::new();
    while let Some(observation) = looks.next().await {
        match observation {
            Observation::Failed(failure) => failures.push(failure),
            answered => return answered,
        }
    }
    failures.sort();
    Observation::Failed(failures.join("; "))
}

/// Sends an echo request and waits for the answer. After a failure, the next call opens the socket again, because
/// routes may have changed.
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
    use std::fs;

    use xvrrp_config::CommandLine;

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
    fn a_missing_file_holds_0_and_a_device_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weight");
        assert_eq!(look_at_number(&path), Observation::Value(0));
        fs::write(&path, "-3\n").unwrap();
        assert_eq!(look_at_number(&path), Observation::Value(-3));
        let Observation::Failed(reason) = look_at_number(Path::new("/dev/zero")) else { panic!("a device was read") };
        assert!(reason.contains("/dev/zero: it is a device"), "{reason}");
    }

    #[tokio::test]
    async fn only_exit_status_0_passes() {
        let outcome = async |words: &[&str]| {
            let command = CommandLine::Words(words.iter().map(|word| (*word).to_owned()).collect());
            let (program, users) = (Program { command, user: None }, UserLookup::default());
            let (timeout, children) = (Duration::from_secs(20), Children::default());
            Script { program, users, timeout, children }.run().await
        };
        assert_eq!(outcome(&["/bin/sh", "-c", "exit 0"]).await, Observation::Passed);
        assert_eq!(outcome(&["/bin/sh", "-c", "exit 2"]).await, Observation::Failed("exit status: 2".into()));
        assert!(matches!(outcome(&["/bin/sh", "-c", "kill -9 $$"]).await, Observation::Failed(_)));
        assert!(matches!(outcome(&["/there/is/none"]).await, Observation::Failed(_)));
    }
}
