//! Looks whether the interfaces are still what the agent was started with.
//!
//! A virtual router is made for one interface, by its index, with one primary address: where these change, where an
//! interface goes or where one comes that a virtual router waits for, the agent starts anew
//! ([`reload`](crate::succession::reload)), since it has no other way to start anything. Who is not concerned goes on.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use xvrrp_common::units::Family;
use xvrrp_config::Config;
use xvrrp_net::{Interface, LinkChange, LinkNews};

use crate::plan::Plans;

/// Changes come in groups: an interface, its addresses, its carrier.
const GROUP: Duration = Duration::from_millis(200);
/// How far starts are apart at least, whatever the interfaces do.
const PAUSE: Duration = Duration::from_secs(1);
/// How long an address may be missing before its virtual router gives up: who replaces it takes the old one off first.
const GRACE: Duration = Duration::from_secs(2);
/// When to look again after one was not possible, and how long what failed at the start is left alone.
const RETRY: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct InterfaceWatch {
    stands: Vec<Stand>,
    /// Interfaces that have gone since: one of the same index is another one.
    gone: BTreeSet<u32>,
    /// Since when one that runs lacks an address that it had.
    bare_since: Option<Instant>,
    earliest: Instant,
    due: Option<Instant>,
}

/// What has become of a [`Stand`].
#[derive(Debug)]
struct Change {
    reason: String,
    /// It only lacks an address: its interface is there and up.
    bare: bool,
}

/// How a virtual router stands on its interface.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stand {
    name: String,
    family: Family,
    interface: String,
    /// Its index and the primary address; else why the virtual router waits.
    on: Result<(u32, IpAddr), String>,
}

impl InterfaceWatch {
    pub fn new(plans: &Plans<'_>) -> Self {
        let stands = stands(plans);
        let now = Instant::now();
        let (earliest, due) = if plans.waiting.iter().any(|waiting| waiting.failed) {
            (now + RETRY, Some(now + RETRY))
        } else {
            (now + PAUSE, None)
        };
        Self { stands, gone: BTreeSet::new(), bare_since: None, earliest, due }
    }

    /// Something has happened to some interface.
    pub fn note(&mut self, news: &LinkNews) {
        if let LinkNews::Change(LinkChange { ifindex, mac: None, .. }) = news {
            self.gone.insert(*ifindex);
        }
        self.due.get_or_insert((Instant::now() + GROUP).max(self.earliest));
    }

    /// Waits until it is time for [`Self::difference`]; for ever if nothing has happened.
    pub async fn due(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Why the agent should start anew, if it should. Says so again after a while.
    pub fn difference(&mut self, config: &Config, interfaces: &[Interface]) -> Option<String> {
        let now = stands(&Plans::new(config, interfaces));
        let changed = self.stands.iter().zip(&now).filter_map(|(before, now)| self.change(before, now, interfaces));
        let (bare, changes): (Vec<_>, Vec<_>) = changed.partition(|change| change.bare);
        let bare_since = (!bare.is_empty()).then(|| self.bare_since.unwrap_or_else(Instant::now));
        self.bare_since = bare_since;
        let spared = bare_since.map(|since| since + GRACE).filter(|until| Instant::now() < *until);
        let reasons: Vec<_> =
            changes.iter().chain(bare.iter().filter(|_| spared.is_none())).map(|change| &change.reason).collect();
        let Some((first, others)) = reasons.split_first() else {
            self.due = spared;
            return None;
        };
        self.due = Some(Instant::now() + RETRY);
        Some(if others.is_empty() { (*first).clone() } else { format!("{first}, and {} more", others.len()) })
    }

    /// Whether none of them lacks anything for the moment, after a look that has found no difference.
    pub fn are_settled(&self) -> bool {
        self.due.is_none()
    }

    /// They could not be looked at.
    pub fn look_again(&mut self) {
        self.due = Some(Instant::now() + PAUSE);
    }

    fn change(&self, before: &Stand, now: &Stand, interfaces: &[Interface]) -> Option<Change> {
        let Stand { name, family, interface, on } = now;
        let is_there = |ifindex: u32| interfaces.iter().find(|it| it.ifindex == ifindex && it.name == *interface);
        let (mut bare, change) = (
            false,
            match (&before.on, on) {
                (Ok((ifindex, _)), Ok((now, _))) if ifindex != now || self.gone.contains(now) => {
                    format!("interface {interface} is another one")
                }
                (Ok((_, primary)), Ok((_, now))) if primary != now => {
                    format!("the primary address of {interface} is {now}, no longer {primary}")
                }
                (Err(_), Ok(_)) => format!("interface {interface} is ready"),
                (before, Err(reason)) if before.as_ref().err() != Some(reason) => reason.clone(),
                _ => return None,
            },
        );
        if let (Ok((ifindex, _)), Err(_)) = (&before.on, on)
            && let Some(interface) = is_there(*ifindex)
        {
            // What is down is in fault anyhow, and may have its addresses again as soon as it is up.
            if !interface.running {
                return None;
            }
            bare = true;
        }
        Some(Change { reason: format!("virtual router {name} over {family}: {change}"), bare })
    }
}

fn stands(plans: &Plans<'_>) -> Vec<Stand> {
    let ready = plans
        .ready
        .iter()
        .map(|plan| (plan.place, plan.config, plan.family, Ok((plan.interface.ifindex, plan.primary))));
    let waiting = plans
        .waiting
        .iter()
        .map(|waiting| (waiting.place, waiting.config, waiting.family, Err(waiting.reason.clone())));
    let mut all: Vec<_> = ready.chain(waiting).collect();
    all.sort_by_key(|(place, ..)| *place);
    let stand = |(_, config, family, on): (_, &xvrrp_config::VirtualRouterConfig, _, _)| Stand {
        name: config.name.clone(),
        family,
        interface: config.interface.clone(),
        on,
    };
    all.into_iter().map(stand).collect()
}
