//! Runs somebody's program to its end, for a while at most: then it is killed with its children.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;

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

/// Starts the program in a process group of its own, without standard input, and waits for its end.
pub async fn run(command: &mut Command, timeout: Duration, orphan: Orphan) -> io::Result<Ending> {
    let mut child = command.stdin(Stdio::null()).process_group(0).spawn()?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let mut group = Group { leader: group, orphan };
    let ending = match tokio::time::timeout(timeout, child.wait()).await {
        Ok(status) => Ending::Exited(status?),
        Err(_) => {
            group.kill();
            child.wait().await?;
            Ending::Killed
        }
    };
    // From here on the number may be another's.
    group.leader = None;
    Ok(ending)
}

/// A process group that we have started and whose leader we have not waited for yet.
struct Group {
    leader: Option<Pid>,
    orphan: Orphan,
}

impl Group {
    fn kill(&self) {
        if let Some(leader) = self.leader {
            // It may end at this very moment.
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.orphan == Orphan::Killed {
            self.kill();
        }
    }
}

#[cfg(test)]
mod tests {
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
        let ending = run(&mut shell("exit 3"), Duration::from_secs(20), Orphan::Left).await.unwrap();
        assert!(matches!(ending, Ending::Exited(status) if status.code() == Some(3)), "{ending:?}");
    }

    #[tokio::test]
    async fn what_takes_too_long_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let line = format!("trap '' TERM; sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", pid.display());
        let ending = run(&mut shell(&line), Duration::from_secs(1), Orphan::Left).await.unwrap();
        assert!(matches!(ending, Ending::Killed), "{ending:?}");
        assert!(dies(&pid), "the child lives on");
    }

    #[tokio::test]
    async fn one_that_nobody_waits_for_is_killed_too_if_so_wanted() {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let line = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", pid.display());
        let mut command = shell(&line);
        let waiting = run(&mut command, Duration::from_secs(1000), Orphan::Killed);
        let started = async {
            while !pid.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = waiting => panic!("it has ended by itself"),
            () = started => {}
        }
        assert!(dies(&pid), "the child lives on");
    }
}
