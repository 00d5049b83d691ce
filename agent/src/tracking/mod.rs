//! Checks, and what they make of the virtual routers that track them: keepalived's tracking, with its meaning.
//!
//! Each check has a task that looks every interval, and at once where the kernel tells of a change; none waits for another.
//! [`Tracker::next`] tells what has become of a virtual router's priority.

mod eye;
mod outcome;
mod process;
mod verdict;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use xvrrp_common::units::{Instant, Priority};
use xvrrp_config::{CheckConfig, Config, Tracked, VirtualRouterConfig};

use crate::process::clock;
use crate::process::program::Children;
use eye::Eye;
pub use outcome::Outcome;
use outcome::{Judge, Observation};
pub use verdict::Verdict;

/// See the module.
#[derive(Debug)]
pub struct Tracker {
    checks: Vec<Check>,
    routers: Vec<Router>,
    observations: mpsc::UnboundedReceiver<(usize, Observation)>,
    /// What was not fetched yet.
    updates: VecDeque<Update>,
    accounts: watch::Sender<Vec<Account>>,
    tasks: JoinSet<()>,
}

/// A virtual router, by its place among all of them, that is to be treated in another way from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    pub router: usize,
    pub verdict: Verdict,
}

/// How a check stands, for the status.
#[derive(Clone, Debug)]
pub struct Account {
    pub outcome: Outcome,
    pub since: Instant,
    /// Why the latest look failed, if it did.
    pub failure: Option<String>,
}

#[derive(Debug)]
struct Check {
    name: String,
    key: String,
    judge: Judge,
}

#[derive(Debug)]
struct Router {
    name: String,
    priority: Priority,
    track: Vec<Tracked>,
    verdict: Verdict,
}

/// What the checks said last, by name and by what is looked at: for the agent that this process becomes.
pub type Outcomes = BTreeMap<String, Outcome>;

/// What each check of the configuration says until it has been looked at: what it said `before`, if it is still the same.
pub fn inherited(checks: &[CheckConfig], before: &Outcomes) -> Vec<Outcome> {
    checks.iter().map(|check| before.get(&key(check)).copied().unwrap_or(Outcome::Pending)).collect()
}

fn key(CheckConfig { name, kind, .. }: &CheckConfig) -> String {
    format!("{name} {kind:?}")
}

/// What a virtual router starts with, where its checks say this.
pub fn initial(router: &VirtualRouterConfig, outcomes: &[Outcome]) -> Verdict {
    reckon(router.priority, &router.track, |check| outcomes.get(check).copied().unwrap_or(Outcome::Pending))
}

fn reckon(priority: Priority, track: &[Tracked], outcome: impl Fn(usize) -> Outcome) -> Verdict {
    verdict::verdict(priority, track.iter().map(|tracked| (tracked.weight, outcome(tracked.check))))
}

impl Tracker {
    /// Starts to look at every check that one of the virtual routers tracks, on the current runtime.
    pub fn start<'a>(
        config: &Config,
        outcomes: &[Outcome],
        routers: impl Iterator<Item = &'a VirtualRouterConfig>,
        children: &Children,
    ) -> Self {
        let (sender, observations) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for (index, check) in config.checks.iter().enumerate().filter(|(index, _)| config.is_tracked(*index)) {
            tasks.spawn(watch_over(index, check.clone(), sender.clone(), children.clone()));
        }
        Self::new(&config.checks, outcomes, routers, observations, tasks)
    }

    fn new<'a>(
        checks: &[CheckConfig],
        outcomes: &[Outcome],
        routers: impl Iterator<Item = &'a VirtualRouterConfig>,
        observations: mpsc::UnboundedReceiver<(usize, Observation)>,
        tasks: JoinSet<()>,
    ) -> Self {
        let check = |(check, &outcome): (&CheckConfig, &Outcome)| Check {
            name: check.name.clone(),
            key: key(check),
            judge: Judge::new(check.rise, check.fall, outcome),
        };
        let router = |router: &VirtualRouterConfig| Router {
            name: router.name.clone(),
            priority: router.priority,
            track: router.track.clone(),
            verdict: initial(router, outcomes),
        };
        let account = |&outcome: &Outcome| Account { outcome, since: clock::now(), failure: None };
        Self {
            checks: checks.iter().zip(outcomes).map(check).collect(),
            routers: routers.map(router).collect(),
            observations,
            updates: VecDeque::new(),
            accounts: watch::Sender::new(outcomes.iter().map(account).collect()),
            tasks,
        }
    }

    /// What the checks say that have been looked at, for [`inherited`].
    pub fn outcomes(&self) -> Outcomes {
        let known = self.checks.iter().map(|check| (check.key.clone(), check.judge.outcome()));
        known.filter(|(_, outcome)| *outcome != Outcome::Pending).collect()
    }

    /// Looks no more: every script that runs is killed.
    pub async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    /// How the checks stand, at any time, in the order of the configuration.
    pub fn accounts(&self) -> watch::Receiver<Vec<Account>> {
        self.accounts.subscribe()
    }

    /// The next change; never, if there is none. Nothing is lost if nobody waits for a while.
    pub async fn next(&mut self) -> Update {
        loop {
            if let Some(update) = self.updates.pop_front() {
                return update;
            }
            match self.observations.recv().await {
                Some((check, observation)) => self.observe(check, observation),
                None => return std::future::pending().await,
            }
        }
    }

    fn observe(&mut self, index: usize, observation: Observation) {
        let Some(check) = self.checks.get_mut(index) else { return };
        let turned = check.judge.observe(&observation);
        let outcome = check.judge.outcome();
        if turned {
            tell(&check.name, outcome, &observation);
        }
        let failure = match observation {
            Observation::Failed(reason) => Some(reason),
            Observation::Passed | Observation::Value(_) => None,
        };
        self.accounts.send_if_modified(|accounts| {
            let Some(account) = accounts.get_mut(index) else { return false };
            if turned {
                (account.outcome, account.since) = (outcome, clock::now());
            }
            account.failure = failure;
            true
        });
        if turned {
            self.reckon_anew(index);
        }
    }

    fn reckon_anew(&mut self, changed: usize) {
        let outcome = |check: usize| self.checks.get(check).map_or(Outcome::Pending, |check| check.judge.outcome());
        for (index, router) in self.routers.iter_mut().enumerate() {
            if !router.track.iter().any(|tracked| tracked.check == changed) {
                continue;
            }
            let verdict = reckon(router.priority, &router.track, outcome);
            if verdict == router.verdict {
                continue;
            }
            if verdict.priority != router.verdict.priority {
                tracing::info!(virtual_router = %router.name, priority = verdict.priority.get(), "priority changed");
            }
            router.verdict = verdict;
            self.updates.push_back(Update { router: index, verdict });
        }
    }
}

