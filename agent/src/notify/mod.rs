//! Who is told of changes of state: the history, mail, and notify programs, those of sync groups included.

pub mod audience;
pub mod log;
pub mod mail;
pub mod programs;
pub mod sync_group;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use xvrrp_config::{Config, Occasion};
use xvrrp_vrrp::{Reason, RouterState};

use crate::election::Transition;
use crate::notify::audience::Change;
use crate::notify::mail::Mailer;
use crate::notify::programs::{LastTold, Notifier};
use crate::notify::sync_group::SyncGroups;
use crate::plan::{Plans, Waiting};
use crate::process::program::{Children, Running};
use crate::status::history::History;

/// See the module. Never waited for by those who have something to tell.
#[derive(Debug)]
pub struct Notifications {
    pub history: Arc<History>,
    pub programs: Notifier,
    mailer: Mailer,
    groups: SyncGroups,
    /// The sync groups come after all virtual routers.
    first_group: usize,
}

impl Notifications {
    /// `told` is what an agent that this process was has told last, and `running` are the programs that it left.
    pub fn start(
        config: &Config,
        plans: &Plans<'_>,
        told: &BTreeMap<String, LastTold>,
        running: Vec<Running>,
        children: &Children,
    ) -> anyhow::Result<Self> {
        let first_group = plans.ready.len() + plans.waiting.len();
        let audiences = audience::audiences(plans, &config.sync_groups);
        let names = audiences.iter().take(first_group);
        let names = names.map(|audience| audience.as_ref().map(|audience| audience.name.clone()));
        let mailer = Mailer::start(config, names).context("cannot start the mail thread")?;
        Ok(Self {
            history: Arc::new(History::new(first_group)),
            programs: Notifier::new(audiences, told, running, children),
            mailer,
            groups: SyncGroups::new(config, plans),
            first_group,
        })
    }

    /// What a virtual router waits for, which is `news` unless it did so before.
    pub fn waits(&mut self, waiting: &Waiting<'_>, news: bool) {
        let (reason, priority) = (waiting.reason.clone(), waiting.config.priority.get());
        self.tell(waiting.place, Change { on: Occasion::Fault, state: RouterState::Fault, reason, priority }, news);
    }

    /// Of the virtual router at this place in the configuration.
    pub fn transition(&mut self, place: usize, transition: &Transition) {
        // Who goes on where another agent was has nothing new to tell.
        self.tell(place, change(transition), !matches!(transition.reason, Reason::Resumed));
    }

    fn tell(&mut self, place: usize, change: Change, news: bool) {
        let of_group = self.groups.note(place, &change, news);
        if news {
            self.history.note(place, change.state, &change.reason);
        }
        // Also what is no news, and was not told when the agent before ended.
        self.mailer.tell(place, &change, news);
        self.programs.notify(place, change, news);
        if let Some((group, change, news)) = of_group {
            self.programs.notify(self.first_group + group, change, news);
        }
    }

    /// Has what is gathered put where the next agent finds it.
    pub async fn flush(&self) {
        self.mailer.flush().await;
    }

    /// Waits for a while until everybody has been told.
    pub async fn finish(self) {
        tokio::join!(self.programs.finish(), self.mailer.finish());
    }
}

fn change(transition: &Transition) -> Change {
    let Transition { to, reason, priority, .. } = *transition;
    let state = RouterState::new(to, reason);
    let on = match state {
        RouterState::Active => Occasion::Active,
        RouterState::Backup => Occasion::Backup,
        RouterState::Fault => Occasion::Fault,
        RouterState::Init => Occasion::Stop,
    };
    Change { on, state, reason: reason.to_string(), priority: priority.get() }
}
