//! Reports changes of state to the history, to mail and to notify programs, including those of sync groups.

pub mod audience;
pub mod fifo;
pub mod log;
pub mod mail;
pub mod programs;
pub mod sync_group;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use xvrrp_config::{Config, GroupIndex, Occasion, VirtualRouterConfig};
use xvrrp_vrrp::{Reason, RouterState};

use crate::election::Transition;
use crate::identity::{AudienceId, Place};
use crate::notify::audience::{Audience, StateChange, keepalived_word};
use crate::notify::fifo::{FifoLeft, FifoLegacy, Fifos, Line};
use crate::notify::mail::Mailer;
use crate::notify::programs::{LastNotified, Notifier};
use crate::notify::sync_group::SyncGroups;
use crate::plan::cause::Cause;
use crate::plan::{Plans, Waiting};
use crate::process::program::{Children, RunningProgram};
use crate::status::history::History;

/// Why notifications cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The operating system refuses the thread, or what its runtime needs.
    #[error("cannot start the mail thread")]
    Mail(#[source] io::Error),
}

/// Passes changes of state on to everything that reports them. The caller never waits.
#[derive(Debug)]
pub struct Notifications {
    /// Latest changes of state, for the status.
    pub history: Arc<History>,
    /// Runs the notify programs.
    pub programs: Notifier,
    mailer: Mailer,
    groups: SyncGroups,
    /// The state that each virtual router has entered last, by its place in the configuration.
    states: BTreeMap<Place, RouterState>,
    fifos: Fifos,
    routers: BTreeMap<Place, RouterFacts>,
    /// Names of the sync groups.
    group_names: Vec<String>,
    latest: LatestStates,
    /// The virtual routers that a reload has removed, until [`Self::report_removed`].
    removed: Vec<Removed>,
}

/// What the notifications need to know about a virtual router.
#[derive(Debug)]
struct RouterFacts {
    name: String,
    /// The place of its audience, which both of its families share.
    home: Place,
    priority_changes: bool,
}

/// A virtual router that a reload has removed.
#[derive(Debug)]
struct Removed {
    audience: AudienceId,
    name: String,
    /// Whether it is notified as such, and not as a fault.
    deleted: bool,
    change: StateChange,
}

/// The latest state of each virtual router and group and its priority, by the audience's key, for the agent that this
/// process becomes.
pub type LatestStates = BTreeMap<String, (RouterState, u8)>;

/// What the previous agent in this process has left to the notifications.
#[derive(Debug, Default)]
pub struct Legacy {
    /// What each audience was notified of last.
    pub notified: BTreeMap<String, LastNotified>,
    /// The programs that still run. Some of them read FIFOs.
    pub running: Vec<RunningProgram>,
    /// The latest states.
    pub latest: LatestStates,
    /// The FIFOs, each with its open file.
    pub fifos: Vec<(FifoLeft, OwnedFd)>,
    /// The configuration that ran before a reload, if it was another one.
    pub configuration: Option<Config>,
}

