//! Checks whether processes are alive, found by their name or command line, or by the id in a file.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::future::pending;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use xvrrp_common::units::Interval;
use xvrrp_config::{ArgumentRule, ProcessCheck, ProcessMatch, files};
use xvrrp_net::{ProcessEvent, ProcessEvents};

use super::outcome::Observation;
use crate::process::blocking_call::BlockingCall;

/// How many bytes of a pid file are searched for the id. Some pid files have more lines, about other properties of the
/// process.
const MAX_PID_FILE: u64 = 4096;
/// How long a look into /proc may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Shortest time between two complete readings of /proc because the kernel has dropped events. A program that starts
/// processes without end makes it do so again and again.
const LISTING_PAUSE: Duration = Duration::from_millis(250);

/// The processes that a check counts.
#[derive(Debug)]
pub(super) struct Processes {
    check: ProcessCheck,
    /// The kernel's process connector; `None` where the agent has no access to it.
    events: Option<ProcessEvents>,
    /// Whether [`Self::pids`] is complete, and has been kept up to date by events since.
    up_to_date: bool,
    pids: BTreeSet<u32>,
    /// What is to be read from /proc. It stays until it has been read.
    question: Option<Question>,
    /// Reads from /proc: a process that the kernel holds up may never let its command line be read.
    asking: BlockingCall<BTreeSet<u32>>,
    /// When /proc was last read completely.
    listed_at: Option<Instant>,
    /// When to read /proc completely because the kernel has dropped events.
    list_due: Option<Instant>,
    /// Whether their number is accepted, without and with the delays. `None` before the first look.
    accepted: Option<bool>,
    passes: Option<bool>,
    /// When [`Self::passes`] follows [`Self::accepted`].
    follows_at: Option<Instant>,
}

/// Processes to examine in /proc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// All of them.
    All,
    /// The process with this id, which runs another program or has another name.
    One(u32),
}

/// What has changed the number of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Fork,
    /// A process runs another program, or has another name.
    Change,
    Exit,
    /// Any of these: the number was found to be another one.
    Unknown,
}

impl Processes {
    pub(super) fn new(check: &ProcessCheck) -> Self {
        let events = ProcessEvents::open();
        if let Err(error) = &events {
            tracing::debug!("the process connector is not available ({error}): polling /proc");
        }
        Self::with_events(check, events.ok())
    }

    fn with_events(check: &ProcessCheck, events: Option<ProcessEvents>) -> Self {
        Self {
            check: check.clone(),
            events,
            up_to_date: false,
            pids: BTreeSet::new(),
            question: None,
            asking: BlockingCall::default(),
            listed_at: None,
            list_due: None,
            accepted: None,
            passes: None,
            follows_at: None,
        }
    }

    /// Passes if there are as many of the processes as there must be, not counting zombies.
    pub(super) async fn look(&mut self) -> Observation {
        if !self.up_to_date {
            self.question = Some(Question::All);
        }
        self.answer().await;
        if self.follows_at.is_some_and(|at| at <= Instant::now()) {
            self.follow();
        }
        if self.passes == Some(true) { Observation::Passed } else { Observation::Failed(self.complaint()) }
    }

    /// Returns when the next [`Self::look`] may have another result.
    pub(super) async fn change(&mut self) {
        let before = self.passes;
        loop {
            self.answer().await;
            if self.passes != before {
                return;
            }
            let event = tokio::select! {
                event = next(&mut self.events) => event,
                () = until(self.list_due) => {
                    self.question = Some(Question::All);
                    continue;
                }
                () = until(self.follows_at) => {
                    self.follow();
                    continue;
                }
            };
            match event {
                Ok(ProcessEvent::Forked { parent, child }) => {
                    if self.pids.contains(&parent) {
                        self.pids.insert(child);
                        self.count(Cause::Fork);
                    }
                }
                Ok(ProcessEvent::Changed(pid)) => self.question = Some(Question::One(pid)),
                Ok(ProcessEvent::Ended(pid)) => {
                    self.pids.remove(&pid);
                    self.count(Cause::Exit);
                }
                // The kernel reports every change from now on, so /proc is read completely for the last time.
                Ok(ProcessEvent::Listening) => {
                    self.question = Some(Question::All);
                    self.up_to_date = true;
                }
                Ok(ProcessEvent::Missed) => self.missed(),
                Err(error) => {
                    tracing::warn!("the process connector fails ({error}): polling /proc instead");
                    self.events = None;
                    self.up_to_date = false;
                }
            }
        }
    }

