//! Writes a line for each change of state to FIFOs, in keepalived's format.
//!
//! Each FIFO has a task of its own that writes the lines. Nothing waits for it: if the reader is slow or absent, the
//! kernel buffers 64 kB, then [`QUEUE`] lines wait, and then the oldest of them are dropped, so that the last state of
//! each virtual router is among those that a reader finds.

mod file;
mod reader;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use xvrrp_config::{NotifyFifo, ScriptUser};
use xvrrp_vrrp::RouterState;

pub use self::file::fault;
use self::reader::Reader;
use crate::process::blocking_call::BlockingCall;
use crate::process::program::{Children, RunningProgram, UserAccount};

/// How many lines may wait for a reader, besides those in the kernel's buffer; a power of two.
const QUEUE: usize = 256;
/// How long the lookup of the owner, and opening the FIFO, may take.
const OPEN: Duration = Duration::from_secs(30);
/// How long the end of the agent waits for a reader to take the last lines.
const LAST_LINES: Duration = Duration::from_secs(2);
/// How long it waits for the program that reads the FIFO to end by itself, and again after SIGTERM.
const LAST_END: Duration = Duration::from_secs(1);

/// A FIFO that is left to the agent that this process becomes. Its open file is passed separately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FifoLeft {
    pub path: PathBuf,
    /// Whether an agent in this process has made it.
    pub created: bool,
}

/// What the previous agent in this process has left to the FIFOs.
#[derive(Debug, Default)]
pub struct FifoLegacy {
    /// FIFOs, each with its open file.
    pub fifos: Vec<(FifoLeft, OwnedFd)>,
    /// The programs that read FIFOs.
    pub readers: Vec<RunningProgram>,
    /// Which state of each virtual router and group was written last, by its key.
    pub states: BTreeMap<String, RouterState>,
}

/// Takes the programs that read FIFOs out of those that run.
pub fn take_readers(running: &mut Vec<RunningProgram>) -> Vec<RunningProgram> {
    let (readers, others) = std::mem::take(running).into_iter().partition(reader::is_reader);
    *running = others;
    readers
}

/// All FIFOs of a configuration.
#[derive(Debug)]
pub struct Fifos {
    all: Vec<Fifo>,
    /// What the readers of inherited FIFOs know, until the state is written or found unchanged.
    known: BTreeMap<String, RouterState>,
}

#[derive(Debug)]
struct Fifo {
    path: PathBuf,
    /// Whether its reader knows the states that a previous agent has written.
    inherited: bool,
    lines: broadcast::Sender<Arc<str>>,
    /// Whether lines are being dropped.
    drops: Arc<AtomicBool>,
    opened: Arc<OnceLock<Opened>>,
    writer: JoinHandle<()>,
    reader: Option<RunningReader>,
}

/// An open FIFO.
#[derive(Clone, Debug)]
struct Opened {
    file: Arc<File>,
    created: bool,
}

