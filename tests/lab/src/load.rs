//! Keeps the machine busy: its processors, its disk or its memory.
//!
//! The load consists of child processes with ordinary scheduling. They end when the guard is dropped, also by a panic,
//! and when the thread that started them ends.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::MemoryGroup;

/// Upper limit of what all memory-hungry processes take together, in MiB.
const MEMORY: usize = 1536;

/// Processes that keep the machine busy until this is dropped.
#[derive(Debug, Default)]
pub struct Load {
    children: Vec<Child>,
    /// The directory that they write to.
    directory: Option<TempDir>,
}

impl Load {
    /// Starts processes that compute without a pause.
    pub fn spinning(processes: usize) -> Result<Self> {
        let mut load = Self::default();
        load.start(processes, "while :; do :; done")?;
        Ok(load)
    }

    /// Starts processes that write 16 MiB each and wait until it is on the disk, over and over.
    pub fn writing(processes: usize) -> Result<Self> {
        // Not the directory for temporary files, which may be in memory: nothing would wait for a disk.
        let directory = TempDir::with_prefix_in("xvrrp-lab-load-", "/var/tmp")?;
        let mut load = Self::default();
        let file = directory.path().join("file");
        load.start(
            processes,
            &format!(
                "while :; do dd if=/dev/zero of={}.$$ bs=1M count=16 conv=fsync status=none; done",
                file.display()
            ),
        )?;
        load.directory = Some(directory);
        Ok(load)
    }

    /// Starts processes that allocate memory, fill it and free it, over and over: [`MEMORY`] in total.
    pub fn allocating(processes: usize) -> Result<Self> {
        let mut load = Self::default();
        let each = MEMORY / processes.max(1);
        load.start(
            processes,
            &format!("while :; do dd if=/dev/zero of=/dev/null bs={each}M count=1 status=none; done"),
        )?;
        Ok(load)
    }

    /// A process that keeps a group of processes short of memory: of the `room` that is left, it fills three quarters
    /// and reads a file without an end through the rest. The kernel makes space for that by taking pages of the whole
    /// group. Should it find too few, it ends this process rather than another one, which then starts again.
    pub fn crowding(group: &MemoryGroup, room: u64) -> Result<Self> {
        let directory = TempDir::with_prefix_in("xvrrp-lab-load-", "/var/tmp")?;
        let file = directory.path().join("file");
        // A hole takes memory when it is read, but no time of the disk.
        File::create(&file)?.set_len(1 << 40)?;
        let mut load = Self::default();
        let (join, buffer) = (group.join_command(), room / 4 * 3);
        load.start(
            1,
            &format!(
                "{join} && echo 1000 > /proc/self/oom_score_adj && \
                 while :; do dd if={} of=/dev/null bs={buffer} status=none; done",
                file.display()
            ),
        )?;
        load.directory = Some(directory);
        Ok(load)
    }

    fn start(&mut self, processes: usize, script: &str) -> Result<()> {
        for _ in 0..processes {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null());
            // In a process group of its own, so that the commands of the shell end with it.
            command.process_group(0);
            // SAFETY: between fork and exec the closure only makes a system call, which is async-signal-safe.
            unsafe {
                command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
            }
            self.children.push(command.spawn().context("cannot start a load")?);
        }
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.children {
            if let Ok(pid) = i32::try_from(child.id()) {
                // The child is not reaped yet, so its number is still valid.
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_load_ends_with_its_guard_and_removes_its_files() {
        let group = MemoryGroup::new().expect("a group");
        let crowding = Load::crowding(&group, 64 << 20);
        for load in [Load::spinning(2), Load::writing(2), Load::allocating(2), crowding] {
            let load = load.expect("a load");
            let pids: Vec<_> = load.children.iter().map(|child| format!("/proc/{}", child.id())).collect();
            let directory = load.directory.as_ref().map(|directory| directory.path().to_owned());
            assert!(pids.iter().all(|pid| Path::new(pid).exists()), "a process of {pids:?} has ended early");
            drop(load);
            assert!(!pids.iter().any(|pid| Path::new(pid).exists()), "a process of {pids:?} still runs");
            assert!(directory.is_none_or(|directory| !directory.exists()), "its directory is still there");
        }
    }

    #[test]
    fn a_spinning_process_uses_processor_time() {
        let load = Load::spinning(1).expect("a load");
        let stat = format!("/proc/{}/stat", load.children[0].id());
        crate::wait_until("the process has used more than two ticks", || {
            let stat = fs::read_to_string(&stat)?;
            let utime: u64 = stat.split_whitespace().nth(13).context("no utime")?.parse()?;
            Ok(utime > 2)
        })
        .expect("a process that computes without a pause");
    }
}
