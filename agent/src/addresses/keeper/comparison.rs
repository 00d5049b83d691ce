//! Compares one listing of all addresses with what should be there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use xvrrp_net::{FoundAddress, MARKS_LAST, NetError};

use super::{AddressIndex, Keeper, RETRY};
use crate::addresses::router::{KeptRouter, Presence, identity, subnet};

/// How long listing addresses may fail before the agent gives up.
const BLIND: Duration = Duration::from_secs(5);

impl Keeper {
    pub(super) async fn check_addresses(&mut self, now: Instant) -> Result<(), NetError> {
        let is_there = |router: &KeptRouter| router.addresses.iter().any(|address| address.presence == Presence::Ours);
        let is_concerned = |router: &KeptRouter| match router.wanted {
            Some(true) => !router.addresses.is_empty(),
            Some(false) => is_there(router),
            None => false,
        };
        if !self.routers.iter().any(is_concerned) {
            return Ok(());
        }
        let found = match self.netlink.addresses().await {
            Ok(found) => found,
            Err(error) if now.duration_since(*self.blind_since.get_or_insert(now)) >= BLIND => return Err(error),
            Err(_) => {
                self.check_by(now + RETRY);
                return Ok(());
            }
        };
        self.blind_since = None;
        let obstacles = self.compare(found);
        self.clear(obstacles, now).await;
        self.remove(|router| router.wanted == Some(false) && !router.asked).await;
        self.report_removed();
        self.install(|router| router.wanted == Some(true)).await;
        Ok(())
    }

    /// Notes which addresses are present. Returns those that have to be removed before ours can be installed, either
    /// for the first time or again.
    fn compare(&mut self, found: Vec<FoundAddress>) -> Vec<(AddressIndex, FoundAddress)> {
        // The subnets in which an address of the host comes after one of ours.
        let behind = found.iter().filter(|it| it.secondary && !it.ours).filter_map(|it| subnet(it.placed));
        let behind: BTreeSet<_> = behind.collect();
        let mut there: BTreeMap<AddressIndex, FoundAddress> = BTreeMap::new();
        let mut order: Vec<AddressIndex> = Vec::new();
        for address in found {
            if let Some(&place) = self.by_address.get(&identity(address.placed)) {
                order.push(place);
                there.insert(place, address);
            }
        }
        for (number, router) in self.routers.enumerate_mut() {
            let serves = router.serves();
            for (place, address) in router.addresses.iter_mut().enumerate() {
                let before = address.presence;
                address.presence = match there.get(&(number, place)) {
                    Some(it) if it.failed && serves => Presence::Absent,
                    Some(it) if it.ours || !*MARKS_LAST && before == Presence::Ours => Presence::Ours,
                    Some(_) => Presence::Foreign,
                    None => Presence::Absent,
                };
                match address.presence {
                    Presence::Absent => address.lost |= before != Presence::Absent,
                    Presence::Ours | Presence::Foreign => {
                        address.lost = false;
                        address.tolerance.present();
                    }
                }
            }
        }
        // The last addresses come first, because the kernel then has fewer addresses to promote.
        let in_the_way = |place: AddressIndex| {
            let found = there.remove(&place)?;
            let router = self.routers.get_mut(place.0).filter(|router| router.serves())?;
            let address = router.addresses.get_mut(place.1)?;
            let displaced = address.restored
                && address.presence == Presence::Ours
                && subnet(found.placed).is_some_and(|subnet| behind.contains(&subnet));
            if displaced {
                (address.presence, address.restored) = (Presence::Absent, false);
            } else if found.failed {
                let name = &router.placement.name;
                tracing::warn!(
                    virtual_router = %name,
                    "{address} on {} has failed duplicate address detection: replacing it",
                    address.on_host.interface,
                );
                address.lost = true;
            }
            (displaced || found.failed).then_some((place, found))
        };
        order.into_iter().rev().filter_map(in_the_way).collect()
    }

    /// Removes the addresses that are in the way.
    async fn clear(&mut self, obstacles: Vec<(AddressIndex, FoundAddress)>, now: Instant) {
        if obstacles.is_empty() {
            return;
        }
        let places: Vec<AddressIndex> = obstacles.iter().map(|(place, _)| *place).collect();
        let routers = &self.routers;
        let found = obstacles.into_iter().filter_map(|((router, place), found)| {
            Some((found, &*routers.get(router)?.addresses.get(place)?.on_host.interface))
        });
        let outcomes = self.netlink.take_off(found.collect()).await;
        for ((router, place), outcome) in places.into_iter().zip(outcomes) {
            let Err(error) = outcome else { continue };
            let Some(router) = self.routers.get_mut(router) else { continue };
            if router.addresses.get_mut(place).is_some_and(|address| address.tolerance.refused(now)) {
                tracing::error!(virtual_router = %router.placement.name, "{error}");
            }
        }
    }
}
