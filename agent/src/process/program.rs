//! Runs external programs such as notify programs and check scripts. A program that exceeds its timeout is killed with
//! its children.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Group, Pid, Uid, User, getgrouplist, setgid, setgroups, setuid};
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use xvrrp_config::ScriptUser;
use xvrrp_vrrp::RouterState;

use crate::process::blocking_call::BlockingCall;
use crate::process::clock;

/// How a program ended.
#[derive(Clone, Copy, Debug)]
pub enum ProgramEnd {
    /// It ended by itself, or by a signal from elsewhere.
    Exited(ExitStatus),
    /// It exceeded its timeout and was killed.
    Killed,
}

/// What to do with a running program when the future that waits for it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphan {
    /// Leave it running.
    Left,
    /// Kill it with its children.
    Killed,
}

/// A user of this host, with everything that is needed to run a program as that user.
#[derive(Clone, Debug)]
pub struct UserAccount {
    user: User,
    /// The group in which programs run.
    gid: Gid,
    /// That group and all supplementary groups of the user, as initgroups(3) sets them.
    groups: Vec<Gid>,
}

impl UserAccount {
    /// Looks up a user and the group; `None` if one of them does not exist. This may block for long if the host asks a
    /// directory service.
    ///
    /// # Errors
    /// The user database cannot be read.
    pub fn of(ScriptUser { name, group }: &ScriptUser) -> Result<Option<Self>, Errno> {
        let Some(user) = User::from_name(name)? else { return Ok(None) };
        let gid = match group {
            None => Some(user.gid),
            Some(group) => Group::from_name(group)?.map(|group| group.gid),
        };
        let Some(gid) = gid else { return Ok(None) };
        let name = CString::new(user.name.as_bytes()).map_err(|_| Errno::EINVAL)?;
        let groups = getgrouplist(&name, gid)?;
        Ok(Some(Self { user, gid, groups }))
    }

    /// Returns the user's id, and that of the group in which programs run.
    pub fn ids(&self) -> (Uid, Gid) {
        (self.user.uid, self.gid)
    }

    /// Returns whether programs run with root's user or group.
    pub fn is_root(&self) -> bool {
        self.user.uid.is_root() || self.gid.as_raw() == 0
    }

    /// Makes `command` run as this user, with the environment variables that a login would set.
    pub(super) fn apply(self, command: &mut Command) {
        let Self { user: User { name, uid, dir, shell, .. }, gid, groups } = self;
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
        // SAFETY: three system calls on values that exist before the fork; nothing is allocated, and no lock is taken.
        unsafe { command.pre_exec(become_user) };
    }
}

/// Looks up users again and again.
#[derive(Debug, Default)]
pub struct UserLookup(BlockingCall<Result<Option<UserAccount>, Errno>>);

impl UserLookup {
    /// Makes `command` run as this user.
    ///
    /// # Errors
    /// Why the user is not known, in words for the log; among others, because the lookup takes longer than `patience`.
    pub async fn apply(&mut self, user: &ScriptUser, command: &mut Command, patience: Duration) -> Result<(), String> {
        let owned = user.clone();
        match self.0.run(patience, move || UserAccount::of(&owned)).await {
            Some(Ok(Some(account))) => {
                account.apply(command);
                Ok(())
            }
            Some(Ok(None)) => Err(format!("this host has no user \"{user}\"")),
            Some(Err(error)) => Err(format!("cannot look up the user \"{user}\": {error}")),
            None => Err(format!("cannot look up the user \"{user}\": no answer within {patience:?}")),
        }
    }
}

/// The child programs that run, and those that were killed and have not been waited for.
#[derive(Clone, Debug, Default)]
pub struct Children(Arc<Mutex<BTreeMap<i32, RunningProgram>>>);

/// A running program, with what a later agent in this process needs to wait for its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningProgram {
    /// Process id, which is also the id of its process group.
    pub pid: i32,
    /// End of its timeout, in nanoseconds of the boot-time clock.
    pub until: u64,
    /// Why it runs.
    #[serde(flatten)]
    pub purpose: Purpose,
}

/// What a program runs for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purpose {
    /// Key of the audience that is notified; empty for a check. An owner starts no other program until this one has
    /// ended.
    pub owner: String,
    /// The state of which the owner has been notified completely once this program has ended.
    #[serde(rename = "tells")]
    pub completes: Option<RouterState>,
}

impl Children {
    /// Returns all of them, for the agent that this process becomes.
    pub fn running(&self) -> Vec<RunningProgram> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, RunningProgram>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of a program that an earlier agent in this process started, and kills it at the end of its
    /// timeout. Returns `None` if it had already ended and been waited for.
    ///
    /// # Errors
    /// waitpid(2) fails, or the runtime cannot handle SIGCHLD.
    pub async fn adopt(&self, running: RunningProgram) -> io::Result<Option<ProgramEnd>> {
        // Installed before the first `waitpid`, so that no end is missed.
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
            break Ok(Some(if killed { ProgramEnd::Killed } else { ProgramEnd::Exited(status) }));
        };
        self.lock().remove(&pid.as_raw());
        outcome
    }
}

