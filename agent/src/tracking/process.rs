//! Checks whether processes are alive, found by their name or command line, or by the id in a file.

use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use xvrrp_common::units::Interval;
use xvrrp_config::{ProcessCheck, ProcessMatch, files};
use xvrrp_net::{ProcessEvent, ProcessEvents};

use super::outcome::Observation;
use super::proc::{Found, Proc, ProcessFinder, Which};

/// How many bytes of a pid file are searched for the id. Some pid files have more lines, about other properties of the
/// process.
const MAX_PID_FILE: u64 = 4096;
/// Shortest time from one complete list of the processes to the next one, when events were lost. While processes start
/// faster than they can be counted, events are lost all the time.
const PAUSE: Duration = Duration::from_millis(250);

/// The processes that a check counts.
#[derive(Debug)]
pub(super) struct Processes {
    check: ProcessCheck,
    /// The kernel's process connector; `None` where the agent has no access to it.
    events: Option<ProcessEvents>,
    /// Whether events keep [`Self::pids`] up to date, so that a look need not list all processes.
    follows_events: bool,
    pids: BTreeSet<u32>,
    finder: ProcessFinder,
    /// A process that has to be read again, before later events are received.
    changed: Option<u32>,
    /// When all processes have to be listed.
    list_at: Option<Instant>,
    /// When they were listed.
    listed: Option<Instant>,
    /// Whether their number is accepted, without and with the delays. `None` before the first look.
    accepted: Option<bool>,
    passes: Option<bool>,
    /// When [`Self::passes`] follows [`Self::accepted`].
    follows_at: Option<Instant>,
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
            follows_events: false,
            pids: BTreeSet::new(),
            finder: ProcessFinder::default(),
            changed: None,
            list_at: None,
            listed: None,
            accepted: None,
            passes: None,
            follows_at: None,
        }
    }

    /// Passes if there are as many of the processes as there must be, not counting zombies.
    pub(super) async fn look(&mut self) -> Observation {
        if !self.follows_events {
            self.list_at = Some(Instant::now());
        }
        let is_read = self.read().await;
        if self.follows_at.is_some_and(|at| at <= Instant::now()) {
            self.follow();
        }
        match self.passes {
            _ if !is_read => Observation::Failed("the command lines of the processes cannot be read".to_owned()),
            Some(true) => Observation::Passed,
            _ => Observation::Failed(self.complaint()),
        }
    }

    /// Returns when the next [`Self::look`] may have another result.
    pub(super) async fn change(&mut self) {
        let before = self.passes;
        while self.passes == before {
            if self.has_to_read() {
                if !self.read().await {
                    // The next look tries again.
                    pending::<()>().await;
                }
                continue;
            }
            tokio::select! {
                event = next(&mut self.events) => match event {
                    Ok(event) => self.note(event),
                    Err(error) => {
                        tracing::warn!("the process connector fails ({error}): polling /proc instead");
                        self.events = None;
                        self.follows_events = false;
                    }
                },
                () = until(self.list_at) => {}
                () = until(self.follows_at) => self.follow(),
            }
        }
    }

    fn note(&mut self, event: ProcessEvent) {
        match event {
            ProcessEvent::Forked { parent, child } => {
                if self.pids.contains(&parent) {
                    self.pids.insert(child);
                    self.count(Cause::Fork);
                }
            }
            ProcessEvent::Changed(pid) => match &self.check.processes {
                ProcessMatch::Name(name) => {
                    let counts = self.finder.has_name(pid, name);
                    self.set(pid, counts);
                }
                ProcessMatch::Command { .. } => self.changed = Some(pid),
            },
            ProcessEvent::Ended(pid) => {
                self.pids.remove(&pid);
                self.count(Cause::Exit);
            }
            // The kernel reports every change from now on, so /proc is read completely for the last time.
            ProcessEvent::Listening | ProcessEvent::Missed => {
                let now = Instant::now();
                let at = self.listed.filter(|_| self.follows_events).map_or(now, |listed| now.max(listed + PAUSE));
                self.list_at.get_or_insert(at);
                self.follows_events = true;
            }
        }
    }

    /// Returns whether something has to be read before the next event is received.
    fn has_to_read(&self) -> bool {
        self.changed.is_some() || self.list_at.is_some_and(|at| at <= Instant::now())
    }

    /// Reads what has to be read. Returns false if that cannot be read.
    async fn read(&mut self) -> bool {
        if let Some(pid) = self.changed {
            let Some(found) = self.finder.find(Which::One(pid), &self.check.processes).await else { return false };
            self.changed = None;
            if !found.unknown.contains(&pid) {
                self.set(pid, found.counted.contains(&pid));
            }
        }
        if self.list_at.is_some_and(|at| at <= Instant::now()) {
            let Some(found) = self.finder.find(Which::All, &self.check.processes).await else { return false };
            let Found { mut counted, unknown } = found;
            counted.extend(self.pids.intersection(&unknown));
            self.pids = counted;
            (self.list_at, self.listed) = (None, Some(Instant::now()));
            self.count(Cause::Unknown);
        }
        true
    }

    /// Records whether a process counts that has changed.
    fn set(&mut self, pid: u32, counts: bool) {
        if counts {
            self.pids.insert(pid);
        } else {
            self.pids.remove(&pid);
        }
        self.count(Cause::Change);
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

/// Passes if the process whose id is in the file is alive.
pub(super) fn look_at_pid_file(path: &Path) -> Observation {
    let shown = path.display();
    let pid = match files::read_beginning(path, MAX_PID_FILE) {
        Ok(text) => String::from_utf8_lossy(&text).split_whitespace().next().and_then(|word| word.parse().ok()),
        Err(error) => return Observation::Failed(error.to_string()),
    };
    match pid {
        Some(pid) if Proc::default().is_alive(pid) => Observation::Passed,
        Some(pid) => Observation::Failed(format!("there is no process {pid}, the id in {shown}")),
        None => Observation::Failed(format!("there is no process id in {shown}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use futures_util::FutureExt;
    use xvrrp_config::ArgumentRule;

    use super::super::proc::fake::FakeProc;
    use super::*;

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
        let mut processes = Processes { follows_events: true, ..Processes::with_events(check, None) };
        processes.pids = (0..count).collect();
        processes.count(Cause::Unknown);
        processes
    }

    /// Sets the number of processes. Returns whether the check passes.
    fn change(processes: &mut Processes, count: u32, cause: Cause) -> bool {
        processes.pids = (0..count).collect();
        processes.count(cause);
        passes(processes)
    }

    /// Returns whether a check passes that has nothing to read.
    fn passes(processes: &mut Processes) -> bool {
        processes.look().now_or_never() == Some(Observation::Passed)
    }

    #[test]
    fn the_check_passes_within_the_limits_only() {
        let check = ProcessCheck { quorum: 2, quorum_max: Some(3), ..of_name("x") };
        let mut processes = counted(&check, 1);
        let outcomes = [1, 2, 3, 4, 3, 0].map(|count| change(&mut processes, count, Cause::Change));
        assert_eq!(outcomes, [false, true, true, false, true, false]);
        let none = ProcessCheck { quorum: 0, quorum_max: Some(0), ..of_name("x") };
        assert!(passes(&mut counted(&none, 0)));
        assert!(!passes(&mut counted(&none, 1)));
    }

    #[test]
    fn a_change_by_a_fork_or_an_exit_waits_and_one_by_a_program_does_not() {
        let hour = Interval::from_millis(3_600_000);
        let check = ProcessCheck { quorum: 2, fork_delay: hour, terminate_delay: hour, ..of_name("x") };
        let mut processes = counted(&check, 2);
        assert!(processes.follows_at.is_none(), "the first look counts at once");
        assert!(change(&mut processes, 1, Cause::Exit));
        assert!(processes.follows_at.is_some());
        assert!(change(&mut processes, 2, Cause::Fork));
        assert!(processes.follows_at.is_none(), "everything is as before");
        assert!(!change(&mut processes, 1, Cause::Change));
        assert!(!change(&mut processes, 2, Cause::Fork));
        assert!(!change(&mut processes, 3, Cause::Change), "it goes on waiting");
        assert!(!change(&mut processes, 1, Cause::Exit));
        assert!(processes.follows_at.is_none(), "everything is as before");
        assert!(change(&mut processes, 2, Cause::Change));
    }

    #[tokio::test]
    async fn after_the_delay_the_change_counts() {
        let check = ProcessCheck { terminate_delay: Interval::from_millis(20), ..of_name("x") };
        let mut processes = counted(&check, 1);
        assert!(change(&mut processes, 0, Cause::Exit));
        processes.change().await;
        assert!(matches!(processes.look().await, Observation::Failed(_)));
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

    fn of_command(program: &str) -> ProcessCheck {
        let (arguments, rule) = (Vec::new(), ArgumentRule::Any);
        let processes = ProcessMatch::Command { program: program.to_owned(), arguments, rule };
        ProcessCheck { processes, ..of_name("") }
    }

    #[tokio::test]
    async fn events_that_are_lost_again_and_again_are_made_up_for_once_in_a_while() {
        let host = FakeProc::new();
        let mut processes = Processes { finder: host.finder(), ..Processes::with_events(&of_name("x"), None) };
        assert!(matches!(processes.look().await, Observation::Failed(_)));
        processes.note(ProcessEvent::Listening);
        assert!(processes.has_to_read(), "the first list comes at once");
        assert!(processes.read().await);
        let listed = processes.listed.unwrap();
        host.add(10, "x");
        for _ in 0..1000 {
            processes.note(ProcessEvent::Missed);
        }
        assert_eq!(processes.list_at, Some(listed + PAUSE));
        processes.change().await;
        assert!(listed.elapsed() >= PAUSE);
        assert_eq!(processes.look().await, Observation::Passed);
        assert_eq!(processes.list_at, None, "one list makes up for all");
    }

    #[tokio::test]
    async fn a_process_that_cannot_be_read_counts_as_before_until_it_ends() {
        let host = FakeProc::new();
        for pid in [10, 20] {
            host.add(pid, "daemon");
        }
        let check = ProcessCheck { quorum: 2, ..of_command("daemon") };
        let mut processes = Processes { finder: host.finder(), ..Processes::with_events(&check, None) };
        assert_eq!(processes.look().await, Observation::Passed);
        let _stuck = host.get_stuck(20);
        assert_eq!(processes.look().await, Observation::Passed);
        processes.note(ProcessEvent::Changed(20));
        assert!(processes.read().await);
        assert_eq!(processes.pids, [10, 20].into());
        processes.note(ProcessEvent::Ended(20));
        assert_eq!(processes.pids, [10].into());
    }
}
