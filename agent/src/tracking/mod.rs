//! Runs the checks and computes their effect on the virtual routers that track them, by keepalived's rules.
//!
//! Each check has a task of its own, so no check waits for another. The task looks once per interval, and at once when
//! the kernel reports a change. [`Tracker::next`] returns the verdicts on virtual routers that result.

mod initial_number;
mod outcome;
mod probe;
mod proc;
mod process;
mod verdict;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use xvrrp_common::units::{Instant, Priority};
use xvrrp_config::{CheckConfig, CheckIndex, CheckKind, Config, Tracked, VirtualRouterConfig};

use crate::election::TrackedVerdict;
use crate::identity::PerRouter;
use crate::process::clock;
use crate::process::program::Children;
pub use outcome::{CheckState, Outcome};
use outcome::{Observation, RiseFall};
use probe::Probe;
pub use verdict::Verdict;

/// Runs the checks and follows their outcomes.
#[derive(Debug)]
pub struct Tracker {
    checks: Vec<RunningCheck>,
    routers: PerRouter<TrackingRouter>,
    observations: mpsc::UnboundedReceiver<(CheckIndex, Observation)>,
    /// New verdicts that [`Self::next`] has not returned yet: those that follow from one look together.
    updates: VecDeque<Vec<TrackedVerdict>>,
    states: watch::Sender<Vec<CheckResult>>,
    tasks: JoinSet<()>,
}

/// The latest result of a check, for the status.
#[derive(Clone, Debug)]
pub struct CheckResult {
    /// Its outcome, after rise and fall.
    pub outcome: Outcome,
    /// Since when it has that outcome, on the boot-time clock.
    pub since: Instant,
    /// Why the latest look failed, if it did.
    pub failure: Option<String>,
}

#[derive(Debug)]
struct RunningCheck {
    name: String,
    key: String,
    filter: RiseFall,
}

#[derive(Debug)]
struct TrackingRouter {
    name: String,
    priority: Priority,
    track: Vec<Tracked>,
    verdict: Verdict,
}

/// The latest outcomes of the checks, by name and target, for the agent that this process becomes.
pub type Outcomes = BTreeMap<String, Outcome>;

/// Returns the outcome that each check of the configuration has until its first look: the one from `before`, if its
/// name and its target are the same, otherwise [`Outcome::Pending`] or, if the configuration says so,
/// [`Outcome::Down`].
pub fn inherited(checks: &[CheckConfig], before: &Outcomes) -> Vec<Outcome> {
    let initial = |check: &CheckConfig| if check.init_fail { Outcome::Down } else { Outcome::Pending };
    checks.iter().map(|check| before.get(&key(check)).copied().unwrap_or(initial(check))).collect()
}

fn key(CheckConfig { name, kind, .. }: &CheckConfig) -> String {
    format!("{name} {kind:?}")
}

/// Returns the verdict with which a virtual router starts if its checks have these outcomes.
pub fn initial(router: &VirtualRouterConfig, outcomes: &[Outcome]) -> Verdict {
    compute(router.priority, &router.track, |check| check.of(outcomes).copied().unwrap_or(Outcome::Pending))
}

fn compute(priority: Priority, track: &[Tracked], outcome: impl Fn(CheckIndex) -> Outcome) -> Verdict {
    verdict::verdict(priority, track.iter().map(|tracked| (*tracked, outcome(tracked.check))))
}

