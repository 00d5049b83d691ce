//! Runs notify programs, and starts and stops services, on changes of state. Those of one virtual router or sync group
//! run one after the other, in a task that nothing else waits for.

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
use xvrrp_config::{NotifyConfig, NotifyProgram, Occasion, Program};
use xvrrp_vrrp::RouterState;

use crate::identity::AudienceId;
use crate::notify::audience::{Audience, StateChange, keepalived_word};
use crate::plan::cause::Cause;
use crate::process::command;
use crate::process::program::{self, Children, Orphan, ProgramEnd, Purpose, RunningProgram, UserLookup};

/// How long the end of the agent waits for programs that still run or wait to be run.
const LAST: Duration = Duration::from_secs(5);
/// How many changes of an audience may wait while a program runs; a power of two.
const WAITING: usize = 16;

/// Runs the notify programs of all audiences.
#[derive(Debug)]
pub struct Notifier {
    /// Queues of the audiences that have programs or services.
    queues: BTreeMap<AudienceId, Queue>,
    /// How many programs of each audience have failed.
    failures: BTreeMap<AudienceId, Arc<AtomicU64>>,
    /// What each audience was notified of last, with the audience's key.
    last: Vec<(String, watch::Receiver<Option<LastNotified>>)>,
    tasks: JoinSet<()>,
}

/// What the task of one audience has to do.
#[derive(Debug)]
struct Queue {
    /// Changes of state. The flag says whether the change is new.
    changes: broadcast::Sender<(StateChange, bool)>,
    /// Our priority when an advert with a lower one was received; `None` if this host has not been Active since. There
    /// is only the latest: one run serves them all.
    lower: watch::Sender<Option<u8>>,
}

/// What is reported to the task of one audience.
#[derive(Debug)]
struct News {
    changes: broadcast::Receiver<(StateChange, bool)>,
    lower: watch::Receiver<Option<u8>>,
}

/// The state with which the task of one audience starts.
#[derive(Debug)]
struct Inheritance {
    /// Programs that a previous agent in this process has started.
    running: Vec<RunningProgram>,
    children: Children,
    last: watch::Sender<Option<LastNotified>>,
}

/// What an audience was notified of last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LastNotified {
    /// A change for which not all programs have ended yet.
    #[serde(rename = "")]
    Unfinished,
    /// A change to this state, for which all programs have ended.
    #[serde(untagged)]
    State(RouterState),
}

impl Notifier {
    /// Starts, on the current runtime, a task for each audience that has programs or services. `before` is what a
    /// previous agent in this process returned from [`Self::last_notified`]: an audience is not notified of the same
    /// state again. `running` are the programs that it left running: the next program of the same audience runs after
    /// they have ended.
    pub fn new(
        audiences: BTreeMap<AudienceId, Audience>,
        before: &BTreeMap<String, LastNotified>,
        mut running: Vec<RunningProgram>,
        children: &Children,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let (mut failures, mut all_last) = (BTreeMap::new(), Vec::new());
        let queues = audiences.into_iter().filter_map(|(id, audience)| {
            let failed = Arc::new(AtomicU64::new(0));
            failures.insert(id, Arc::clone(&failed));
            let NotifyConfig { programs, services, .. } = &audience.notify;
            if programs.is_empty() && services.is_empty() {
                return None;
            }
            let (changes, received) = broadcast::channel(WAITING);
            let (lower, lower_received) = watch::channel(None);
            let news = News { changes: received, lower: lower_received };
            let key = audience.key();
            let (last, state) = watch::channel(before.get(&key).copied());
            let (ours, others) = std::mem::take(&mut running).into_iter().partition(|it| it.purpose.owner == key);
            running = others;
            all_last.push((key, state));
            let inheritance = Inheritance { running: ours, children: children.clone(), last };
            tasks.spawn(audience.serve(news, failed, inheritance));
            Some((id, Queue { changes, lower }))
        });
        let queues = queues.collect();
        // The rest belongs to checks, and to audiences that no longer exist. Waiting for them leaves no zombies.
        for running in running {
            let children = children.clone();
            tasks.spawn(async move {
                let _ = children.adopt(running).await;
            });
        }
        Self { queues, failures, last: all_last, tasks }
    }

    /// Returns counters of the programs and services that have failed or were killed, one for each audience.
    pub fn failures(&self) -> BTreeMap<AudienceId, Arc<AtomicU64>> {
        self.failures.clone()
    }

    /// Returns what each audience was notified of last, by the audience's key. Changes that still wait are not
    /// included.
    pub fn last_notified(&self) -> BTreeMap<String, LastNotified> {
        self.last.iter().filter_map(|(key, last)| Some((key.clone(), (*last.borrow())?))).collect()
    }

