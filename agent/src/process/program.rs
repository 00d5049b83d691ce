//! Runs somebody's program to its end, for a while at most: then it is killed with its children.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid, User, getgrouplist, setgid, setgroups, setuid};
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use xvrrp_vrrp::RouterState;

use crate::process::clock;

/// How a program came to its end.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    Exited(ExitStatus),
    /// It ran for too long and was killed.
    Killed,
}

/// What becomes of a program whose end nobody waits for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphan {
    /// It is left to itself.
    Left,
    /// It is killed with its children.
    Killed,
}

/// A user of this host, with all that a program needs to run as that user.
#[derive(Clone, Debug)]
pub struct Account {
    user: User,
    /// The user's own group and all others that the user belongs to.
    groups: Vec<Gid>,
}

impl Account {
    /// Looks the user up; that may take long where a directory service is asked.
    pub fn of(name: &str) -> Result<Option<Self>, Errno> {
        let Some(user) = User::from_name(name)? else { return Ok(None) };
        let name = CString::new(user.name.as_bytes()).map_err(|_| Errno::EINVAL)?;
        let groups = getgrouplist(&name, user.gid)?;
        Ok(Some(Self { user, groups }))
    }

    /// Has a program run as this user, with the environment that a login would give it.
    pub fn run(self, command: &mut Command) {
        let Self { user: User { name, uid, gid, dir, shell, .. }, groups } = self;
        command.env("HOME", dir).env("SHELL", shell).env("USER", &name).env("LOGNAME", &name);
        if (uid, gid) == (Uid::effective(), Gid::effective()) {
            return;
        }
        let become_user = move || {
            setgroups(&groups)?;
            setgid(gid)?;
            setuid(uid)?;
            Ok(())
        };
        // SAFETY: three system calls on values that were made before the fork; nothing is allocated, and no lock is taken.
        unsafe { command.pre_exec(become_user) };
    }
}

/// The programs that run, and those that were killed and whose end nobody has seen.
#[derive(Clone, Debug, Default)]
pub struct Children(Arc<Mutex<BTreeMap<i32, Running>>>);

/// A program that runs: enough for the agent that this process becomes to wait for its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Leads a process group.
    pub pid: i32,
    /// When it is killed, in nanoseconds of the boot-time clock.
    pub until: u64,
    #[serde(flatten)]
    pub errand: Errand,
}

/// What a program runs for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errand {
    /// The audience or check that the program runs for. It starts no other program until this one has ended.
    pub owner: String,
    /// The state of which its end completes the news.
    pub tells: Option<RouterState>,
}

impl Children {
    /// All of them, for the agent that this process becomes.
    pub fn running(&self) -> Vec<Running> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of a program that this process started before it became what it is, and kills it when its time is
    /// over. `None` if it has ended before, unseen.
    pub async fn adopt(&self, running: Running) -> io::Result<Option<Ending>> {
        // Before the first look, so that no end is missed.
        let mut ends = signal(SignalKind::child())?;
        let pid = Pid::from_raw(running.pid);
        let (left, mut killed) = (running.until.saturating_sub(clock::now().as_nanos()), false);
        let timeout = sleep(Duration::from_nanos(left));
        let mut timeout = pin!(timeout);
        self.lock().insert(running.pid, running);
        let outcome = loop {
            let status = match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, code)) => ExitStatus::from_raw(code << 8),
                Ok(WaitStatus::Signaled(_, signal, _)) => ExitStatus::from_raw(signal as i32),
                Ok(_) | Err(Errno::EINTR) => {
                    tokio::select! {
                        _ = ends.recv() => {}
                        () = &mut timeout, if !killed => {
                            let _ = killpg(pid, Signal::SIGKILL);
                            killed = true;
                        }
                    }
                    continue;
                }
                Err(Errno::ECHILD) => break Ok(None),
                Err(errno) => break Err(errno.into()),
            };
            break Ok(Some(if killed { Ending::Killed } else { Ending::Exited(status) }));
        };
        self.lock().remove(&pid.as_raw());
        outcome
    }
}

