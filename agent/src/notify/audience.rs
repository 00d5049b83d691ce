//! The recipients of notifications: virtual routers and sync groups with their notify programs.

use std::collections::BTreeSet;

use xvrrp_config::{NotifyConfig, Occasion, SyncGroupConfig, VirtualRouterConfig};
use xvrrp_vrrp::RouterState;

use crate::plan::Plans;

/// A virtual router or a sync group, with the programs and services to notify of its changes.
#[derive(Clone, Debug)]
pub struct Audience {
    /// `INSTANCE` or `GROUP`, as in keepalived's first argument to notify scripts.
    pub kind: &'static str,
    /// Name of the virtual router or the sync group.
    pub name: String,
    /// Environment variables for the programs, besides those of the change.
    pub environment: Vec<(&'static str, String)>,
    /// Programs and services, and their timeout.
    pub notify: NotifyConfig,
}

/// A change of state that has happened.
#[derive(Clone, Debug)]
pub struct StateChange {
    /// Kind of change, which selects the programs to run.
    pub on: Occasion,
    /// The new state.
    pub state: RouterState,
    /// Why the state changed.
    pub reason: String,
    /// The advertised priority.
    pub priority: u8,
}

/// Returns the audiences of all virtual routers, by [`Plan::place`](crate::plan::Plan::place), followed by those of the
/// sync groups. Both families of a virtual router change role together, so they share one audience. It is at the place
/// of the first family that takes part, or of the first family if both wait.
pub fn audiences(plans: &Plans<'_>, groups: &[SyncGroupConfig]) -> Vec<Option<Audience>> {
    let ready = plans.ready.iter().map(|plan| (plan.place, plan.config));
    let waiting = plans.waiting.iter().map(|waiting| (waiting.place, waiting.config));
    let mut audiences = vec![None; plans.ready.len() + plans.waiting.len()];
    let mut names = BTreeSet::new();
    for (place, config) in ready.chain(waiting) {
        if let Some(audience) = audiences.get_mut(place)
            && names.insert(config.name.as_str())
        {
            *audience = Some(Audience::of_router(config));
        }
    }
    audiences.extend(groups.iter().map(|group| Some(Audience::of_group(group))));
    audiences
}

impl Audience {
    fn of_router(config: &VirtualRouterConfig) -> Self {
        Self {
            kind: "INSTANCE",
            name: config.name.clone(),
            environment: vec![
                ("XVRRP_VIRTUAL_ROUTER", config.name.clone()),
                ("XVRRP_VRID", config.vrid.get().to_string()),
                ("XVRRP_INTERFACE", config.interface.clone()),
            ],
            notify: config.notify.clone(),
        }
    }

    fn of_group(group: &SyncGroupConfig) -> Self {
        Self {
            kind: "GROUP",
            name: group.name.clone(),
            environment: vec![("XVRRP_SYNC_GROUP", group.name.clone())],
            notify: group.notify.clone(),
        }
    }
}
