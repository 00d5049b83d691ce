//! Whether there is a process: by its name, or by an id in a file.

use std::collections::BTreeSet;
use std::fs;
use std::future::pending;
use std::path::Path;

use xvrrp_config::files;
use xvrrp_net::{ProcessEvent, ProcessEvents};

use super::outcome::Observation;

/// As much of a pid file as can hold the id: some have more lines, with what else there is to know of the process.
const MAX_PID_FILE: u64 = 4096;

/// The processes of one name.
#[derive(Debug)]
pub(super) struct Processes {
    name: String,
    /// What the kernel tells of; `None` where it may not be asked.
    events: Option<ProcessEvents>,
    /// Whether the kernel has told everything since [`Self::pids`] was made.
    up_to_date: bool,
    pids: BTreeSet<u32>,
}

impl Processes {
    pub(super) fn new(name: &str) -> Self {
        let events = ProcessEvents::open();
        if let Err(error) = &events {
            tracing::debug!("the process connector is not to be had ({error}): looking at /proc again and again");
        }
        Self { name: name.to_owned(), events: events.ok(), up_to_date: false, pids: BTreeSet::new() }
    }

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

    /// Until a look may find something else.
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
                // All that comes from now on is told, so the next look is the last one at all of them.
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
                    tracing::warn!("the process connector fails ({error}): looking at /proc again and again");
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

/// Whether the process lives whose id stands in the file.
pub(super) fn look_at_pid_file(path: &Path) -> Observation {
    let shown = path.display();
    let pid = match files::read_beginning(path, MAX_PID_FILE) {
        Ok(text) => String::from_utf8_lossy(&text).split_whitespace().next().and_then(|word| word.parse().ok()),
        Err(error) => return Observation::Failed(error.to_string()),
    };
    match pid {
        Some(pid) if is_alive(pid) => Observation::Passed,
        Some(pid) => Observation::Failed(format!("there is no process {pid}, of which {shown} tells")),
        None => Observation::Failed(format!("there is no process id in {shown}")),
    }
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Its name, which the kernel has cut to 15 bytes.
fn comm(pid: u32) -> Option<String> {
    let comm = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&comm).trim_end_matches('\n').to_owned())
}

/// A zombie is not (proc(5): the state stands behind the name, which may have anything in it).
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
    fn a_zombie_is_no_process() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id();
        assert!(is_alive(pid));
        child.kill().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while is_alive(pid) {
            assert!(Instant::now() < deadline, "it is a zombie that counts");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(comm(pid).is_some(), "it is there all the same");
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

    /// With the process connector where it is to be had; else by looking again.
    #[tokio::test]
    async fn a_process_that_comes_and_goes_is_noticed() {
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
