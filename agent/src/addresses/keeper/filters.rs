//! Keeps the virtual MACs in the unicast filters of the network cards.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::reporting::{refused, removed};
use super::{Keeper, RETRY};
use crate::addresses::placement::Placement;
use crate::addresses::tolerance::Permission;

impl Keeper {
    /// Makes the next check look at the filter entries of all virtual routers.
    pub(super) fn doubt_all_filters(&mut self) {
        self.routers.iter_mut().for_each(|router| router.filter_in_doubt = true);
    }

    /// Checks the filter entries that are in doubt and puts back those that are missing.
    pub(super) async fn open_filters(&mut self, now: Instant) {
        if self.record.is_none() {
            return;
        }
        let (mut concerned, mut failures) = (Vec::new(), Vec::new());
        for (number, router) in self.routers.enumerate_mut().filter(|(_, router)| !router.rest.is_on()) {
            let Placement { interface, ifindex, virtual_mac: Some(mac), .. } = &router.placement else { continue };
            if !router.filter_in_doubt {
                continue;
            }
            let what = || format!("the unicast filter entry of {interface} for {mac}");
            match router.filter.permission(now) {
                Permission::Now => concerned.push((number, interface.clone(), *ifindex, *mac)),
                Permission::At(at) => self.due = self.due.min(at),
                Permission::Removed => failures.push((number, removed(&what()))),
                Permission::Refused => failures.push((number, refused(&what()))),
            }
        }
        for (router, failure) in failures {
            self.give_up(router, &failure, now);
        }
        let filters = concerned.iter().map(|(_, interface, ifindex, mac)| (interface.as_str(), *ifindex, *mac));
        let outcomes = self.netlink.open_unicast_filters(filters).await;
        let now = Instant::now();
        for ((number, interface, ifindex, mac), outcome) in concerned.into_iter().zip(outcomes) {
            let Some(router) = self.routers.get_mut(number) else { continue };
            router.filter_in_doubt = false;
            match outcome {
                Ok(false) => router.filter.present(),
                Ok(true) => {
                    router.filter.restored(now);
                    // Until now, the entry may have belonged to something else, and so may not be in the record.
                    if let Some(Err(error)) = self.record.as_mut().map(|record| record.claim(&interface, ifindex, mac))
                    {
                        tracing::error!("{error}");
                    }
                    if let Some(account) = self.accounts.get(number) {
                        account.filters.fetch_add(1, Ordering::Relaxed);
                    }
                    self.log_restored(number, &format!("the unicast filter entry for {mac}"), &interface, 1, now);
                }
                // The management side handles an interface that is gone.
                Err(error) if error.is_without_interface() => {}
                Err(error) => {
                    router.filter_in_doubt = true;
                    if router.filter.refused(now) {
                        tracing::error!(virtual_router = %router.placement.name, "{error}; trying again");
                    }
                    self.due = self.due.min(now + RETRY);
                }
            }
        }
    }
}
