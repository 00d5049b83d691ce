//! Runs the notify programs: one after the other for each virtual router, and nobody waits for them but we.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::program::{self, Ending, Orphan};

/// How long a program may run; then it is killed with its children.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long the agent's end waits for programs that still run, or have to.
const LAST: Duration = Duration::from_secs(5);
/// How many changes of a virtual router wait at most while a program runs.
const WAITING: usize = 16;

/// See the module.
#[derive(Debug)]
pub struct Notifier {
    /// Of each virtual router that has a program.
    queues: Vec<Option<mpsc::Sender<Change>>>,
    tasks: JoinSet<()>,
}

/// The program of a virtual router, and what it gets to know of that.
#[derive(Clone, Debug)]
pub struct Program {
    pub path: PathBuf,
    pub name: String,
    pub vrid: u8,
    pub interface: String,
    pub priority: u8,
}

/// A change of state that has happened.
#[derive(Clone, Debug)]
pub struct Change {
    /// `MASTER`, `BACKUP`, `FAULT` or `STOP`, the words of keepalived.conf(5).
    pub keepalived_state: &'static str,
    /// Ours.
    pub state: &'static str,
    pub reason: String,
}

impl Notifier {
    /// Starts a task for each virtual router that has a program, on the current runtime.
    pub fn new(programs: impl IntoIterator<Item = Option<Program>>) -> Self {
        let mut tasks = JoinSet::new();
        let queues = programs.into_iter().map(|program| {
            let (queue, changes) = mpsc::channel(WAITING);
            tasks.spawn(program?.serve(changes));
            Some(queue)
        });
        Self { queues: queues.collect(), tasks }
    }

    /// The virtual router with this number has changed its state.
    pub fn notify(&self, router: usize, change: Change) {
        let Some(Some(queue)) = self.queues.get(router) else { return };
        let state = change.state;
        if queue.try_send(change).is_err() {
            tracing::warn!("a notify program is far behind: it is not told of the change to {state}");
        }
    }

    /// Waits for a while until everything that happened has been told.
    pub async fn finish(mut self) {
        self.queues.clear();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST, all).await.is_err() {
            tracing::warn!("notify programs still run after {LAST:?}: left to themselves");
        }
    }
}

impl Program {
    async fn serve(self, mut changes: mpsc::Receiver<Change>) {
        while let Some(change) = changes.recv().await {
            self.run(change).await;
        }
    }

    async fn run(&self, Change { keepalived_state, state, reason }: Change) {
        let Self { path, name, vrid, interface, priority } = self;
        let shown = path.display();
        let mut command = Command::new(path);
        command
            // As keepalived's notify scripts get them.
            .args(["INSTANCE", name, keepalived_state])
            .arg(priority.to_string())
            .env("XVRRP_VIRTUAL_ROUTER", name)
            .env("XVRRP_VRID", vrid.to_string())
            .env("XVRRP_INTERFACE", interface)
            .env("XVRRP_STATE", state)
            .env("XVRRP_REASON", reason);
        match program::run(&mut command, TIMEOUT, Orphan::Left).await {
            Ok(Ending::Exited(status)) if status.success() => {}
            Ok(Ending::Exited(status)) => match status.signal() {
                Some(signal) => tracing::warn!(virtual_router = %name, "{shown} was ended by signal {signal}"),
                None => tracing::warn!(virtual_router = %name, "{shown} failed: {status}"),
            },
            Ok(Ending::Killed) => tracing::warn!(virtual_router = %name, "{shown} ran for {TIMEOUT:?}: killed"),
            Err(error) => tracing::error!(virtual_router = %name, "cannot run {shown}: {error}"),
        }
    }
}
