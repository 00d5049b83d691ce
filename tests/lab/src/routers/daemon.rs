//! A long-running program under test: its log, its signals and its end.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::{eventually, has_given_up, wait_until_is};

/// How long a daemon may take to end when its guard is dropped.
const GRACE: Duration = Duration::from_secs(5);

/// A child process, which is ended and reaped when this is dropped. If the test fails, its log is printed.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a command. Its standard output and standard error go to a file in `directory`.
    pub fn start(name: &str, command: &mut Command, directory: &Path) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log)?;
        let child = command
            // In a process group of its own, so that Ctrl-C reaches only the test, which then ends the daemon in order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn();
        let child = child.with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Returns the id of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns everything that it has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Returns how many lines of its log contain all of these words.
    pub fn count_lines(&self, words: &[&str]) -> usize {
        self.log().lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    /// Waits for a line that contains all of these words.
    pub fn wait_for_line(&mut self, words: &[&str], within: Duration) -> Result<String> {
        let name = self.name.clone();
        eventually(&format!("{name} prints a line with {words:?}"), within, || {
            let log = self.log();
            let line = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
            line.map(str::to_owned).with_context(|| match self.child.try_wait() {
                Ok(None) => "no such line; it still runs".to_owned(),
                ended => format!("no such line; it has ended: {ended:?}"),
            })
        })
    }

    /// Waits until exactly `count` lines of its log contain all of these words. What has happened is logged a little
    /// later.
    pub fn wait_for_lines(&self, words: &[&str], count: usize) -> Result<()> {
        let what = format!("{} prints {count} lines with {words:?}", self.name);
        wait_until_is(&what, &count, || Ok(self.count_lines(words)))
    }

    /// Sends a signal to the process, which must not have ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            bail!("{} has ended already", self.name);
        }
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, signal).with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Waits until it ends.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!("{} did not end within {within:?}", self.name)
    }

    /// Sends a signal and waits until it ends.
    pub fn stop(&mut self, signal: Signal, within: Duration) -> Result<ExitStatus> {
        self.signal(signal)?;
        self.wait(within)
    }

    /// Fails if it has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(anyhow!("{} has ended ({status})", self.name)),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // An error means that it has ended. SIGCONT comes first, since it may be stopped; SIGTERM comes before the
        // kill, so that it can end its own children.
        let _ = self.signal(Signal::SIGCONT);
        let _ = self.stop(Signal::SIGTERM, GRACE);
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() || has_given_up() {
            eprintln!("--- log of {} ---\n{}", self.name, self.log());
        }
    }
}
