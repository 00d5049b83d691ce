//! Installs and removes addresses.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use tokio::time::Instant;
use xvrrp_net::{AddressOutcome, LinkState, Placed, interface_link};

use super::reporting::{refused, removed};
use super::{AFTERMATH, AddressIndex, Keeper, RETRY};
use crate::addresses::placement::{PlacedAddress, Placement};
use crate::addresses::router::{KeptAddress, KeptRouter, Presence};
use crate::addresses::tolerance::Permission;
use crate::identity::RouterIndex;

impl Keeper {
    /// Installs the missing addresses of the virtual routers that serve, as far as their tolerance permits it now.
    pub(super) async fn install(&mut self, which: impl Fn(&KeptRouter) -> bool) {
        let now = Instant::now();
        let (places, failures) = self.absent(which, now);
        for (router, failure) in failures {
            self.give_up(router, &failure, now);
        }
        let routers = &self.routers;
        let missing = places.iter().filter_map(|&(number, place)| {
            let router = routers.get(number)?;
            Some(router.addresses.get(place)?.addition())
        });
        let outcomes = self.netlink.add_addresses(missing).await;
        let mut restored: BTreeMap<RouterIndex, (PlacedAddress, usize)> = BTreeMap::new();
        let now = Instant::now();
        for ((number, place), outcome) in places.into_iter().zip(outcomes) {
            let Some(router) = self.routers.get_mut(number) else { continue };
            let Some(address) = router.addresses.get_mut(place) else { continue };
            match outcome {
                Ok(AddressOutcome::Added) => {
                    address.presence = Presence::Ours;
                    if std::mem::take(&mut address.lost) {
                        address.restored = true;
                        address.tolerance.restored(now);
                        restored.entry(number).or_insert_with(|| (address.on_host.clone(), 0)).1 += 1;
                    } else {
                        address.tolerance.present();
                    }
                }
                Ok(AddressOutcome::Existed) => {
                    let (name, interface) = (&router.placement.name, &address.on_host.interface);
                    tracing::debug!(virtual_router = %name, "{address} is on {interface} already");
                    // The next check shows who has installed it and whether it can be used.
                    address.presence = Presence::Foreign;
                    address.tolerance.refused(now);
                    self.due = now;
                }
                Err(error) => {
                    let first = address.tolerance.refused(now);
                    self.due = self.due.min(now + RETRY);
                    if first {
                        tracing::error!(virtual_router = %router.placement.name, "{error}; trying again");
                    }
                }
            }
        }
        if !restored.is_empty() {
            self.aftermath_ends = now + AFTERMATH;
            self.check_by(now + RETRY);
        }
        for (number, (first, count)) in restored {
            if let Some(account) = self.accounts.get(number) {
                account.addresses.fetch_add(u64::try_from(count).unwrap_or_default(), Ordering::Relaxed);
            }
            let PlacedAddress { placed: (_, address, _), interface, .. } = first;
            self.log_restored(number, &address.to_string(), &interface, count, now);
        }
    }

    /// Returns the addresses to install now, and the virtual routers that cannot have all of theirs, with the reason.
    fn absent(
        &mut self,
        which: impl Fn(&KeptRouter) -> bool,
        now: Instant,
    ) -> (Vec<AddressIndex>, Vec<(RouterIndex, String)>) {
        let (mut places, mut failures) = (Vec::new(), Vec::new());
        for (number, router) in self.routers.enumerate_mut().filter(|(_, it)| it.serves() && which(it)) {
            let before = places.len();
            let is_missing = |it: &KeptAddress| it.presence == Presence::Absent && (it.on_host.kept || !it.lost);
            let absent = router.addresses.iter_mut().enumerate().filter(|(_, it)| is_missing(it));
            let mut links = BTreeMap::new();
            for (place, address) in absent {
                let interface = &*address.on_host.interface;
                // An interface that goes down loses its addresses. They return when it is up again.
                let is_down = |links: &mut BTreeMap<_, _>| {
                    let ask = || interface_link(interface).map_or(true, |link| link == LinkState::Down);
                    *links.entry(address.on_host.placed.0).or_insert_with(ask)
                };
                if address.lost && is_down(&mut links) {
                    self.due = self.due.min(now + RETRY);
                    continue;
                }
                let what = || format!("{} on {interface}", address.on_host.placed.1);
                let failure = match address.tolerance.permission(now) {
                    Permission::Now => {
                        places.push((number, place));
                        continue;
                    }
                    Permission::At(at) => {
                        self.due = self.due.min(at);
                        continue;
                    }
                    Permission::Removed => removed(&what()),
                    Permission::Refused => refused(&what()),
                };
                failures.push((number, failure));
                places.truncate(before);
                break;
            }
        }
        (places, failures)
    }

    /// Removes the addresses that this agent has installed. An address that cannot be removed is tried again at the
    /// next check and at the end.
    pub(super) async fn remove(&mut self, which: impl Fn(&KeptRouter) -> bool) {
        let chosen = self.routers.iter().filter(|router| which(router)).flat_map(|router| &router.addresses);
        let added = chosen.filter(|address| address.presence == Presence::Ours);
        let added: BTreeMap<Placed, &str> =
            added.map(|address| (address.placed(), &*address.on_host.interface)).collect();
        if added.is_empty() {
            return;
        }
        let outcome = self.netlink.remove_addresses(&added).await;
        for router in self.routers.iter_mut().filter(|router| which(router)) {
            let KeptRouter { placement: Placement { name, .. }, addresses, .. } = router;
            for address in addresses.iter_mut().filter(|address| address.presence == Presence::Ours) {
                (address.lost, address.restored) = (false, false);
                match &outcome {
                    Ok(failures) => match failures.get(&address.placed()) {
                        Some(error) => tracing::error!(virtual_router = %name, "{error}"),
                        None => address.presence = Presence::Absent,
                    },
                    Err(error) => {
                        tracing::error!(virtual_router = %name, "{error}");
                        break;
                    }
                }
            }
        }
    }
}
