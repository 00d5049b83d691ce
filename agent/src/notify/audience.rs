//! The recipients of notifications: virtual routers and sync groups with their notify programs.

use std::collections::{BTreeMap, BTreeSet};

use xvrrp_config::{GroupIndex, NotifyConfig, Occasion, SyncGroupConfig, VirtualRouterConfig};
use xvrrp_vrrp::RouterState;

use crate::identity::AudienceId;
use crate::plan::Plans;
use crate::plan::cause::Cause;

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
    pub reason: Cause,
    /// The advertised priority.
    pub priority: u8,
}

/// Returns the audiences of all virtual routers and sync groups. Both families of a virtual router change role
/// together, so they share one audience. It is at the place of the first family that takes part, or of the first family
/// if both wait.
pub fn audiences(plans: &Plans<'_>, groups: &[SyncGroupConfig]) -> BTreeMap<AudienceId, Audience> {
    let mut names = BTreeSet::new();
    let routers = plans.all().filter(|(_, config)| names.insert(config.name.as_str()));
    let routers = routers.map(|(place, config)| (AudienceId::Router(place), Audience::of_router(config)));
    let groups = groups.iter().enumerate();
    let groups = groups.map(|(index, group)| (AudienceId::Group(GroupIndex::new(index)), Audience::of_group(group)));
    routers.chain(groups).collect()
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