    /// Schedules a complete reading of /proc, because the kernel has dropped events.
    fn missed(&mut self) {
        let earliest = self.listed_at.map_or_else(Instant::now, |at| at + LISTING_PAUSE);
        self.list_due.get_or_insert(earliest);
    }

    /// Reads from /proc what is to be read. What cannot be read in time stays as it was.
    ///
    /// This can be cancelled: the question stays.
    async fn answer(&mut self) {
        let Some(question) = self.question else { return };
        let processes = self.check.processes.clone();
        let read = move || {
            let counts = |pid: &u32| is_counted(*pid, &processes) && is_alive(*pid);
            match question {
                Question::All => all().filter(counts).collect(),
                Question::One(pid) => Some(pid).into_iter().filter(counts).collect(),
            }
        };
        let found = self.asking.run(PATIENCE, read).await;
        self.question = None;
        match (question, found) {
            (Question::All, Some(found)) => self.pids = found,
            (Question::One(_), Some(found)) if !found.is_empty() => self.pids.extend(found),
            (Question::One(pid), Some(_)) => _ = self.pids.remove(&pid),
            (_, None) => {}
        }
        if question == Question::All {
            (self.listed_at, self.list_due) = (Some(Instant::now()), None);
        }
        self.count(if question == Question::All { Cause::Unknown } else { Cause::Change });
    }

    /// Compares the number of processes with the limits. As in keepalived, a change of what follows from it waits if a
    /// fork or an exit has caused it, but not if a program was started or changed its name.
    fn count(&mut self, cause: Cause) {
        let accepted = self.check.accepts(self.pids.len());
        if self.accepted.replace(accepted) == Some(accepted) {
            return;
        }
        let ProcessCheck { fork_delay, terminate_delay, .. } = self.check;
        let delay = match cause {
            _ if self.passes.is_none() => Interval::ZERO,
            Cause::Fork => fork_delay,
            Cause::Exit => terminate_delay,
            Cause::Change => Interval::ZERO,
            Cause::Unknown if accepted => fork_delay,
            Cause::Unknown => terminate_delay,
        };
        if delay == Interval::ZERO || self.passes == Some(accepted) {
            self.follow();
        } else {
            self.follows_at = Some(Instant::now() + Duration::from(delay));
        }
    }

    fn follow(&mut self) {
        self.passes = self.accepted;
        self.follows_at = None;
    }

    fn complaint(&self) -> String {
        let ProcessCheck { processes, quorum, quorum_max, .. } = &self.check;
        let name = match processes {
            ProcessMatch::Name(name) => name,
            ProcessMatch::Command { program, .. } => program,
        };
        match (self.pids.len(), quorum_max) {
            (count, _) if self.check.accepts(count) => {
                format!("processes {name}: there are {count}, but not for long yet")
            }
            (0, _) => format!("there is no process {name}"),
            (count, Some(max)) if count > usize::from(*max) => {
                format!("processes {name}: there are {count}, more than {max}")
            }
            (count, _) => format!("processes {name}: there are {count}, fewer than {quorum}"),
        }
    }
}

/// Waits for the next event, or forever if there is no subscription.
async fn next(events: &mut Option<ProcessEvents>) -> io::Result<ProcessEvent> {
    match events {
        Some(events) => events.next().await,
        None => pending().await,
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => pending().await,
    }
}

/// Whether a process is one of those that count, as far as its name or its command line says.
fn is_counted(pid: u32, processes: &ProcessMatch) -> bool {
    match processes {
        ProcessMatch::Name(name) => comm(pid).is_some_and(|comm| comm == *name),
        ProcessMatch::Command { program, arguments, rule } => {
            let expected = 1 + [program].into_iter().chain(arguments).map(|word| word.len() + 1).sum::<usize>();
            command_line(pid, expected).is_some_and(|found| fits(&found, program, arguments, *rule))
        }
    }
}