impl Notifications {
    /// Starts the mail thread and the tasks for notify programs.
    ///
    /// # Errors
    /// The mail thread cannot be started.
    pub fn start(config: &Config, plans: &Plans<'_>, legacy: Legacy, children: &Children) -> Result<Self, NotifyError> {
        let Legacy { notified, mut running, latest: before, fifos, configuration } = legacy;
        let readers = fifo::take_readers(&mut running);
        let states = before.iter().map(|(key, (state, _))| (key.clone(), *state)).collect();
        let fifos = Fifos::start(&config.agent.notify_fifos, FifoLegacy { fifos, readers, states }, children);
        let mut audiences = audience::audiences(plans, &config.sync_groups);
        let mailer = Mailer::start(config, &audiences).map_err(NotifyError::Mail)?;
        let gone = configuration.map(|configuration| audience::removed(&configuration, config)).unwrap_or_default();
        let mut removed = Vec::new();
        for (number, audience) in gone.into_iter().enumerate() {
            let Some(change) = removal(&audience, &before) else { continue };
            let (name, deleted) = (audience.name.clone(), audience.notify.deleted);
            removed.push(Removed { audience: AudienceId::Removed(number), name, deleted, change });
            audiences.insert(AudienceId::Removed(number), audience);
        }
        let mut homes = BTreeMap::new();
        let facts = |(place, config): (Place, &VirtualRouterConfig)| {
            let home = *homes.entry(config.name.clone()).or_insert(place);
            let priority_changes = config.notify_priority_changes;
            (place, RouterFacts { name: config.name.clone(), home, priority_changes })
        };
        Ok(Self {
            history: Arc::new(History::new(plans.all().count())),
            programs: Notifier::new(audiences, &notified, running, children),
            mailer,
            groups: SyncGroups::new(config, plans),
            states: BTreeMap::new(),
            fifos,
            routers: plans.all().map(facts).collect(),
            group_names: config.sync_groups.iter().map(|group| group.name.clone()).collect(),
            latest: LatestStates::new(),
            removed,
        })
    }

    /// Reports that a virtual router waits for something on the host. `is_new`: it did not wait for that before.
    pub fn waits(&mut self, waiting: &Waiting<'_>, is_new: bool) {
        let (reason, priority) = (waiting.cause(), waiting.config.priority.get());
        let change = StateChange { on: Occasion::Fault, state: RouterState::Fault, reason, priority };
        self.report(waiting.place, change, is_new);
    }

    /// Reports a transition of the virtual router at this place in the configuration.
    pub fn transition(&mut self, place: Place, transition: &Transition) {
        // An agent that resumes the role of its predecessor has no news to report.
        self.report(place, change(transition), !matches!(transition.reason, Reason::Resumed));
    }

    /// Reports that the virtual router at this place has received an advert with a lower priority than this one, its
    /// own, while it was Active.
    pub fn lower_priority(&self, place: Place, priority: u8) {
        let Some(RouterFacts { name, home, .. }) = self.routers.get(&place) else { return };
        self.programs.lower_priority(AudienceId::Router(*home), priority);
        self.fifos.event(&Line { kind: Audience::INSTANCE, name, word: "MASTER_RX_LOWER_PRI", priority });
    }

    /// Reports that the priority of the virtual router at this place has changed.
    pub fn priority(&mut self, place: Place, is_active: bool, priority: u8) {
        let Some(RouterFacts { name, home, priority_changes }) = self.routers.get(&place) else { return };
        if *home != place {
            return;
        }
        if let Some((_, latest)) = self.latest.get_mut(&Audience::key_of(Audience::INSTANCE, name)) {
            *latest = priority;
        }
        if *priority_changes {
            let word = if is_active { "MASTER_PRIORITY" } else { "BACKUP_PRIORITY" };
            self.fifos.event(&Line { kind: Audience::INSTANCE, name, word, priority });
        }
    }

    /// Reports the virtual routers that a reload has removed, once their addresses are off the host. Later calls do
    /// nothing.
    pub fn report_removed(&mut self) {
        for Removed { audience, name, deleted, change } in std::mem::take(&mut self.removed) {
            let word = keepalived_word(change.on, deleted);
            self.fifos.event(&Line { kind: Audience::INSTANCE, name: &name, word, priority: change.priority });
            self.programs.notify(audience, change, true);
        }
    }

    /// Reports to programs and FIFOs that the agent stops, for the virtual routers and groups that are in fault: the
    /// election reports that only of those that take part.
    pub fn report_stop(&mut self) {
        let routers = self.routers.iter().filter(|(place, router)| router.home == **place);
        let routers = routers.map(|(place, router)| (Audience::INSTANCE, &router.name, AudienceId::Router(*place)));
        let groups = self.group_names.iter().enumerate();
        let groups = groups.map(|(index, name)| (Audience::GROUP, name, AudienceId::Group(GroupIndex::new(index))));
        for (kind, name, audience) in routers.chain(groups) {
            let Some((RouterState::Fault, priority)) = self.latest.get(&Audience::key_of(kind, name)).copied() else {
                continue;
            };
            let (on, state) = (Occasion::Stop, RouterState::Init);
            let change = StateChange { on, state, reason: Cause::Election(Reason::Shutdown), priority };
            let written = if kind == Audience::GROUP { 0 } else { priority };
            self.fifos.event(&Line { kind, name, word: keepalived_word(on, false), priority: written });
            self.programs.notify(audience, change, true);
        }
    }

