//! Checks whether a process is alive, found by its name or by the id in a file.

use std::collections::BTreeSet;
use std::fs;
use std::future::pending;
use std::path::Path;

use xvrrp_config::files;
use xvrrp_net::{ProcessEvent, ProcessEvents};

use super::outcome::Observation;

/// How many bytes of a pid file are searched for the id. Some pid files have more lines, about other properties of the
/// process.
const MAX_PID_FILE: u64 = 4096;

/// The processes with a given name.
#[derive(Debug)]
pub(super) struct Processes {
    name: String,
    /// The kernel's process connector; `None` where the agent has no access to it.
    events: Option<ProcessEvents>,
    /// Whether [`Self::pids`] is complete, and has been kept up to date by events since.
    up_to_date: bool,
    pids: BTreeSet<u32>,
}

impl Processes {
    pub(super) fn new(name: &str) -> Self {
        let events = ProcessEvents::open();
        if let Err(error) = &events {
            tracing::debug!("the process connector is not available ({error}): polling /proc");
        }
        Self { name: name.to_owned(), events: events.ok(), up_to_date: false, pids: BTreeSet::new() }
    }

    /// Passes if there is a process with this name that is no zombie.
    pub(super) fn look(&mut self) -> Observation {
        if !self.up_to_date {
            let named = |pid: &u32| self.has_name(*pid);
            self.pids = all().filter(named).collect();
        }
        if self.pids.is_empty() {
            Observation::Failed(format!("there is no process {}", self.name))
        } else {
            Observation::Passed
        }
    }

    /// Returns when the next [`Self::look`] may have another result.
    pub(super) async fn change(&mut self) {
        let Some(events) = &mut self.events else { return pending().await };
        loop {
            let there = !self.pids.is_empty();
            match events.next().await {
                Ok(ProcessEvent::Changed(pid)) if comm(pid).is_some_and(|comm| comm == self.name) => {
                    self.pids.insert(pid);
                }
                Ok(ProcessEvent::Changed(pid) | ProcessEvent::Ended(pid)) => {
                    self.pids.remove(&pid);
                }
                // The kernel reports every change from now on, so /proc is read completely for the last time.
                Ok(ProcessEvent::Listening) => {
                    self.look();
                    self.up_to_date = true;
                    return;
                }
                Ok(ProcessEvent::Missed) => {
                    self.up_to_date = false;
                    self.look();
                    self.up_to_date = true;
                    return;
                }
                Err(error) => {
                    tracing::warn!("the process connector fails ({error}): polling /proc instead");
                    self.events = None;
                    self.up_to_date = false;
                    return;
                }
            }
            if there == self.pids.is_empty() {
                return;
            }
        }
    }

    fn has_name(&self, pid: u32) -> bool {
        comm(pid).is_some_and(|comm| comm == self.name) && is_alive(pid)
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

    /// Uses the process connector where it is available, otherwise polls.
    #[tokio::test]
    async fn a_process_that_starts_and_ends_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("xv{}", std::process::id());
        let program = directory.path().join(&name);
        fs::copy("/bin/sleep", &program).unwrap();
        let mut processes = Processes::new(&name);
        assert!(matches!(processes.look(), Observation::Failed(_)));
        let mut child = Command::new(&program).arg("1000").stdin(Stdio::null()).spawn().unwrap();
        until(&mut processes, true).await;
        child.kill().unwrap();
        child.wait().unwrap();
        until(&mut processes, false).await;
    }

    async fn until(processes: &mut Processes, there: bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while (processes.look() == Observation::Passed) != there {
            assert!(Instant::now() < deadline, "not noticed");
            let _ = tokio::time::timeout(Duration::from_millis(20), processes.change()).await;
        }
    }
}