/// Whether a command line, in which each word ends with a NUL, is that of a program with these arguments.
fn fits(found: &[u8], program: &str, arguments: &[String], rule: ArgumentRule) -> bool {
    let Some(rest) = found.strip_prefix(program.as_bytes()) else { return false };
    // The command line of a process that has changed it may end without a NUL.
    let rest = match rest {
        [] => rest,
        [0, rest @ ..] => rest,
        _ => return false,
    };
    let expected: Vec<u8> = arguments.iter().flat_map(|argument| argument.bytes().chain([0])).collect();
    match rule {
        ArgumentRule::Any => true,
        ArgumentRule::Exact => rest == expected,
        ArgumentRule::Leading => rest.starts_with(&expected),
        ArgumentRule::Prefix => rest.starts_with(expected.strip_suffix(&[0]).unwrap_or(&expected)),
    }
}

/// Passes if the process whose id is in the file is alive.
pub(super) fn look_at_pid_file(path: &Path) -> Observation {
    let shown = path.display();
    let pid = match files::read_beginning(path, MAX_PID_FILE) {
        Ok(text) => String::from_utf8_lossy(&text).split_whitespace().next().and_then(|word| word.parse().ok()),
        Err(error) => return Observation::Failed(error.to_string()),
    };
    match pid {
        Some(pid) if is_alive(pid) => Observation::Passed,
        Some(pid) => Observation::Failed(format!("there is no process {pid}, the id in {shown}")),
        None => Observation::Failed(format!("there is no process id in {shown}")),
    }
}

/// Returns the ids of all processes.
fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Returns the name of a process, which the kernel limits to 15 bytes.
fn comm(pid: u32) -> Option<String> {
    let comm = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&comm).trim_end_matches('\n').to_owned())
}

/// Returns the command line of a process, up to `limit` bytes: the kernel may have to fetch it from swap. That of a
/// zombie is empty.
fn command_line(pid: u32, limit: usize) -> Option<Vec<u8>> {
    let mut found = Vec::new();
    let file = File::open(format!("/proc/{pid}/cmdline")).ok()?;
    file.take(limit.try_into().unwrap_or(u64::MAX)).read_to_end(&mut found).ok()?;
    Some(found)
}

