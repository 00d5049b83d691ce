//! Tells programs and services of changes of state: one after the other for each virtual router, and nobody waits for them
//! but we.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use xvrrp_config::{NotifyConfig, NotifyProgram, Occasion};
use xvrrp_vrrp::RouterState;

use crate::notify::audience::{Audience, Change};
use crate::process::program::{self, Children, Ending, Errand, Orphan, Running};

/// How long the agent's end waits for programs that still run, or have to.
const LAST: Duration = Duration::from_secs(5);
/// How many changes of a virtual router wait at most while a program runs; a power of two.
const WAITING: usize = 16;

/// See the module.
#[derive(Debug)]
pub struct Notifier {
    /// Of each virtual router, if anybody is to be told.
    queues: Vec<Option<broadcast::Sender<(Change, bool)>>>,
    /// How many of its programs did not end well.
    failures: Vec<Arc<AtomicU64>>,
    /// The state that each audience has been told last, by its key.
    told: Vec<(String, watch::Receiver<Option<LastTold>>)>,
    tasks: JoinSet<()>,
}

/// What the notify programs of one audience go on with.
#[derive(Debug)]
struct Inheritance {
    /// Programs that an agent that this process was has started.
    running: Vec<Running>,
    children: Children,
    told: watch::Sender<Option<LastTold>>,
}

/// What the programs of an audience were run for last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LastTold {
    /// A change, and they have not all ended yet.
    #[serde(rename = "")]
    Unfinished,
    #[serde(untagged)]
    State(RouterState),
}

impl Notifier {
    /// Starts a task for each virtual router that has something to tell, on the current runtime. `before` is what an agent
    /// that this process was has told last, see [`Self::told`]: the same state is not told again. `running` are the programs
    /// that it left, whose end is waited for before the next one of the same audience.
    pub fn new(
        audiences: impl IntoIterator<Item = Option<Audience>>,
        before: &BTreeMap<String, LastTold>,
        mut running: Vec<Running>,
        children: &Children,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let (mut failures, mut told) = (Vec::new(), Vec::new());
        let queues = audiences.into_iter().map(|audience| {
            let failed = Arc::new(AtomicU64::new(0));
            failures.push(Arc::clone(&failed));
            let audience = audience?;
            let NotifyConfig { programs, services, .. } = &audience.notify;
            if programs.is_empty() && services.is_empty() {
                return None;
            }
            let (queue, changes) = broadcast::channel(WAITING);
            let key = audience.key();
            let (last, state) = watch::channel(before.get(&key).copied());
            let (ours, others) = std::mem::take(&mut running).into_iter().partition(|it| it.errand.owner == key);
            running = others;
            told.push((key, state));
            let inheritance = Inheritance { running: ours, children: children.clone(), told: last };
            tasks.spawn(audience.serve(changes, failed, inheritance));
            Some(queue)
        });
        let queues = queues.collect();
        // Of those who are told no more, and checks: they leave no zombies either.
        for running in running {
            let children = children.clone();
            tasks.spawn(async move {
                let _ = children.adopt(running).await;
            });
        }
        Self { queues, failures, told, tasks }
    }

    /// How many programs of each virtual router have failed or were killed, at any time.
    pub fn failures(&self) -> Vec<Arc<AtomicU64>> {
        self.failures.clone()
    }

    /// The state that each has been told last, empty while one is being told; what still waits is not in it.
    pub fn told(&self) -> BTreeMap<String, LastTold> {
        self.told.iter().filter_map(|(key, state)| Some((key.clone(), (*state.borrow())?))).collect()
    }

