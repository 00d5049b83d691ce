//! Reports changes of state to the history, to mail and to notify programs, including those of sync groups.

pub mod audience;
pub mod log;
pub mod mail;
pub mod programs;
pub mod sync_group;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use xvrrp_config::{Config, Occasion};
use xvrrp_vrrp::{Reason, RouterState};

use crate::election::Transition;
use crate::identity::{AudienceId, Place};
use crate::notify::audience::StateChange;
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
}

impl Notifications {
    /// Starts the mail thread and the tasks for notify programs. `last` has the states that a previous agent in this
    /// process reported last, and `running` the programs that it left running.
    ///
    /// # Errors
    /// The mail thread cannot be started.
    pub fn start(
        config: &Config,
        plans: &Plans<'_>,
        last: &BTreeMap<String, LastNotified>,
        running: Vec<RunningProgram>,
        children: &Children,
    ) -> Result<Self, NotifyError> {
        let audiences = audience::audiences(plans, &config.sync_groups);
        let mailer = Mailer::start(config, &audiences).map_err(NotifyError::Mail)?;
        Ok(Self {
            history: Arc::new(History::new(plans.all().count())),
            programs: Notifier::new(audiences, last, running, children),
            mailer,
            groups: SyncGroups::new(config, plans),
            states: BTreeMap::new(),
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

    fn report(&mut self, place: Place, change: StateChange, is_new: bool) {
        // Another reason for the same state is not a change of state.
        let is_new = self.states.insert(place, change.state) != Some(change.state) && is_new;
        let of_group = self.groups.record(place, &change, is_new);
        if is_new {
            self.history.record(place, change.state, &change.reason);
        }
        // A change that is not new is passed on too: the previous agent may have ended before it could report it.
        self.mailer.report(place, &change, is_new);
        self.programs.notify(AudienceId::Router(place), change, is_new);
        if let Some((group, change, is_new)) = of_group {
            self.programs.notify(AudienceId::Group(group), change, is_new);
        }
    }

    /// Stores the collected mail where the next agent finds it.
    pub async fn flush(&self) {
        self.mailer.flush().await;
    }

    /// Waits, for a limited time, until everything has been reported.
    pub async fn finish(self) {
        tokio::join!(self.programs.finish(), self.mailer.finish());
    }
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