/// Starts a program in a process group of its own, without standard input, and waits for its end. Kills its process
/// group after `timeout`.
///
/// # Errors
/// The program cannot be started, or waited for.
pub async fn run(
    command: &mut Command,
    timeout: Duration,
    orphan: Orphan,
    children: &Children,
    purpose: Purpose,
) -> io::Result<ProgramEnd> {
    let until = clock::now().as_nanos().saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
    // The thread that starts it may hold back signals, for the agent's own sake.
    // SAFETY: one system call between fork and exec, on a value of this closure.
    unsafe { command.pre_exec(|| Ok(SigSet::empty().thread_set_mask()?)) };
    let mut child = command.stdin(Stdio::null()).process_group(0).spawn()?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let mut group = ProcessGroup { leader: group, orphan, children };
    group.register(until, purpose);
    let end = match tokio::time::timeout(timeout, child.wait()).await {
        Ok(status) => ProgramEnd::Exited(status?),
        Err(_) => {
            group.kill();
            child.wait().await?;
            ProgramEnd::Killed
        }
    };
    // From here on the id may belong to another process.
    group.forget();
    Ok(end)
}

/// A process group that this process has started, and whose leader it has not waited for yet.
struct ProcessGroup<'a> {
    leader: Option<Pid>,
    orphan: Orphan,
    children: &'a Children,
}

impl ProcessGroup<'_> {
    fn register(&self, until: u64, purpose: Purpose) {
        if let Some(pid) = self.leader.map(Pid::as_raw) {
            self.children.lock().insert(pid, RunningProgram { pid, until, purpose });
        }
    }

    fn forget(&mut self) {
        if let Some(leader) = self.leader.take() {
            self.children.lock().remove(&leader.as_raw());
        }
    }

    fn kill(&self) {
        if let Some(leader) = self.leader {
            // Fails if the group ends at this moment.
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

impl Drop for ProcessGroup<'_> {
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
    use crate::process::signals;

    #[tokio::test]
    async fn a_program_can_be_ended_although_the_agent_holds_back_signals() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("blocked");
        let mut command = shell(&format!("grep SigBlk /proc/self/status > {}", file.display()));
        let before = SigSet::thread_get_mask().unwrap();
        signals::hold_back();
        let end =
            run(&mut command, Duration::from_secs(20), Orphan::Killed, &Children::default(), Purpose::default()).await;
        before.thread_set_mask().unwrap();
        assert!(matches!(end, Ok(ProgramEnd::Exited(status)) if status.success()), "{end:?}");
        assert_eq!(std::fs::read_to_string(file).unwrap(), "SigBlk:\t0000000000000000\n");
    }

    fn shell(line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        command
    }

    /// Whether the process whose id is in the file exists and is no zombie.
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
    async fn the_exit_status_is_returned() {
        let end =
            run(&mut shell("exit 3"), Duration::from_secs(20), Orphan::Left, &Children::default(), Purpose::default())
                .await
                .unwrap();
        assert!(matches!(end, ProgramEnd::Exited(status) if status.code() == Some(3)), "{end:?}");
    }

    #[tokio::test]
    async fn a_program_that_exceeds_its_timeout_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let line = format!("trap '' TERM; sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", pid.display());
        let end =
            run(&mut shell(&line), Duration::from_secs(1), Orphan::Left, &Children::default(), Purpose::default())
                .await
                .unwrap();
        assert!(matches!(end, ProgramEnd::Killed), "{end:?}");
        assert!(dies(&pid), "the child still runs");
    }

    #[tokio::test]
    async fn an_orphan_is_killed_with_its_children_if_that_was_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let line = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", pid.display());
        let mut command = shell(&line);
        let children = Children::default();
        let waiting = run(&mut command, Duration::from_secs(1000), Orphan::Killed, &children, Purpose::default());
        let started = async {
            while !pid.exists() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = waiting => panic!("it has ended by itself"),
            () = started => {}
        }
        assert!(dies(&pid), "the child still runs");
        assert_eq!(children.running().first().map(|running| running.until), Some(0), "it has not been waited for");
    }

    /// A child of this process that nothing waits for, as an agent finds it after a reload.
    #[expect(clippy::zombie_processes, reason = "the tests check that none is left")]
    fn started_before(line: &str, until: u64) -> RunningProgram {
        let mut command = std::process::Command::new("sh");
        let child = command.args(["-c", line]).process_group(0).spawn().unwrap();
        RunningProgram { pid: i32::try_from(child.id()).unwrap(), until, purpose: Purpose::default() }
    }

    #[tokio::test]
    async fn an_adopted_program_is_waited_for_and_leaves_no_zombie() {
        let children = Children::default();
        let running = started_before("sleep 0.1; exit 3", u64::MAX);
        let pid = running.pid;
        let end = children.adopt(running.clone()).await.unwrap();
        assert!(matches!(end, Some(ProgramEnd::Exited(status)) if status.code() == Some(3)), "{end:?}");
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert!(children.running().is_empty());
        assert!(children.adopt(running).await.unwrap().is_none(), "it is no longer a child of this process");
    }

    #[tokio::test]
    async fn an_adopted_program_is_killed_at_the_end_of_its_timeout() {
        let running = started_before("trap '' TERM; sleep 1000", clock::now().as_nanos() + 200_000_000);
        let end = Children::default().adopt(running).await.unwrap();
        assert!(matches!(end, Some(ProgramEnd::Killed)), "{end:?}");
    }

    #[test]
    fn a_running_program_is_handed_over_as_earlier_versions_did() {
        let purpose = Purpose { owner: "INSTANCE lan".to_owned(), completes: Some(RouterState::Active) };
        let running = RunningProgram { pid: 4711, until: 5, purpose };
        let json = r#"{"pid":4711,"until":5,"owner":"INSTANCE lan","tells":"active"}"#;
        assert_eq!(serde_json::to_string(&running).unwrap(), json);
        assert_eq!(serde_json::from_str::<RunningProgram>(json).unwrap(), running);
    }
}