#[derive(Debug)]
struct RunningReader {
    reader: Reader,
    ending: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Fifos {
    /// Starts, on the current runtime, the tasks for each FIFO.
    pub fn start(fifos: &[NotifyFifo], legacy: FifoLegacy, children: &Children) -> Self {
        let FifoLegacy { fifos: mut left, readers: mut running, states } = legacy;
        let all = fifos.iter().map(|fifo| {
            let mut is_left = left.iter().map(|(left, _)| &left.path);
            let inherited = is_left.position(|path| *path == fifo.path).map(|index| left.swap_remove(index));
            Fifo::start(fifo, inherited, &mut running, children)
        });
        let all = all.collect();
        reader::end(running, children);
        for (FifoLeft { path, .. }, made) in left.into_iter().filter(|(left, _)| left.created) {
            file::remove(&path, &File::from(made));
        }
        Self { all, known: states }
    }

    /// Writes a line about the state of a virtual router or group with this key, unless it continues in a state that
    /// the reader knows. A reader that was started with this agent also gets the states that the agent continues with.
    pub fn state(&mut self, key: &str, state: RouterState, line: &Line<'_>) {
        let known = self.known.remove(key) == Some(state);
        self.all.iter().filter(|fifo| !(fifo.inherited && known)).for_each(|fifo| fifo.send(line));
    }

    /// Writes a line about an event that changes no state.
    pub fn event(&self, line: &Line<'_>) {
        self.all.iter().for_each(|fifo| fifo.send(line));
    }

    /// Returns the open FIFOs, for the agent that this process becomes.
    pub fn left(&self) -> Vec<(FifoLeft, BorrowedFd<'_>)> {
        let opened = self.all.iter().filter_map(|fifo| Some((fifo, fifo.opened.get()?)));
        let left = opened.map(|(fifo, Opened { file, created })| {
            (FifoLeft { path: fifo.path.clone(), created: *created }, file.as_fd())
        });
        left.collect()
    }

    /// Makes way for a successor in another process, which starts readers of its own. It makes FIFOs of its own, too: a
    /// reader that ignores SIGTERM reads the rest of the old one, and finds its end when this process ends.
    pub fn make_way(&self) {
        for fifo in &self.all {
            remove(&fifo.opened, &fifo.path);
            if let Some(RunningReader { reader, ending, .. }) = &fifo.reader {
                ending.send_replace(true);
                reader.signal(Signal::SIGTERM);
            }
        }
    }

    /// Waits, for a limited time, until all lines have been written and all programs that read the FIFOs have ended.
    pub async fn finish(self) {
        for fifo in self.all.into_iter().map(|fifo| tokio::spawn(fifo.finish())).collect::<Vec<_>>() {
            let _ = fifo.await;
        }
    }
}

/// A line, in the words of keepalived.conf(5).
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// `INSTANCE` or `GROUP`.
    pub kind: &'static str,
    pub name: &'a str,
    /// The state, or the event.
    pub word: &'static str,
    /// 0 for a group.
    pub priority: u8,
}

impl Fifo {
    fn start(
        config: &NotifyFifo,
        left: Option<(FifoLeft, OwnedFd)>,
        running: &mut Vec<RunningProgram>,
        children: &Children,
    ) -> Self {
        let (lines, received) = broadcast::channel(QUEUE);
        let (drops, opened) = (Arc::new(AtomicBool::new(false)), Arc::new(OnceLock::new()));
        let (ready, is_ready) = watch::channel(false);
        let path = config.path.clone();
        let inherited = left.is_some() && !config.states_on_reload;
        let opening = open(path.clone(), config.owner.clone(), left);
        let task = write_all(path.clone(), opening, received, Arc::clone(&drops), Arc::clone(&opened), ready);
        let reader = config.reader.as_ref().map(|program| {
            let reader = Reader { program: program.clone(), path: path.clone(), children: children.clone() };
            let ours = running.iter().position(|running| running.purpose.owner == reader.owner());
            let ours = ours.map(|index| running.swap_remove(index));
            let (ending, ends) = watch::channel(false);
            let task = tokio::spawn(read_when(is_ready, reader.clone(), ours, ends));
            RunningReader { reader, ending, task }
        });
        Self { path, inherited, lines, drops, opened, writer: tokio::spawn(task), reader }
    }

    fn send(&self, Line { kind, name, word, priority }: &Line<'_>) {
        if self.lines.len() >= QUEUE && !self.drops.swap(true, Ordering::Relaxed) {
            tracing::warn!(fifo = %self.path.display(), "nothing reads the FIFO, or too slowly: dropping lines");
        }
        // Fails if the FIFO could not be opened, which has been logged.
        let _ = self.lines.send(format!("{kind} \"{name}\" {word} {priority}\n").into());
    }

