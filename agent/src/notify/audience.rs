//! The recipients of notifications: virtual routers and sync groups with their notify programs.

use std::collections::{BTreeMap, BTreeSet};

use xvrrp_config::{Config, GroupIndex, NotifyConfig, Occasion, SyncGroupConfig, VirtualRouterConfig};
use xvrrp_vrrp::RouterState;

use crate::identity::AudienceId;
use crate::plan::Plans;
use crate::plan::cause::Cause;

/// A virtual router or a sync group, with the programs and services to notify of its changes.
#[derive(Clone, Debug)]
pub struct Audience {
    /// [`Self::INSTANCE`] or [`Self::GROUP`].
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

/// Returns the audiences of the virtual routers that a reload from `before` to `now` has removed.
///
/// A virtual router that keeps its interface and VRID in a family keeps its role, whatever its name. One that keeps
/// only its name reports its new state by itself. Services that another role starts now are left alone.
pub fn removed(before: &Config, now: &Config) -> Vec<Audience> {
    let identities = |router: &VirtualRouterConfig| {
        let (interface, vrid) = (router.interface.clone(), router.vrid);
        router.families().map(move |family| (interface.clone(), vrid, family)).collect::<Vec<_>>()
    };
    let kept: BTreeSet<_> = now.virtual_routers.iter().flat_map(identities).collect();
    let names: BTreeSet<&str> = now.virtual_routers.iter().map(|router| router.name.as_str()).collect();
    let is_removed = |router: &&VirtualRouterConfig| {
        !names.contains(router.name.as_str()) && identities(router).iter().all(|identity| !kept.contains(identity))
    };
    let of_routers = now.virtual_routers.iter().map(|router| &router.notify);
    let notifies = of_routers.chain(now.sync_groups.iter().map(|group| &group.notify));
    let services: BTreeSet<&String> = notifies.flat_map(|notify| &notify.services).collect();
    let audience = |router| {
        let mut audience = Audience::of_router(router);
        audience.notify.services.retain(|service| !services.contains(service));
        audience
    };
    before.virtual_routers.iter().filter(is_removed).map(audience).collect()
}

/// Returns the word for a change of state in keepalived.conf(5). `deleted` says whether a removal is notified as such.
pub fn keepalived_word(on: Occasion, deleted: bool) -> &'static str {
    match on {
        Occasion::Active => "MASTER",
        Occasion::Backup => "BACKUP",
        Occasion::Deleted if deleted => "DELETED",
        Occasion::Fault | Occasion::Deleted => "FAULT",
        Occasion::Stop | Occasion::LowerPriority | Occasion::Any => "STOP",
    }
}

impl Audience {
    /// keepalived's word for a virtual router in the arguments of notify scripts.
    pub const INSTANCE: &'static str = "INSTANCE";
    /// keepalived's word for a sync group there.
    pub const GROUP: &'static str = "GROUP";

    /// Returns what identifies a virtual router or a group with this name, also for a later agent.
    pub fn key_of(kind: &str, name: &str) -> String {
        format!("{kind} {name}")
    }

    fn of_router(config: &VirtualRouterConfig) -> Self {
        Self {
            kind: Self::INSTANCE,
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
            kind: Self::GROUP,
            name: group.name.clone(),
            environment: vec![("XVRRP_SYNC_GROUP", group.name.clone())],
            notify: group.notify.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(routers: &[(&str, &str, u8, &str)]) -> Config {
        let router = |(name, interface, vrid, more): &(&str, &str, u8, &str)| {
            format!(
                "[[virtual_router]]\nname = {name:?}\ninterface = {interface:?}\nvrid = {vrid}\naddresses = \
                 [\"192.0.2.{vrid}\"]\n{more}\n"
            )
        };
        xvrrp_config::parse(Path::new("x.toml"), &routers.iter().map(router).collect::<String>()).unwrap()
    }

    #[test]
    fn a_virtual_router_is_removed_if_neither_its_name_nor_its_place_in_the_network_remains() {
        let services = "services = [\"a.service\", \"b.service\"]";
        let before = config(&[
            ("kept", "eth0", 1, ""),
            ("renamed", "eth0", 2, ""),
            ("moved", "eth0", 3, ""),
            ("gone", "eth0", 4, services),
        ]);
        let now = config(&[
            ("kept", "eth0", 1, "priority = 5"),
            ("other", "eth0", 2, "services = [\"b.service\"]"),
            ("moved", "eth1", 3, ""),
        ]);
        let removed = removed(&before, &now);
        let names: Vec<&str> = removed.iter().map(|audience| audience.name.as_str()).collect();
        assert_eq!(names, ["gone"]);
        assert_eq!(removed[0].notify.services, ["a.service"]);
    }
}
