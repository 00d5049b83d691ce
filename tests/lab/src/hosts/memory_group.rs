//! A group of processes that is short of memory, beside a host that is not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::PATIENCE;

/// Every one is called `xv-PID-NUMBER-memory`.
const PREFIX: &str = "xv-";
const SUFFIX: &str = "-memory";

/// The two versions of control groups (cgroups(7)): the directory of all groups that can limit memory, and names of
/// files.
#[derive(Debug)]
struct Version {
    root: &'static str,
    /// File and text. Writing the text to the file makes the kernel take back memory.
    reclaim: (&'static str, &'static str),
    usage: &'static str,
    limit: &'static str,
}

const VERSIONS: [Version; 2] = [
    Version {
        root: "/sys/fs/cgroup/memory",
        reclaim: ("memory.force_empty", "0"),
        usage: "memory.usage_in_bytes",
        limit: "memory.limit_in_bytes",
    },
    Version { root: "/sys/fs/cgroup", reclaim: ("memory.reclaim", "1T"), usage: "memory.current", limit: "memory.max" },
];

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A memory control group. What is left in it ends when this is dropped.
#[derive(Debug)]
pub struct MemoryGroup {
    version: &'static Version,
    directory: PathBuf,
}

impl MemoryGroup {
    /// Makes a group without a limit.
    pub fn new() -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}{SUFFIX}", std::process::id());
        let version = VERSIONS.iter().find(|version| Path::new(version.root).join("cgroup.procs").exists());
        let version = version.context("no control groups are mounted at /sys/fs/cgroup")?;
        let directory = Path::new(version.root).join(name);
        fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let this = Self { version, directory };
        let limit = this.file(version.limit);
        fs::metadata(&limit).with_context(|| format!("no memory controller: {} is missing", limit.display()))?;
        Ok(this)
    }

    /// A shell command after which the shell, and what it runs, belongs to the group.
    pub fn join_command(&self) -> String {
        format!("echo 0 > {}", self.file("cgroup.procs").display())
    }

    /// Makes the kernel take back what it can, and limits the group to what is left and `room` more bytes.
    pub fn limit_to(&self, room: u64) -> Result<()> {
        let Version { reclaim: (file, value), usage, limit, .. } = self.version;
        // The kernel complains if it found less than was asked for, or was busy with something else.
        let _ = fs::write(self.file(file), value);
        let left: u64 = fs::read_to_string(self.file(usage))?.trim().parse()?;
        fs::write(self.file(limit), (left + room).to_string()).context("cannot limit memory")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.directory) {
            eprintln!("cannot remove {}: {error:#}", self.directory.display());
        }
    }
}

/// Ends what is in a group, and removes it.
fn remove(directory: &Path) -> Result<()> {
    for line in fs::read_to_string(directory.join("cgroup.procs"))?.lines() {
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(line.parse()?), Signal::SIGKILL);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        match fs::remove_dir(directory) {
            // Processes leave a group a moment after they have ended.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            removed => return Ok(removed?),
        }
    }
}

/// Removes what processes left that were killed.
pub(crate) fn sweep() {
    for entry in VERSIONS.iter().flat_map(|version| fs::read_dir(version.root)).flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let middle = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
        let owner = middle.and_then(|middle| middle.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another process may be faster.
            let _ = remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::wait_until;

    #[test]
    fn a_process_of_a_group_gets_the_groups_room_and_no_more() {
        let group = MemoryGroup::new().expect("a group");
        group.limit_to(32 << 20).expect("a limit");
        let take = |megabytes: u8| {
            let line = format!("{} && exec dd if=/dev/zero of=/dev/null bs={megabytes}M count=1", group.join_command());
            Command::new("sh").args(["-c", &line]).output().expect("it starts").status.success()
        };
        assert!(take(16));
        assert!(!take(64));
    }

    #[test]
    fn a_group_goes_away_with_what_is_in_it() {
        let group = MemoryGroup::new().expect("a group");
        let line = format!("{} && exec sleep 60", group.join_command());
        let mut child = Command::new("sh").args(["-c", &line]).spawn().expect("it starts");
        let members = group.file("cgroup.procs");
        let pid = child.id().to_string();
        wait_until("the process has joined", || Ok(fs::read_to_string(&members)?.contains(&pid))).expect("it joins");
        let directory = group.directory.clone();
        drop(group);
        assert!(!directory.exists());
        assert!(!child.wait().expect("it was started").success());
    }
}
