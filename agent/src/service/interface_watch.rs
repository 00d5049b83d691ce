//! Checks whether the interfaces are still what the agent was started with.
//!
//! A virtual router is created for one interface, identified by its index, with one primary address. The agent restarts
//! (`succession/reload.rs`) when either of them changes, when an interface disappears, and when an
//! interface appears that a virtual router waits for. It has no other way to start anything. Virtual routers that are
//! not affected continue.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use xvrrp_common::units::{Family, IfIndex};
use xvrrp_config::Config;
use xvrrp_net::{Interface, LinkChange, LinkNews, LinkState};

use crate::plan::{Hindrance, Plan, Plans};

/// Time over which changes are collected, because they come in groups: an interface, its addresses, its carrier.
const GROUP: Duration = Duration::from_millis(200);
/// Shortest time between two restarts, whatever the interfaces do.
const PAUSE: Duration = Duration::from_secs(1);
/// How long an address may be missing before its virtual router gives up. A program that replaces an address removes
/// the old one first.
const GRACE: Duration = Duration::from_secs(2);
/// Time until the next attempt after a restart was not possible, or after something failed at the start.
const RETRY: Duration = Duration::from_secs(10);

/// Decides when a change of the interfaces requires a restart.
#[derive(Debug)]
pub struct InterfaceWatch {
    bindings: Vec<Binding>,
    /// Indices of interfaces that have disappeared since the start. An interface that has such an index now is a
    /// different one.
    gone: BTreeSet<IfIndex>,
    /// Time since which an interface that is up lacks an address that it had.
    bare_since: Option<Instant>,
    /// Earliest time of the next restart.
    earliest: Instant,
    /// Time of the next check, if one is due.
    due: Option<Instant>,
}

/// Change of a [`Binding`].
#[derive(Debug)]
struct Change {
    reason: String,
    /// True if only an address is missing, while the interface exists and is up.
    bare: bool,
}

/// The interface and primary address that a virtual router uses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Binding {
    name: String,
    family: Family,
    interface: String,
    to: Target,
}

/// What a virtual router is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Interface {
        ifindex: IfIndex,
        primary: IpAddr,
        /// The other interfaces that have virtual addresses.
        devices: Vec<IfIndex>,
    },
    /// The virtual router waits, for this reason.
    None(Hindrance),
}

impl InterfaceWatch {
    /// Creates the watch, with the interfaces that the agent was started with.
    pub fn new(plans: &Plans<'_>) -> Self {
        let bindings = bindings(plans);
        let now = Instant::now();
        let (earliest, due) = if plans.waiting.iter().any(|waiting| matches!(waiting.hindrance, Hindrance::Failed(_))) {
            (now + RETRY, Some(now + RETRY))
        } else {
            (now + PAUSE, None)
        };
        Self { bindings, gone: BTreeSet::new(), bare_since: None, earliest, due }
    }

    /// Notes that some interface has changed.
    pub fn note(&mut self, news: &LinkNews) {
        if let LinkNews::Change(LinkChange { ifindex, mac: None, .. }) = news {
            self.gone.insert(*ifindex);
        }
        self.due.get_or_insert((Instant::now() + GROUP).max(self.earliest));
    }

    /// Waits until [`Self::difference`] is due. Never returns if nothing has changed.
    pub async fn due(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Returns the reason why the agent should restart, if there is one. As long as the reason holds, it is returned
    /// again every [`RETRY`].
    pub fn difference(&mut self, config: &Config, interfaces: &[Interface]) -> Option<String> {
        let now = bindings(&Plans::new(config, interfaces));
        let changed = self.bindings.iter().zip(&now).filter_map(|(before, now)| self.change(before, now, interfaces));
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

    /// Returns whether no interface lacks anything at the moment, after a check that has found no difference.
    pub fn are_settled(&self) -> bool {
        self.due.is_none()
    }

    /// Schedules another check, because the interfaces could not be listed.
    pub fn look_again(&mut self) {
        self.due = Some(Instant::now() + PAUSE);
    }

    fn change(&self, before: &Binding, now: &Binding, interfaces: &[Interface]) -> Option<Change> {
        let Binding { name, family, interface, to } = now;
        let is_there = |ifindex: IfIndex| interfaces.iter().find(|it| it.ifindex == ifindex && it.name == *interface);
        let (mut bare, change) = (
            false,
            match (&before.to, to) {
                (Target::Interface { ifindex, .. }, Target::Interface { ifindex: now, .. })
                    if ifindex != now || self.gone.contains(now) =>
                {
                    format!("interface {interface} has been replaced")
                }
                (Target::Interface { primary, .. }, Target::Interface { primary: now, .. }) if primary != now => {
                    format!("the primary address of {interface} is {now}, no longer {primary}")
                }
                (Target::Interface { devices, .. }, Target::Interface { devices: now, .. })
                    if devices != now || now.iter().any(|device| self.gone.contains(device)) =>
                {
                    "another interface that has addresses has been replaced".to_owned()
                }
                (Target::None(_), Target::Interface { .. }) => format!("interface {interface} is ready"),
                (before, Target::None(hindrance)) if before != to => hindrance.describe(interface),
                _ => return None,
            },
        );
        if let (Target::Interface { ifindex, .. }, Target::None(_)) = (&before.to, to)
            && let Some(interface) = is_there(*ifindex)
        {
            // An interface that is down puts its virtual routers into fault anyway, and may have its addresses again as
            // soon as it is up.
            if interface.link != LinkState::Running {
                return None;
            }
            bare = true;
        }
        Some(Change { reason: format!("virtual router {name} over {family}: {change}"), bare })
    }
}

/// Returns the bindings of all virtual routers, in the order of the configuration.
fn bindings(plans: &Plans<'_>) -> Vec<Binding> {
    let bound = |plan: &Plan<'_>| Target::Interface {
        ifindex: plan.interface.ifindex,
        primary: plan.primary,
        devices: plan.devices.iter().map(|device| device.interface.ifindex).collect(),
    };
    let ready = plans.ready.iter().map(|plan| (plan.place, plan.config, plan.family, bound(plan)));
    let waiting = plans
        .waiting
        .iter()
        .map(|waiting| (waiting.place, waiting.config, waiting.family, Target::None(waiting.hindrance.clone())));
    let mut all: Vec<_> = ready.chain(waiting).collect();
    all.sort_by_key(|(place, ..)| *place);
    let binding = |(_, config, family, to): (_, &xvrrp_config::VirtualRouterConfig, _, _)| Binding {
        name: config.name.clone(),
        family,
        interface: config.interface.clone(),
        to,
    };
    all.into_iter().map(binding).collect()
}