/// Starts the program in a process group of its own, without standard input, and waits for its end.
pub async fn run(
    command: &mut Command,
    timeout: Duration,
    orphan: Orphan,
    children: &Children,
    errand: Errand,
) -> io::Result<Ending> {
    let until = clock::now().as_nanos().saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
    let mut child = command.stdin(Stdio::null()).process_group(0).spawn()?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let mut group = Group { leader: group, orphan, children };
    group.register(until, errand);
    let ending = match tokio::time::timeout(timeout, child.wait()).await {
        Ok(status) => Ending::Exited(status?),
        Err(_) => {
            group.kill();
            child.wait().await?;
            Ending::Killed
        }
    };
    // From here on the number may be another's.
    group.forget();
    Ok(ending)
}

/// A process group that we have started and whose leader we have not waited for yet.
struct Group<'a> {
    leader: Option<Pid>,
    orphan: Orphan,
    children: &'a Children,
}

impl Group<'_> {
    fn register(&self, until: u64, errand: Errand) {
        if let Some(pid) = self.leader.map(Pid::as_raw) {
            self.children.lock().insert(pid, Running { pid, until, errand });
        }
    }

    fn forget(&mut self) {
        if let Some(leader) = self.leader.take() {
            self.children.lock().remove(&leader.as_raw());
        }
    }

    fn kill(&self) {
        if let Some(leader) = self.leader {
            // It may end at this very moment.
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        if self.orphan == Orphan::Killed {
            self.kill();
            if let Some(leader) = self.leader
                && let Some(running) = self.children.lock().get_mut(&leader.as_raw())
            {
                running.until = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::path::Path;
    use std::time::Instant;

    use super::*;

    fn shell(line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        command
    }

    /// Whether the process whose id stands in the file is there, and no zombie.
    fn lives(pid_file: &Path) -> bool {
        let Ok(pid) = std::fs::read_to_string(pid_file) else { return true };
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    fn dies(pid_file: &Path) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        while lives(pid_file) {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    #[tokio::test]
    async fn the_exit_status_is_told() {
        let ending =
            run(&mut shell("exit 3"), Duration::from_secs(20), Orphan::Left, &Children::default(), Errand::default())
                .await
                .unwrap();
        assert!(matches!(ending, Ending::Exited(status) if status.code() == Some(3)), "{ending:?}");
    }

    #[tokio::test]
    async fn what_takes_too_long_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let line = format!("trap '' TERM; sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", pid.display());
        let ending =
            run(&mut shell(&line), Duration::from_secs(1), Orphan::Left, &Children::default(), Errand::default())
                .await
                .unwrap();
        assert!(matches!(ending, Ending::Killed), "{ending:?}");
        assert!(dies(&pid), "the child lives on");
    }

    #[tokio::test]
    async fn one_that_nobody_waits_for_is_killed_too_if_so_wanted() {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let line = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", pid.display());
        let mut command = shell(&line);
        let children = Children::default();
        let waiting = run(&mut command, Duration::from_secs(1000), Orphan::Killed, &children, Errand::default());
        let started = async {
            while !pid.exists() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = waiting => panic!("it has ended by itself"),
            () = started => {}
        }
        assert!(dies(&pid), "the child lives on");
        assert_eq!(children.running().first().map(|running| running.until), Some(0), "nobody will see its end");
    }

    /// As an agent finds it that was another one before: a child of this process for which nobody waits.
    #[expect(clippy::zombie_processes, reason = "that it leaves none is what is tested")]
    fn started_before(line: &str, until: u64) -> Running {
        let mut command = std::process::Command::new("sh");
        let child = command.args(["-c", line]).process_group(0).spawn().unwrap();
        Running { pid: i32::try_from(child.id()).unwrap(), until, errand: Errand::default() }
    }

    #[tokio::test]
    async fn the_end_of_a_program_that_was_started_before_is_seen_and_leaves_no_zombie() {
        let children = Children::default();
        let running = started_before("sleep 0.1; exit 3", u64::MAX);
        let pid = running.pid;
        let ending = children.adopt(running.clone()).await.unwrap();
        assert!(matches!(ending, Some(Ending::Exited(status)) if status.code() == Some(3)), "{ending:?}");
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert!(children.running().is_empty());
        assert!(children.adopt(running).await.unwrap().is_none(), "it is no child of ours any more");
    }

    #[tokio::test]
    async fn a_program_that_was_started_before_is_killed_when_its_time_is_over() {
        let running = started_before("trap '' TERM; sleep 1000", clock::now().as_nanos() + 200_000_000);
        let ending = Children::default().adopt(running).await.unwrap();
        assert!(matches!(ending, Some(Ending::Killed)), "{ending:?}");
    }
}