    /// The virtual router with this number has changed its state; or, where that is no `news`, it goes on in a state of which
    /// it has been told unless it was told of another one last.
    pub fn notify(&self, router: usize, change: Change, news: bool) {
        if let Some(Some(queue)) = self.queues.get(router) {
            // Who does not listen any more has said so.
            let _ = queue.send((change, news));
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

impl Audience {
    /// It alone has this.
    fn key(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    async fn serve(
        self,
        mut changes: broadcast::Receiver<(Change, bool)>,
        failed: Arc<AtomicU64>,
        Inheritance { running, children, told }: Inheritance,
    ) {
        for running in running {
            let tells = running.errand.tells;
            let ended = match children.adopt(running).await {
                Ok(Some(ending)) => self.went_well(Ok(ending), "a notify program from before the reload"),
                Ok(None) => true,
                Err(error) => self.went_well(Err(error), "a notify program from before the reload"),
            };
            failed.fetch_add(u64::from(!ended), Ordering::Relaxed);
            if let Some(state) = tells {
                told.send_replace(Some(LastTold::State(state)));
            }
        }
        let mut before = *told.borrow();
        loop {
            match changes.recv().await {
                // An agent that starts anew comes to the state that it was in, or to one that the agent before did not tell.
                Ok((change, news)) if before.take().map_or(!news, |last| last == LastTold::State(change.state)) => {}
                Ok((change, _)) => {
                    // Should nobody be there to see its end, it is told again.
                    told.send_replace(Some(LastTold::Unfinished));
                    let failures = self.tell(&change, &children).await;
                    failed.fetch_add(failures, Ordering::Relaxed);
                    told.send_replace(Some(LastTold::State(change.state)));
                }
                // The newest ones are there: the last one told is how things are.
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(name = %self.name, "notify programs are far behind: {missed} changes are not told");
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// How many of them have failed.
    async fn tell(&self, change: &Change, children: &Children) -> u64 {
        let NotifyConfig { programs, services, .. } = &self.notify;
        let mut commands = Vec::new();
        if !services.is_empty() {
            let verb = if change.on == Occasion::Active { "start" } else { "stop" };
            let mut command = Command::new("systemctl");
            command.args(["--no-ask-password", verb, "--"]).args(services);
            commands.push((command, format!("systemctl {verb} {}", services.join(" "))));
        }
        for NotifyProgram { on, path, .. } in programs {
            let mut command = Command::new(path);
            if *on == Occasion::Any {
                // As keepalived's notify scripts get them.
                command.args([self.kind, &self.name, keepalived_state(change.on)]).arg(change.priority.to_string());
            } else if *on != change.on {
                continue;
            }
            commands.push((command, path.display().to_string()));
        }
        let mut failures = 0;
        let last = commands.len().saturating_sub(1);
        for (index, (command, shown)) in commands.into_iter().enumerate() {
            let tells = (index == last).then_some(change.state);
            let errand = Errand { owner: self.key(), tells };
            failures += u64::from(!self.run(command, &shown, change, children, errand).await);
        }
        failures
    }

    /// Whether it went well.
    async fn run(
        &self,
        mut command: Command,
        shown: &str,
        Change { state, reason, priority, .. }: &Change,
        children: &Children,
        errand: Errand,
    ) -> bool {
        command
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .env("XVRRP_STATE", state.name())
            .env("XVRRP_REASON", reason)
            .env("XVRRP_PRIORITY", priority.to_string());
        let timeout = self.notify.timeout.into();
        let outcome = program::run(&mut command, timeout, Orphan::Left, children, errand).await;
        self.went_well(outcome, shown)
    }

    fn went_well(&self, outcome: io::Result<Ending>, shown: &str) -> bool {
        let Self { name, notify: NotifyConfig { timeout, .. }, .. } = self;
        match outcome {
            Ok(Ending::Exited(status)) if status.success() => return true,
            Ok(Ending::Exited(status)) => match status.signal() {
                Some(signal) => tracing::warn!(virtual_router = %name, "{shown} was ended by signal {signal}"),
                None => tracing::warn!(virtual_router = %name, "{shown} failed: {status}"),
            },
            Ok(Ending::Killed) => tracing::warn!(virtual_router = %name, "{shown} ran for {timeout}: killed"),
            Err(error) => tracing::error!(virtual_router = %name, "cannot run {shown}: {error}"),
        }
        false
    }
}

/// The words of keepalived.conf(5).
fn keepalived_state(on: Occasion) -> &'static str {
    match on {
        Occasion::Active => "MASTER",
        Occasion::Backup => "BACKUP",
        Occasion::Fault => "FAULT",
        Occasion::Stop | Occasion::Any => "STOP",
    }
}