    /// Notifies an audience of a change. If `is_new` is false, the state continues from a previous
    /// agent, and the audience is notified only if that agent notified it of another state last.
    pub fn notify(&self, audience: AudienceId, change: StateChange, is_new: bool) {
        if let Some(queue) = self.queues.get(&audience) {
            if change.state != RouterState::Active {
                // Whoever has been notified of this change must not hear of the time before it.
                queue.lower.send_replace(None);
            }
            // Fails only if the task has ended.
            let _ = queue.changes.send((change, is_new));
        }
    }

    /// Notifies an audience of an advert with a lower priority than this one, its own.
    pub fn lower_priority(&self, audience: AudienceId, priority: u8) {
        if let Some(queue) = self.queues.get(&audience) {
            queue.lower.send_replace(Some(priority));
        }
    }

    /// Waits, for a limited time, until all audiences have been notified of everything.
    pub async fn finish(mut self) {
        self.queues.clear();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST, all).await.is_err() {
            tracing::warn!("notify programs still run after {LAST:?}: left running");
        }
    }
}

impl Audience {
    /// Returns the key that identifies this audience, also for a later agent.
    fn key(&self) -> String {
        Self::key_of(self.kind, &self.name)
    }

    async fn serve(
        self,
        News { mut changes, mut lower }: News,
        failed: Arc<AtomicU64>,
        Inheritance { running, children, last }: Inheritance,
    ) {
        for running in running {
            let completes = running.purpose.completes;
            let succeeded = match children.adopt(running).await {
                Ok(Some(end)) => self.check(Ok(end), "a notify program from before the reload"),
                Ok(None) => true,
                Err(error) => self.check(Err(error), "a notify program from before the reload"),
            };
            failed.fetch_add(u64::from(!succeeded), Ordering::Relaxed);
            if let Some(state) = completes {
                last.send_replace(Some(LastNotified::State(state)));
            }
        }
        let mut users = UserLookup::default();
        let mut before = *last.borrow();
        loop {
            let change = tokio::select! {
                biased;
                change = changes.recv() => change,
                // The senders of both are dropped together.
                Ok(()) = lower.changed() => {
                    let Some(priority) = *lower.borrow_and_update() else { continue };
                    let (on, state) = (Occasion::LowerPriority, RouterState::Active);
                    let change = StateChange { on, state, reason: Cause::Host("lower_priority".to_owned()), priority };
                    let failures = self.run_all(&change, &children, &mut users).await;
                    failed.fetch_add(failures, Ordering::Relaxed);
                    continue;
                }
            };
            match change {
                Ok((change, is_new)) => {
                    // The first state after a start is either the one that the previous agent notified of last, or one
                    // that it did not notify of.
                    let known = before.take().map_or(!is_new, |last| last == LastNotified::State(change.state));
                    if known {
                        continue;
                    }
                    // If this agent ends before the programs do, the next agent runs them again.
                    last.send_replace(Some(LastNotified::Unfinished));
                    let failures = self.run_all(&change, &children, &mut users).await;
                    failed.fetch_add(failures, Ordering::Relaxed);
                    last.send_replace(Some(LastNotified::State(change.state)));
                }
                // The newest changes are still in the queue, so the last notification is of the current state.
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(name = %self.name, "notify programs are too slow: skipped {missed} changes");
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Runs the programs for this change and returns how many have failed.
    async fn run_all(&self, change: &StateChange, children: &Children, users: &mut UserLookup) -> u64 {
        let NotifyConfig { programs, services, .. } = &self.notify;
        let mut commands = Vec::new();
        let is_change = change.on != Occasion::LowerPriority;
        if is_change && !services.is_empty() {
            let verb = if change.on == Occasion::Active { "start" } else { "stop" };
            let mut command = Command::new("systemctl");
            command.args(["--no-ask-password", verb, "--"]).args(services);
            commands.push((command, format!("systemctl {verb} {}", services.join(" ")), None));
        }
        let priority = if self.kind == Audience::GROUP { 0 } else { change.priority }.to_string();
        for NotifyProgram { on, program, .. } in programs {
            // The arguments of keepalived's notify scripts.
            let appended: &[&str] = match on {
                Occasion::Any if is_change => {
                    &[self.kind, &self.name, keepalived_word(change.on, self.notify.deleted), &priority]
                }
                on if *on == change.on => &[],
                _ => continue,
            };
            let Program { command, user } = program;
            commands.push((command::command(command, appended), command.to_string(), user.as_ref()));
        }
        let mut failures = 0;
        let last = commands.len().saturating_sub(1);
        for (index, (mut command, shown, user)) in commands.into_iter().enumerate() {
            let completes = (is_change && index == last).then_some(change.state);
            let purpose = Purpose { owner: self.key(), completes };
            let known = match user {
                Some(user) => users.apply(user, &mut command, self.notify.timeout.into()).await,
                None => Ok(()),
            };
            let outcome = match known {
                Ok(()) => self.run(command, change, children, purpose).await,
                Err(reason) => Err(io::Error::other(reason)),
            };
            failures += u64::from(!self.check(outcome, &shown));
        }
        failures
    }

    /// Runs one program.
    async fn run(
        &self,
        mut command: Command,
        StateChange { state, reason, priority, .. }: &StateChange,
        children: &Children,
        purpose: Purpose,
    ) -> io::Result<ProgramEnd> {
        command
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .env("XVRRP_STATE", state.name())
            .env("XVRRP_REASON", reason.to_string())
            .env("XVRRP_PRIORITY", priority.to_string());
        program::run(&mut command, self.notify.timeout.into(), Orphan::Left, children, purpose).await
    }

    /// Returns whether a program has succeeded, and logs its failure.
    fn check(&self, outcome: io::Result<ProgramEnd>, shown: &str) -> bool {
        let Self { name, notify: NotifyConfig { timeout, .. }, .. } = self;
        match outcome {
            Ok(ProgramEnd::Exited(status)) if status.success() => return true,
            Ok(ProgramEnd::Exited(status)) => match status.signal() {
                Some(signal) => tracing::warn!(virtual_router = %name, "{shown} was terminated by signal {signal}"),
                None => tracing::warn!(virtual_router = %name, "{shown} failed: {status}"),
            },
            Ok(ProgramEnd::Killed) => tracing::warn!(virtual_router = %name, "{shown} ran for {timeout}: killed"),
            Err(error) => tracing::error!(virtual_router = %name, "cannot run {shown}: {error}"),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use xvrrp_common::units::Interval;
    use xvrrp_config::CommandLine;
    use xvrrp_vrrp::Reason;

    use super::*;
    use crate::identity::Place;

    const AUDIENCE: AudienceId = AudienceId::Router(Place::new(0));

    fn change(on: Occasion, state: RouterState) -> StateChange {
        StateChange { on, state, reason: Cause::Election(Reason::ActiveDown), priority: 100 }
    }

    /// Starts a notifier whose programs append a word to the file `words`. The one for Active waits for the file `go`.
    fn notifier(directory: &tempfile::TempDir) -> Notifier {
        let path = directory.path().display();
        let record = |word: &str| format!("echo {word} $XVRRP_PRIORITY >> {path}/words");
        let programs = [
            (Occasion::Active, format!("{}; until test -e {path}/go; do sleep 0.01; done", record("active"))),
            (Occasion::Backup, record("backup")),
            (Occasion::LowerPriority, record("lower")),
        ];
        let program = |(on, line)| NotifyProgram {
            on,
            program: Program { command: CommandLine::Shell(line), user: None },
            line: 1,
        };
        let notify = NotifyConfig {
            programs: programs.into_iter().map(program).collect(),
            timeout: Interval::from_seconds(60),
            services: Vec::new(),
            deleted: false,
        };
        let audience = Audience { kind: Audience::INSTANCE, name: "lan".to_owned(), environment: Vec::new(), notify };
        Notifier::new(BTreeMap::from([(AUDIENCE, audience)]), &BTreeMap::new(), Vec::new(), &Children::default())
    }

    fn words(directory: &tempfile::TempDir) -> Vec<String> {
        let words = fs::read_to_string(directory.path().join("words")).unwrap_or_default();
        words.lines().map(str::to_owned).collect()
    }

    async fn wait_for_words(directory: &tempfile::TempDir, count: usize) {
        tokio::time::timeout(Duration::from_secs(20), async {
            while words(directory).len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{:?}", words(directory)));
    }

    #[tokio::test]
    async fn programs_run_in_the_order_of_the_events_and_a_lower_priority_from_before_the_last_change_is_skipped() {
        let directory = tempfile::tempdir().unwrap();
        let notifier = notifier(&directory);
        let active = || change(Occasion::Active, RouterState::Active);
        let backup = || change(Occasion::Backup, RouterState::Backup);
        notifier.notify(AUDIENCE, active(), true);
        wait_for_words(&directory, 1).await;
        // While the first program runs, a lower priority is heard, and the role is lost.
        notifier.lower_priority(AUDIENCE, 101);
        notifier.notify(AUDIENCE, backup(), true);
        fs::write(directory.path().join("go"), "").unwrap();
        wait_for_words(&directory, 2).await;
        // Another lower priority is heard as Active.
        notifier.notify(AUDIENCE, active(), true);
        notifier.lower_priority(AUDIENCE, 102);
        notifier.lower_priority(AUDIENCE, 103);
        wait_for_words(&directory, 4).await;
        notifier.notify(AUDIENCE, backup(), true);
        notifier.finish().await;
        assert_eq!(words(&directory), ["active 100", "backup 100", "active 100", "lower 103", "backup 100"]);
    }
}