/// One look after the other, until nobody wants to know.
async fn watch_over(
    index: usize,
    check: CheckConfig,
    observations: mpsc::UnboundedSender<(usize, Observation)>,
    children: Children,
) {
    let mut eye = Eye::open(&check, children);
    let mut timer = tokio::time::interval(Duration::from(check.interval));
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = eye.change() => {}
        }
        if observations.send((index, eye.look().await)).is_err() {
            return;
        }
    }
}

fn tell(check: &str, outcome: Outcome, observation: &Observation) {
    match (outcome, observation) {
        (_, Observation::Failed(reason)) => tracing::warn!(check, state = "down", "{reason}"),
        (Outcome::Value(value), _) => tracing::info!(check, value, "check changed"),
        _ => tracing::info!(check, state = "up", "check changed"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use xvrrp_vrrp::Checks;

    /// Two routers that track `a` without, and `b` with a weight; the second one only `b`.
    fn tracker() -> (mpsc::UnboundedSender<(usize, Observation)>, Tracker) {
        let config = xvrrp_config::parse(
            Path::new("x.toml"),
            r#"
            check = [
                { name = "a", file = "/a" },
                { name = "b", ping = "192.0.2.9", fall = 2, weight = -20 },
            ]
            virtual_router = [
                { name = "x", interface = "eth0", vrid = 1, addresses = ["192.0.2.1"], track = ["a", "b"] },
                { name = "y", interface = "eth0", vrid = 2, addresses = ["192.0.2.2"], track = [{ check = "b", weight = 5 }] },
                { name = "z", interface = "eth0", vrid = 3, addresses = ["192.0.2.3"] },
            ]
            "#,
        )
        .unwrap();
        let outcomes = inherited(&config.checks, &Outcomes::new());
        let initially: Vec<Checks> = config.virtual_routers.iter().map(|it| initial(it, &outcomes).checks).collect();
        assert_eq!(initially, [Checks::Pending, Checks::Passed, Checks::Passed]);
        let (sender, observations) = mpsc::unbounded_channel();
        (sender, Tracker::new(&config.checks, &outcomes, config.virtual_routers.iter(), observations, JoinSet::new()))
    }

    /// All that follows from an observation.
    fn observe(tracker: &mut Tracker, check: usize, observation: Observation) -> Vec<(usize, u8, Checks)> {
        tracker.observe(check, observation);
        let updates = std::mem::take(&mut tracker.updates);
        updates.into_iter().map(|Update { router, verdict }| (router, verdict.priority.get(), verdict.checks)).collect()
    }

    #[test]
    fn those_who_track_a_check_are_told_of_what_it_changes_and_nobody_else() {
        let (_sender, mut tracker) = tracker();
        let failed = || Observation::Failed("no answer".into());
        assert_eq!(observe(&mut tracker, 1, Observation::Passed), [(1, 105, Checks::Passed)]);
        assert_eq!(observe(&mut tracker, 0, Observation::Value(0)), [(0, 100, Checks::Passed)]);
        assert_eq!(observe(&mut tracker, 1, failed()), []);
        assert_eq!(observe(&mut tracker, 1, failed()), [(0, 80, Checks::Passed), (1, 100, Checks::Passed)]);
        assert_eq!(observe(&mut tracker, 0, Observation::Value(1)), [(0, 80, Checks::Failed)]);
        assert_eq!(observe(&mut tracker, 0, Observation::Value(2)), []);
        assert_eq!(observe(&mut tracker, 1, Observation::Passed), [(0, 100, Checks::Failed), (1, 105, Checks::Passed)]);
        assert_eq!(observe(&mut tracker, 0, Observation::Value(0)), [(0, 100, Checks::Passed)]);
    }

    #[test]
    fn the_account_has_the_latest_failure_and_since_when() {
        let (_sender, mut tracker) = tracker();
        let accounts = tracker.accounts();
        observe(&mut tracker, 1, Observation::Passed);
        let up_since = accounts.borrow()[1].since;
        observe(&mut tracker, 1, Observation::Failed("first".into()));
        assert_eq!(accounts.borrow()[1].failure.as_deref(), Some("first"));
        assert_eq!((accounts.borrow()[1].outcome, accounts.borrow()[1].since), (Outcome::Up, up_since));
        observe(&mut tracker, 1, Observation::Failed("second".into()));
        assert_eq!(accounts.borrow()[1].outcome, Outcome::Down);
        observe(&mut tracker, 1, Observation::Passed);
        assert_eq!(accounts.borrow()[1].failure, None);
    }
}
