//! What the kernel says in `/proc` about processes, read in a way that waits for none of them.
//!
//! To read a command line, the kernel locks the memory of the process. If a thread of the process holds that lock and
//! is stuck in the kernel, the read never returns. So all of `/proc` is read on a thread of its own. When that thread
//! is stuck at a process, it is left to itself, and the next one leaves out that process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use xvrrp_config::{ArgumentRule, ProcessMatch};

use crate::process::blocking_call::BlockingCall;

/// How long one process may take to be read before it is left out.
const PATIENCE: Duration = Duration::from_secs(1);
/// Largest number of processes that are left out, each of which holds up a thread.
const MAX_STUCK: usize = 8;

/// A directory in which the kernel describes processes.
#[derive(Clone, Debug)]
pub(super) struct Proc(Arc<Path>);

/// Finds the processes that count.
#[derive(Debug, Default)]
pub(super) struct ProcessFinder {
    proc: Proc,
    call: BlockingCall<BTreeSet<u32>>,
    /// The process that the call is reading, or 0.
    at: Arc<AtomicU32>,
    /// The calls that are stuck, by the process that each is reading.
    stuck: BTreeMap<u32, BlockingCall<BTreeSet<u32>>>,
}

/// Which processes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// All that there are.
    All,
    /// The one with this id.
    One(u32),
}

/// What was found about processes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Those that count.
    pub(super) counted: BTreeSet<u32>,
    /// Those that cannot be read.
    pub(super) unknown: BTreeSet<u32>,
}

impl Default for Proc {
    fn default() -> Self {
        Self(Path::new("/proc").into())
    }
}

impl ProcessFinder {
    /// Returns which of the processes count: they are no zombies, and have the name or the command line. Returns `None`
    /// if `/proc` cannot be read, or too many processes cannot.
    ///
    /// If the future is dropped, the next one continues, so it must be about the same processes.
    pub(super) async fn find(&mut self, which: Which, processes: &ProcessMatch) -> Option<Found> {
        loop {
            self.stuck.retain(|_, call| call.is_running());
            if self.stuck.len() > MAX_STUCK {
                return None;
            }
            self.start(which, processes);
            let before = self.at.load(Ordering::Relaxed);
            if let Some(counted) = self.call.wait(PATIENCE).await {
                return Some(Found { counted, unknown: self.stuck.keys().copied().collect() });
            }
            match self.at.load(Ordering::Relaxed) {
                // No thread has begun, or the directory itself cannot be read.
                0 => return None,
                pid if pid == before => {
                    tracing::warn!("the command line of process {pid} cannot be read: counting that process as before");
                    self.stuck.insert(pid, std::mem::take(&mut self.call));
                }
                _ => {}
            }
        }
    }

    /// Starts a call, unless one is running.
    fn start(&mut self, which: Which, processes: &ProcessMatch) {
        if self.call.is_running() {
            return;
        }
        let (proc, processes, at) = (self.proc.clone(), processes.clone(), Arc::<AtomicU32>::default());
        self.at = Arc::clone(&at);
        let stuck: BTreeSet<u32> = self.stuck.keys().copied().collect();
        self.call.start(move || {
            let pids = match which {
                Which::All => proc.all(),
                Which::One(pid) => vec![pid],
            };
            let counts = |pid: &u32| {
                at.store(*pid, Ordering::Relaxed);
                proc.is_counted(*pid, &processes) && proc.is_alive(*pid)
            };
            pids.into_iter().filter(|pid| !stuck.contains(pid)).filter(counts).collect()
        });
    }

    /// Whether a process has this name. Reading a name waits for nothing.
    pub(super) fn has_name(&self, pid: u32, name: &str) -> bool {
        self.proc.comm(pid).is_some_and(|comm| comm == name)
    }
}

impl Proc {
    fn path(&self, pid: u32, file: &str) -> PathBuf {
        self.0.join(pid.to_string()).join(file)
    }

    /// Returns the ids of all processes.
    fn all(&self) -> Vec<u32> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Returns the name of a process, which the kernel limits to 15 bytes.
    fn comm(&self, pid: u32) -> Option<String> {
        let comm = fs::read(self.path(pid, "comm")).ok()?;
        Some(String::from_utf8_lossy(&comm).trim_end_matches('\n').to_owned())
    }

    /// Returns the command line of a process, up to `limit` bytes: the kernel may have to fetch it from swap. That of a
    /// zombie is empty.
    fn command_line(&self, pid: u32, limit: usize) -> Option<Vec<u8>> {
        let mut found = Vec::new();
        let file = File::open(self.path(pid, "cmdline")).ok()?;
        file.take(limit.try_into().unwrap_or(u64::MAX)).read_to_end(&mut found).ok()?;
        Some(found)
    }

    /// Whether a process is one of those that count, as far as its name or its command line says.
    fn is_counted(&self, pid: u32, processes: &ProcessMatch) -> bool {
        match processes {
            ProcessMatch::Name(name) => self.comm(pid).is_some_and(|comm| comm == *name),
            ProcessMatch::Command { program, arguments, rule } => {
                let expected = 1 + [program].into_iter().chain(arguments).map(|word| word.len() + 1).sum::<usize>();
                self.command_line(pid, expected).is_some_and(|found| fits(&found, program, arguments, *rule))
            }
        }
    }