impl Tracker {
    /// Starts, on the current runtime, a task for every check that a virtual router of the configuration tracks.
    /// `routers` are those that take part in the election, in the order of their numbers. An agent that continues
    /// another one does not initialize files.
    pub fn start<'a>(
        config: &Config,
        outcomes: &[Outcome],
        routers: impl Iterator<Item = &'a VirtualRouterConfig>,
        children: &Children,
        continues: bool,
    ) -> Self {
        let (sender, observations) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for (index, check) in config.numbered_checks().filter(|(index, _)| config.is_tracked(*index)) {
            let mut check = check.clone();
            if let CheckKind::File { initial, .. } = &mut check.kind {
                *initial = initial.filter(|_| !continues);
            }
            tasks.spawn(run(index, check, sender.clone(), children.clone()));
        }
        Self::new(&config.checks, outcomes, routers, observations, tasks)
    }

    fn new<'a>(
        checks: &[CheckConfig],
        outcomes: &[Outcome],
        routers: impl Iterator<Item = &'a VirtualRouterConfig>,
        observations: mpsc::UnboundedReceiver<(CheckIndex, Observation)>,
        tasks: JoinSet<()>,
    ) -> Self {
        let check = |(check, &outcome): (&CheckConfig, &Outcome)| RunningCheck {
            name: check.name.clone(),
            key: key(check),
            filter: RiseFall::new(check.rise, check.fall, outcome),
        };
        let router = |router: &VirtualRouterConfig| TrackingRouter {
            name: router.name.clone(),
            priority: router.priority,
            track: router.track.clone(),
            verdict: initial(router, outcomes),
        };
        let state = |&outcome: &Outcome| CheckResult { outcome, since: clock::now(), failure: None };
        Self {
            checks: checks.iter().zip(outcomes).map(check).collect(),
            routers: routers.map(router).collect(),
            observations,
            updates: VecDeque::new(),
            states: watch::Sender::new(outcomes.iter().map(state).collect()),
            tasks,
        }
    }

    /// Returns the outcomes of all checks that are not pending, for [`inherited`].
    pub fn outcomes(&self) -> Outcomes {
        let known = self.checks.iter().map(|check| (check.key.clone(), check.filter.outcome()));
        known.filter(|(_, outcome)| *outcome != Outcome::Pending).collect()
    }

    /// Stops all checks and kills the scripts that run.
    pub async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Returns a view of the checks' current states, in the order of the configuration.
    pub fn states(&self) -> watch::Receiver<Vec<CheckResult>> {
        self.states.subscribe()
    }

    /// Waits for the next look that changes verdicts, and returns these. Changes that nothing waits for are kept.
    pub async fn next(&mut self) -> Vec<TrackedVerdict> {
        loop {
            if let Some(verdicts) = self.updates.pop_front() {
                return verdicts;
            }
            match self.observations.recv().await {
                Some((check, observation)) => self.observe(check, observation),
                None => return std::future::pending().await,
            }
        }
    }

    fn observe(&mut self, index: CheckIndex, observation: Observation) {
        let Some(check) = index.of_mut(&mut self.checks) else { return };
        let turned = check.filter.observe(&observation);
        let outcome = check.filter.outcome();
        if turned {
            log(&check.name, outcome, &observation);
        }
        let failure = match observation {
            Observation::Failed(reason) => Some(reason),
            Observation::Passed | Observation::Value(_) => None,
        };
        self.states.send_if_modified(|states| {
            let Some(state) = index.of_mut(states) else { return false };
            if turned {
                (state.outcome, state.since) = (outcome, clock::now());
            }
            state.failure = failure;
            true
        });
        if turned {
            self.update_verdicts(index);
        }
    }

    fn update_verdicts(&mut self, changed: CheckIndex) {
        let outcome =
            |check: CheckIndex| check.of(&self.checks).map_or(Outcome::Pending, |check| check.filter.outcome());
        let mut verdicts = Vec::new();
        for (index, router) in self.routers.enumerate_mut() {
            if !router.track.iter().any(|tracked| tracked.check == changed) {
                continue;
            }
            let verdict = compute(router.priority, &router.track, outcome);
            if verdict == router.verdict {
                continue;
            }
            if verdict.priority != router.verdict.priority {
                tracing::info!(virtual_router = %router.name, priority = verdict.priority.get(), "priority changed");
            }
            router.verdict = verdict;
            let Verdict { priority, checks } = verdict;
            verdicts.push(TrackedVerdict { router: index, priority, checks });
        }
        if !verdicts.is_empty() {
            self.updates.push_back(verdicts);
        }
    }
}