/// Whether a process exists and is no zombie. In proc(5), the state follows the name, which may contain any character.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat);
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id();
        assert!(is_alive(pid));
        child.kill().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while is_alive(pid) {
            assert!(Instant::now() < deadline, "a zombie counts as alive");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(comm(pid).is_some(), "it still has a name");
        child.wait().unwrap();
        assert!(!is_alive(pid));
    }

    #[test]
    fn a_pid_file_without_a_living_process_fails() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        assert!(matches!(look_at_pid_file(&path), Observation::Failed(_)));
        for (text, passes) in [
            (format!("{}\n", std::process::id()), true),
            (std::process::id().to_string(), true),
            ("0".into(), false),
            ("no number".into(), false),
            (String::new(), false),
            ("-1".into(), false),
        ] {
            fs::write(&path, &text).unwrap();
            assert_eq!(look_at_pid_file(&path) == Observation::Passed, passes, "{text:?}");
        }
    }

    #[test]
    fn the_arguments_of_a_command_line_are_compared_by_the_rule() {
        use ArgumentRule::{Any, Exact, Leading, Prefix};
        for (found, arguments, rules) in [
            ("/bin/a\0", &[][..], &[Any, Exact, Leading, Prefix][..]),
            ("/bin/a", &[], &[Any, Exact, Leading, Prefix]),
            ("/bin/ab\0", &[], &[]),
            ("a\0", &[], &[]),
            ("", &[], &[]),
            ("/bin/a\0-x\0", &[], &[Any, Leading, Prefix]),
            ("/bin/a\0-x\0", &["-x"], &[Any, Exact, Leading, Prefix]),
            ("/bin/a\0-x\0-y\0", &["-x"], &[Any, Leading, Prefix]),
            ("/bin/a\0-xy\0", &["-x"], &[Any, Prefix]),
            ("/bin/a\0-x\0-yz\0", &["-x", "-y"], &[Any, Prefix]),
            ("/bin/a\0-xz\0-y\0", &["-x", "-y"], &[Any]),
            ("/bin/a\0", &["-x"], &[Any]),
        ] {
            let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
            for rule in [Any, Exact, Leading, Prefix] {
                let expected = rules.contains(&rule);
                assert_eq!(fits(found.as_bytes(), "/bin/a", &arguments, rule), expected, "{found:?} {rule:?}");
            }
        }
    }

    fn of_name(name: &str) -> ProcessCheck {
        ProcessCheck {
            processes: ProcessMatch::Name(name.to_owned()),
            quorum: 1,
            quorum_max: None,
            fork_delay: Interval::ZERO,
            terminate_delay: Interval::ZERO,
        }
    }

    /// Returns the processes of a check of which there are `count`, without a subscription.
    fn counted(check: &ProcessCheck, count: u32) -> Processes {
        let mut processes = Processes { up_to_date: true, ..Processes::with_events(check, None) };
        processes.pids = (0..count).collect();
        processes.count(Cause::Unknown);
        processes
    }

    /// Sets the number of processes. Returns whether the check passes.
    async fn change(processes: &mut Processes, count: u32, cause: Cause) -> bool {
        processes.pids = (0..count).collect();
        processes.count(cause);
        processes.look().await == Observation::Passed
    }

    #[tokio::test]
    async fn the_check_passes_within_the_limits_only() {
        let check = ProcessCheck { quorum: 2, quorum_max: Some(3), ..of_name("x") };
        let mut processes = counted(&check, 1);
        for (count, passes) in [(1, false), (2, true), (3, true), (4, false), (3, true), (0, false)] {
            assert_eq!(change(&mut processes, count, Cause::Change).await, passes, "{count}");
        }
        let none = ProcessCheck { quorum: 0, quorum_max: Some(0), ..of_name("x") };
        assert_eq!(counted(&none, 0).look().await, Observation::Passed);
        assert!(matches!(counted(&none, 1).look().await, Observation::Failed(_)));
    }

    #[tokio::test]
    async fn a_change_by_a_fork_or_an_exit_waits_and_one_by_a_program_does_not() {
        let hour = Interval::from_millis(3_600_000);
        let check = ProcessCheck { quorum: 2, fork_delay: hour, terminate_delay: hour, ..of_name("x") };
        let mut processes = counted(&check, 2);
        assert!(processes.follows_at.is_none(), "the first look counts at once");
        assert!(change(&mut processes, 1, Cause::Exit).await);
        assert!(processes.follows_at.is_some());
        assert!(change(&mut processes, 2, Cause::Fork).await);
        assert!(processes.follows_at.is_none(), "everything is as before");
        assert!(!change(&mut processes, 1, Cause::Change).await);
        assert!(!change(&mut processes, 2, Cause::Fork).await);
        assert!(!change(&mut processes, 3, Cause::Change).await, "it goes on waiting");
        assert!(!change(&mut processes, 1, Cause::Exit).await);
        assert!(processes.follows_at.is_none(), "everything is as before");
        assert!(change(&mut processes, 2, Cause::Change).await);
    }

    #[tokio::test]
    async fn after_the_delay_the_change_counts() {
        let check = ProcessCheck { terminate_delay: Interval::from_millis(20), ..of_name("x") };
        let mut processes = counted(&check, 1);
        assert!(change(&mut processes, 0, Cause::Exit).await);
        processes.change().await;
        assert!(matches!(processes.look().await, Observation::Failed(_)));
    }

    #[tokio::test]
    async fn however_often_the_kernel_drops_events_all_processes_are_read_at_most_four_times_a_second() {
        let mut processes = counted(&of_name("x"), 0);
        let listed_at = tokio::time::Instant::now();
        processes.listed_at = Some(listed_at);
        processes.missed();
        processes.missed();
        assert_eq!(processes.list_due, Some(listed_at + LISTING_PAUSE), "it is made up for once");
        let waited = tokio::time::timeout(LISTING_PAUSE * 8, processes.change()).await;
        assert!(waited.is_err() && processes.list_due.is_none(), "{processes:?}");
        assert!(processes.listed_at >= Some(listed_at + LISTING_PAUSE));
    }

    /// Uses the process connector where it is available, otherwise polls.
    #[tokio::test]
    async fn a_process_that_starts_and_ends_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("xv{}", std::process::id());
        let program = directory.path().join(&name);
        fs::copy("/bin/sleep", &program).unwrap();
        let mut processes = Processes::new(&of_name(&name));
        assert!(matches!(processes.look().await, Observation::Failed(_)));
        let mut child = Command::new(&program).arg("1000").stdin(Stdio::null()).spawn().unwrap();
        until(&mut processes, true).await;
        child.kill().unwrap();
        child.wait().unwrap();
        until(&mut processes, false).await;
    }

    async fn until(processes: &mut Processes, there: bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while (processes.look().await == Observation::Passed) != there {
            assert!(Instant::now() < deadline, "not noticed");
            let _ = tokio::time::timeout(Duration::from_millis(20), processes.change()).await;
        }
    }
}