    /// Returns the latest state of each virtual router and group.
    pub fn latest(&self) -> LatestStates {
        self.latest.clone()
    }

    /// Returns the open FIFOs, for the agent that this process becomes.
    pub fn fifos(&self) -> &Fifos {
        &self.fifos
    }

    fn report(&mut self, place: Place, change: StateChange, is_new: bool) {
        // Another reason for the same state is not a change of state.
        let has_changed = self.states.insert(place, change.state) != Some(change.state);
        let is_new = has_changed && is_new;
        let of_group = self.groups.record(place, &change, is_new);
        let router = self.routers.get(&place).filter(|router| has_changed && router.home == place);
        if let Some(RouterFacts { name, .. }) = router {
            let word = keepalived_word(change.on, false);
            let line = Line { kind: Audience::INSTANCE, name, word, priority: change.priority };
            self.latest.insert(write_state(&mut self.fifos, &line, change.state), (change.state, change.priority));
        }
        if is_new {
            self.history.record(place, change.state, &change.reason);
        }
        // A change that is not new is passed on too: the previous agent may have ended before it could report it.
        self.mailer.report(AudienceId::Router(place), &change, is_new);
        self.programs.notify(AudienceId::Router(place), change, is_new);
        if let Some((group, change, is_new)) = of_group {
            if let Some(name) = group.of(&self.group_names) {
                let word = keepalived_word(change.on, false);
                let line = Line { kind: Audience::GROUP, name, word, priority: 0 };
                self.latest.insert(write_state(&mut self.fifos, &line, change.state), (change.state, change.priority));
            }
            self.mailer.report(AudienceId::Group(group), &change, is_new);
            self.programs.notify(AudienceId::Group(group), change, is_new);
        }
    }

    /// Stores the collected mail where the next agent finds it.
    pub async fn flush(&self) {
        self.mailer.flush().await;
    }

    /// Waits, for a limited time, until everything has been reported.
    pub async fn finish(self) {
        tokio::join!(self.programs.finish(), self.mailer.finish(), self.fifos.finish());
    }
}

/// Returns the change of which a removed virtual router is notified: a fault, as by keepalived, unless it is to be
/// notified of the removal as such. Returns `None` if it was in fault already.
fn removal(audience: &Audience, before: &LatestStates) -> Option<StateChange> {
    let (state, priority) = before.get(&Audience::key_of(audience.kind, &audience.name)).copied()?;
    let next = match state {
        _ if audience.notify.deleted => RouterState::Init,
        RouterState::Fault => return None,
        _ => RouterState::Fault,
    };
    Some(StateChange { on: Occasion::Deleted, state: next, reason: Cause::Host("removed".to_owned()), priority })
}

/// Writes a state to the FIFOs, and returns the key of its audience.
fn write_state(fifos: &mut Fifos, line: &Line<'_>, state: RouterState) -> String {
    let key = Audience::key_of(line.kind, line.name);
    fifos.state(&key, state, line);
    key
}

fn change(transition: &Transition) -> StateChange {
    let Transition { to, reason, priority, .. } = *transition;
    let state = RouterState::new(to, reason);
    let on = match state {
        RouterState::Active => Occasion::Active,
        RouterState::Backup => Occasion::Backup,
        RouterState::Fault => Occasion::Fault,
        RouterState::Init => Occasion::Stop,
    };
    StateChange { on, state, reason: Cause::Election(reason), priority: priority.get() }
}