    async fn finish(self) {
        let Self { path, lines, opened, writer, reader, .. } = self;
        drop(lines);
        let abort = writer.abort_handle();
        if timeout(LAST_LINES, writer).await.is_err() {
            tracing::warn!(fifo = %path.display(), "nothing has read the last lines within {LAST_LINES:?}: dropped them");
            abort.abort();
        }
        // The FIFO goes before it is closed, so that a reader that opens it again does not wait for ever.
        remove(&opened, &path);
        drop(opened);
        let Some(RunningReader { reader, ending, mut task }) = reader else { return };
        ending.send_replace(true);
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            if timeout(LAST_END, &mut task).await.is_ok() {
                return;
            }
            reader.signal(signal);
        }
        let _ = timeout(LAST_END, task).await;
    }
}

/// Removes a FIFO that an agent in this process has made.
fn remove(opened: &OnceLock<Opened>, path: &Path) {
    if let Some(Opened { file, .. }) = opened.get().filter(|opened| opened.created) {
        file::remove(path, file);
    }
}

/// Continues with the FIFO of an earlier agent in this process, or opens it.
async fn open(path: PathBuf, owner: Option<ScriptUser>, left: Option<(FifoLeft, OwnedFd)>) -> io::Result<Opened> {
    let call = move || {
        if let Some((FifoLeft { created, .. }, file)) = left
            && let Some(file) = file::inherit(&path, file)
        {
            return Ok(Opened { file: Arc::new(file), created });
        }
        let account = match &owner {
            None => None,
            Some(owner) => Some(
                UserAccount::of(owner)?
                    .ok_or_else(|| io::Error::other(format!("this host has no user \"{owner}\"")))?,
            ),
        };
        let opened = file::open(&path, account.map(|account| account.ids()))?;
        Ok(Opened { file: Arc::new(opened.file), created: opened.created })
    };
    let late = || Err(io::Error::other(format!("no answer within {OPEN:?}")));
    BlockingCall::default().run(OPEN, call).await.unwrap_or_else(late)
}

/// Runs the reader once the FIFO is open.
async fn read_when(
    mut is_ready: watch::Receiver<bool>,
    reader: Reader,
    running: Option<RunningProgram>,
    ending: watch::Receiver<bool>,
) {
    // If the FIFO cannot be opened, the sender is dropped.
    if is_ready.wait_for(|ready| *ready).await.is_ok() || running.is_some() {
        reader.keep_running(running, ending).await;
    }
}

