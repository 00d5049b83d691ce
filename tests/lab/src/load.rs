//! What keeps a machine busy: processors, disk, memory.
//!
//! The load is made by child processes with ordinary scheduling, which end with the guard, also when a test panics, and
//! with the thread that has started them, however it ends.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::MemoryGroup;

/// What memory-hungry processes take at most, all together, in MiB.
const MEMORY: usize = 1536;

/// Processes that keep the machine busy until this is dropped.
#[derive(Debug, Default)]
pub struct Load {
    children: Vec<Child>,
    /// Where they write.
    directory: Option<TempDir>,
}

impl Load {
    /// So many processes that compute without a pause.
    pub fn spinning(processes: usize) -> Result<Self> {
        let mut load = Self::default();
        load.start(processes, "while :; do :; done")?;
        Ok(load)
    }

    /// So many processes that write and wait until it is on the disk, over and over; each takes 16 MiB of it.
    pub fn writing(processes: usize) -> Result<Self> {
        // Where temporary files are kept in memory nothing would wait for a disk.
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

    /// So many processes that take memory, fill it and give it back, over and over; all together [`MEMORY`].
    pub fn allocating(processes: usize) -> Result<Self> {
        let mut load = Self::default();
        let each = MEMORY / processes.max(1);
        load.start(
            processes,
            &format!("while :; do dd if=/dev/zero of=/dev/null bs={each}M count=1 status=none; done"),
        )?;
        Ok(load)
    }

    /// A process that keeps a group of processes short of memory: of the `room` that is left, it fills three quarters and
    /// reads a file without an end through the rest. The kernel makes space for that by taking pages of the whole group.
    /// Should it find too few, it ends this process rather than another one, which then starts again.
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
            // A group of its own: what it runs ends with it.
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
                // Not reaped yet, so the number is still its own.
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
    fn a_load_ends_with_its_guard_and_takes_its_files_along() {
        let group = MemoryGroup::new().expect("a group");
        let crowding = Load::crowding(&group, 64 << 20);
        for load in [Load::spinning(2), Load::writing(2), Load::allocating(2), crowding] {
            let load = load.expect("a load");
            let pids: Vec<_> = load.children.iter().map(|child| format!("/proc/{}", child.id())).collect();
            let directory = load.directory.as_ref().map(|directory| directory.path().to_owned());
            assert!(pids.iter().all(|pid| Path::new(pid).exists()));
            drop(load);
            assert!(!pids.iter().any(|pid| Path::new(pid).exists()));
            assert!(directory.is_none_or(|directory| !directory.exists()));
        }
    }

    #[test]
    fn a_spinning_process_takes_what_it_can_get() {
        let load = Load::spinning(1).expect("a load");
        let stat = format!("/proc/{}/stat", load.children[0].id());
        std::thread::sleep(std::time::Duration::from_millis(500));
        let stat = fs::read_to_string(stat).expect("it runs");
        let utime: u64 = stat.split_whitespace().nth(13).and_then(|field| field.parse().ok()).expect("a number");
        assert!(utime > 2, "{stat}");
    }
}