/// Runs one check: looks again and again, until nothing receives the observations any more.
async fn run(
    index: CheckIndex,
    check: CheckConfig,
    observations: mpsc::UnboundedSender<(CheckIndex, Observation)>,
    children: Children,
) {
    let mut probe = Probe::open(&check, children);
    let mut timer = tokio::time::interval(Duration::from(check.interval));
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = probe.change() => {}
        }
        if observations.send((index, probe.look().await)).is_err() {
            return;
        }
    }
}

fn log(check: &str, outcome: Outcome, observation: &Observation) {
    match (outcome, observation) {
        (_, Observation::Failed(reason)) => tracing::warn!(check, state = CheckState::Down.name(), "{reason}"),
        (Outcome::Value(value), _) => tracing::info!(check, value, "check changed"),
        _ => tracing::info!(check, state = CheckState::Up.name(), "check changed"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use xvrrp_vrrp::Checks;

    /// Three virtual routers: `x` tracks `a` without a weight and `b` with one, `y` tracks `b` only, `z` tracks
    /// nothing.
    fn tracker() -> (mpsc::UnboundedSender<(CheckIndex, Observation)>, Tracker) {
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

    /// Returns all updates that follow from an observation.
    fn observe(tracker: &mut Tracker, check: usize, observation: Observation) -> Vec<(usize, u8, Checks)> {
        tracker.observe(CheckIndex::new(check), observation);
        let updates = std::mem::take(&mut tracker.updates);
        assert!(updates.len() <= 1, "what follows from one look comes together");
        let verdicts = updates.into_iter().flatten();
        verdicts.map(|TrackedVerdict { router, priority, checks }| (router.get(), priority.get(), checks)).collect()
    }

    #[test]
    fn only_the_virtual_routers_that_a_check_affects_get_an_update() {
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
    fn a_check_that_counts_as_failed_until_its_first_look_keeps_an_outcome_that_it_has_already() {
        let config = xvrrp_config::parse(
            Path::new("x.toml"),
            r#"
            check = [{ name = "a", ping = "192.0.2.9", init_fail = true, rise = 2 }]
            virtual_router = [
                { name = "x", interface = "eth0", vrid = 1, addresses = ["192.0.2.1"], track = ["a"] },
            ]
            "#,
        )
        .unwrap();
        let outcomes = inherited(&config.checks, &Outcomes::new());
        assert_eq!(outcomes, [Outcome::Down]);
        assert_eq!(initial(&config.virtual_routers[0], &outcomes).checks, Checks::Failed);
        let (_sender, observations) = mpsc::unbounded_channel();
        let routers = config.virtual_routers.iter();
        let mut tracker = Tracker::new(&config.checks, &outcomes, routers, observations, JoinSet::new());
        assert_eq!(observe(&mut tracker, 0, Observation::Passed), [], "it takes two successes");
        assert_eq!(observe(&mut tracker, 0, Observation::Passed), [(0, 100, Checks::Passed)]);
        assert_eq!(inherited(&config.checks, &tracker.outcomes()), [Outcome::Up]);
    }

    #[test]
    fn the_state_has_the_latest_failure_and_the_time_of_the_last_change() {
        let (_sender, mut tracker) = tracker();
        let states = tracker.states();
        observe(&mut tracker, 1, Observation::Passed);
        let up_since = states.borrow()[1].since;
        observe(&mut tracker, 1, Observation::Failed("first".into()));
        assert_eq!(states.borrow()[1].failure.as_deref(), Some("first"));
        assert_eq!((states.borrow()[1].outcome, states.borrow()[1].since), (Outcome::Up, up_since));
        observe(&mut tracker, 1, Observation::Failed("second".into()));
        assert_eq!(states.borrow()[1].outcome, Outcome::Down);
        observe(&mut tracker, 1, Observation::Passed);
        assert_eq!(states.borrow()[1].failure, None);
    }
}