/// Opens the FIFO, then writes lines to it until their sender is gone.
async fn write_all(
    path: PathBuf,
    opening: impl Future<Output = io::Result<Opened>>,
    mut lines: broadcast::Receiver<Arc<str>>,
    drops: Arc<AtomicBool>,
    opened: Arc<OnceLock<Opened>>,
    ready: watch::Sender<bool>,
) {
    let sender = match opening.await {
        Ok(fifo) => opened.get_or_init(|| fifo).file.try_clone().and_then(pipe::Sender::from_file),
        Err(error) => Err(error),
    };
    let mut sender = match sender {
        Ok(sender) => sender,
        Err(error) => {
            return tracing::error!(fifo = %path.display(), "cannot open the FIFO, so no line is written: {error}");
        }
    };
    drop(opened);
    ready.send_replace(true);
    loop {
        match lines.recv().await {
            // A line is shorter than `PIPE_BUF`, so it is written as a whole (pipe(7)). This cannot fail for lack of a
            // reader, because the agent itself has the FIFO open for reading.
            Ok(line) => match sender.write_all(line.as_bytes()).await {
                Ok(()) => {}
                Err(error) => return tracing::error!(fifo = %path.display(), "cannot write to the FIFO: {error}"),
            },
            Err(RecvError::Lagged(count)) => {
                drops.store(false, Ordering::Relaxed);
                tracing::warn!(fifo = %path.display(), "dropped {count} lines, because the FIFO was not read in time");
            }
            Err(RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use tokio::time::sleep;

    use super::*;

    fn fifo(directory: &tempfile::TempDir) -> NotifyFifo {
        let path = directory.path().join("fifo");
        NotifyFifo { path, owner: None, reader: None, states_on_reload: false, line: 1 }
    }

    async fn wait_for(condition: impl Fn() -> bool) {
        timeout(Duration::from_secs(20), async {
            while !condition() {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("it takes too long");
    }

    fn line(priority: u8) -> Line<'static> {
        Line { kind: "INSTANCE", name: "lan", word: "MASTER", priority }
    }

    /// Reads lines from the FIFO up to this one.
    async fn read(path: &Path, until: &'static str) -> Vec<String> {
        let path = path.to_owned();
        let read = move || {
            let reader = BufReader::new(File::options().read(true).write(true).open(path).unwrap());
            let mut lines = Vec::new();
            for line in reader.lines() {
                lines.push(line.unwrap());
                if lines.last().is_some_and(|line| line == until) {
                    break;
                }
            }
            lines
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    #[tokio::test]
    async fn without_a_reader_the_oldest_of_the_waiting_lines_are_dropped_and_the_last_ones_kept() {
        let directory = tempfile::tempdir().unwrap();
        let config = fifo(&directory);
        let fifos = Fifos::start(std::slice::from_ref(&config), FifoLegacy::default(), &Children::default());
        wait_for(|| !fifos.left().is_empty()).await;
        // More than the kernel's buffer and the queue can hold.
        for _ in 0..20 {
            for priority in 1..=250 {
                fifos.event(&line(priority));
            }
            sleep(Duration::from_millis(1)).await;
        }
        fifos.event(&line(255));
        let lines = read(&config.path, "INSTANCE \"lan\" MASTER 255").await;
        assert!(lines.len() < 5001 && lines.len() > QUEUE, "{} lines", lines.len());
        let kept = lines.split_at(lines.len() - QUEUE).1;
        let last: Vec<String> = (1..=250).map(|priority| format!("INSTANCE \"lan\" MASTER {priority}")).collect();
        assert_eq!(kept[QUEUE - 251..QUEUE - 1], last, "the newest lines are complete and in order");
        // It goes on.
        fifos.event(&line(254));
        let lines = read(&config.path, "INSTANCE \"lan\" MASTER 254").await;
        assert_eq!(lines.len(), 1);
        fifos.finish().await;
        assert!(!config.path.exists(), "the agent has made it, and removes it");
    }

    #[tokio::test]
    async fn a_reader_learns_the_states_that_it_does_not_know() {
        let directory = tempfile::tempdir().unwrap();
        let config = fifo(&directory);
        let start = |legacy| Fifos::start(std::slice::from_ref(&config), legacy, &Children::default());
        let states = |fifos: &mut Fifos| {
            let of = |name: &'static str, word| Line { kind: "INSTANCE", name, word, priority: 1 };
            fifos.state("INSTANCE a", RouterState::Active, &of("a", "MASTER"));
            fifos.state("INSTANCE b", RouterState::Backup, &of("b", "BACKUP"));
            fifos.state("INSTANCE b", RouterState::Active, &of("b", "MASTER"));
        };
        let mut first = start(FifoLegacy::default());
        wait_for(|| !first.left().is_empty()).await;
        states(&mut first);
        let all = ["INSTANCE \"a\" MASTER 1", "INSTANCE \"b\" BACKUP 1", "INSTANCE \"b\" MASTER 1"];
        assert_eq!(read(&config.path, all[2]).await, all);
        // The next agent in this process continues with the same states, but for one.
        let left: Vec<_> =
            first.left().into_iter().map(|(left, fd)| (left, fd.try_clone_to_owned().unwrap())).collect();
        let known = BTreeMap::from([
            ("INSTANCE a".to_owned(), RouterState::Active),
            ("INSTANCE b".to_owned(), RouterState::Backup),
        ]);
        let mut next = start(FifoLegacy { fifos: left, readers: Vec::new(), states: known });
        states(&mut next);
        assert_eq!(read(&config.path, all[2]).await, all[2..]);
    }
}
