//! Who is told of changes of state, and of what.

use std::collections::BTreeSet;

use xvrrp_config::{NotifyConfig, Occasion, SyncGroupConfig, VirtualRouterConfig};
use xvrrp_vrrp::RouterState;

use crate::plan::Plans;

/// Who is told of what, and what they get to know besides.
#[derive(Clone, Debug)]
pub struct Audience {
    /// keepalived's first argument.
    pub kind: &'static str,
    pub name: String,
    pub environment: Vec<(&'static str, String)>,
    pub notify: NotifyConfig,
}

/// A change of state that has happened.
#[derive(Clone, Debug)]
pub struct Change {
    pub on: Occasion,
    pub state: RouterState,
    pub reason: String,
    /// The one that is advertised.
    pub priority: u8,
}

/// The audiences of all virtual routers, by [`Plan::place`](crate::plan::Plan::place), and after them those of the sync
/// groups. Both families of a virtual router change role together, so it has one audience: that of the first family, or of
/// the other one while the first one waits.
pub fn audiences(plans: &Plans<'_>, groups: &[SyncGroupConfig]) -> Vec<Option<Audience>> {
    let ready = plans.ready.iter().map(|plan| (plan.place, plan.config));
    let waiting = plans.waiting.iter().map(|waiting| (waiting.place, waiting.config));
    let mut audiences = vec![None; plans.ready.len() + plans.waiting.len()];
    let mut spoken_for = BTreeSet::new();
    for (place, config) in ready.chain(waiting) {
        if let Some(audience) = audiences.get_mut(place)
            && spoken_for.insert(config.name.as_str())
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