    /// Whether a process exists and is no zombie. In proc(5), the state follows the name, which may contain any
    /// character.
    pub(super) fn is_alive(&self, pid: u32) -> bool {
        let stat = fs::read(self.path(pid, "stat")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&stat);
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
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

/// A directory in place of `/proc`, for tests.
#[cfg(test)]
pub(super) mod fake {
    use std::fs::OpenOptions;
    use std::sync::mpsc;
    use std::thread::{self, JoinHandle};

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use tempfile::TempDir;

    use super::*;

    /// The directory.
    pub(crate) struct FakeProc(TempDir);

    /// A process whose command line cannot be read until this is dropped, or for a while.
    pub(crate) struct Stuck(Option<(mpsc::Sender<()>, JoinHandle<()>)>);

    impl FakeProc {
        pub(crate) fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        pub(crate) fn finder(&self) -> ProcessFinder {
            ProcessFinder { proc: Proc(self.0.path().into()), ..ProcessFinder::default() }
        }

        /// Adds a process without arguments.
        pub(crate) fn add(&self, pid: u32, program: &str) {
            let directory = self.0.path().join(pid.to_string());
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("stat"), format!("{pid} (x) S 1")).unwrap();
            fs::write(directory.join("comm"), format!("{program}\n")).unwrap();
            fs::write(directory.join("cmdline"), format!("{program}\0")).unwrap();
        }

        /// Replaces the command line of a process by one that cannot be read.
        pub(crate) fn get_stuck(&self, pid: u32) -> Stuck {
            /// After which a test fails instead of waiting forever.
            const LONGEST: Duration = Duration::from_secs(30);
            let path = self.0.path().join(pid.to_string()).join("cmdline");
            fs::remove_file(&path).unwrap();
            mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
            let (release, released) = mpsc::channel();
            // To open a FIFO for reading takes until somebody opens it for writing. To open it for both takes no time.
            let thread = thread::spawn(move || {
                let _ = released.recv_timeout(LONGEST);
                let _ = OpenOptions::new().read(true).write(true).open(&path);
                let _ = fs::remove_file(&path);
            });
            Stuck(Some((release, thread)))
        }
    }

    impl Drop for Stuck {
        fn drop(&mut self) {
            let Some((release, thread)) = self.0.take() else { return };
            drop(release);
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Instant;

    use super::fake::FakeProc;
    use super::*;

    #[test]
    fn a_zombie_is_not_alive() {
        let host = Proc::default();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id();
        assert!(host.is_alive(pid));
        child.kill().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while host.is_alive(pid) {
            assert!(Instant::now() < deadline, "a zombie counts as alive");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(host.comm(pid).is_some(), "it still has a name");
        child.wait().unwrap();
        assert!(!host.is_alive(pid));
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

    fn daemon() -> ProcessMatch {
        ProcessMatch::Command { program: "daemon".to_owned(), arguments: Vec::new(), rule: ArgumentRule::Any }
    }

    /// The runtime has one thread, so nothing else would run if a read blocked that.
    #[tokio::test]
    async fn a_process_that_cannot_be_read_delays_neither_other_tasks_nor_later_looks() {
        let host = FakeProc::new();
        for pid in [10, 20, 30] {
            host.add(pid, "daemon");
        }
        let stuck = host.get_stuck(20);
        let mut finder = host.finder();
        let processes = daemon();
        let mut turns = 0;
        let others = async {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                turns += 1;
            }
        };
        let found = tokio::select! {
            found = finder.find(Which::All, &processes) => found.unwrap(),
            () = others => unreachable!(),
        };
        assert!(turns > 5, "other tasks ran {turns} times");
        let expected = Found { counted: [10, 30].into(), unknown: [20].into() };
        assert_eq!(found, expected);
        let again = Instant::now();
        assert_eq!(finder.find(Which::All, &processes).await.unwrap(), expected);
        assert_eq!(finder.find(Which::One(20), &processes).await.unwrap().unknown, [20].into());
        assert!(again.elapsed() < 2 * PATIENCE, "a process that is known to be stuck is waited for again");
        drop(stuck);
        host.add(20, "daemon");
        let deadline = Instant::now() + Duration::from_secs(20);
        while finder.find(Which::All, &processes).await.unwrap().counted.len() < 3 {
            assert!(Instant::now() < deadline, "it is left out after it can be read");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn a_search_that_was_dropped_is_continued() {
        let host = FakeProc::new();
        host.add(10, "daemon");
        let stuck = host.get_stuck(10);
        let mut finder = host.finder();
        let processes = daemon();
        let late = tokio::time::timeout(Duration::from_millis(20), finder.find(Which::One(10), &processes)).await;
        assert!(late.is_err());
        drop(stuck);
        assert_eq!(
            finder.find(Which::One(10), &processes).await,
            Some(Found::default()),
            "it was read while it was stuck"
        );
        host.add(10, "daemon");
        assert_eq!(finder.find(Which::One(10), &processes).await.unwrap().counted, [10].into());
    }
}
