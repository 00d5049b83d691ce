//! Adopts what a predecessor has left in the maps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use xvrrp_common::abi::{self, Address, Lease, Router, RouterKey, VipKey};
use xvrrp_common::units::{Family, Instant};
use xvrrp_config::VirtualRouterConfig;
use xvrrp_dataplane::{DataplaneError, Retained, Slot, Tables, wait_for_readers};

use crate::plan::Plan;
use crate::succession::farewell::Removed;

/// Assigns a slot to every virtual router and rewrites the maps.
///
/// A virtual router keeps the slot that it had under the predecessor, if any. One that was Active and whose lease still
/// runs stays Active ([`Plan::resume`]). All others have no role yet. Returns the virtual routers that were serving and
/// are no longer configured, and the set of entries that the maps are to retain.
///
/// Entries that are no longer configured are removed only after their addresses are off the host. Until then the kernel
/// half has to know those addresses, because otherwise the network stack would answer for them. If the maps have no
/// room for both old and new entries, the old entries are removed first, after which this function waits for programs
/// that may still be reading them.
///
/// # Errors
/// The kernel refuses to read or write a map.
pub fn adopt(
    plans: &mut [Plan<'_>],
    tables: &mut Tables,
    now: Instant,
) -> Result<(Vec<Removed>, Retained), DataplaneError> {
    let known = tables.routers();
    let keys: BTreeSet<_> = plans.iter().map(|plan| plan.key).collect();
    let removed = no_longer_configured(&keys, &known, tables, now)?;
    let mut vips: BTreeSet<_> = plans.iter().flat_map(Plan::vips).collect();
    vips.extend(vips_anywhere(plans).map(|(vip, _)| vip));
    let sources: BTreeSet<_> = plans.iter().flat_map(Plan::allowed_sources).map(|(source, _)| source).collect();
    let retained = Retained { routers: keys, vips, sources };
    if !tables.have_room(&retained)? {
        tables.retain(&retained)?;
        wait_for_readers();
    }
    assign_slots(plans, &known, tables)?;
    for plan in &mut *plans {
        let left = Instant::from_nanos(tables.lease(plan.slot));
        // If the configuration has changed, this lease may be longer than any that this agent would grant.
        let VirtualRouterConfig { advert_interval, election, .. } = plan.config;
        let lease = left.min(now + xvrrp_vrrp::lease(*advert_interval, election.down_timer_adverts));
        let before = known.get(&plan.key);
        let active = before.is_some_and(|router| router.role == Router::ROLE_ACTIVE);
        plan.resume = (active && now < lease).then_some(lease);
        plan.stands_by = !active && before.is_some_and(|router| router.flags & Router::STANDS_BY != 0);
        plan.sends_plain = before.is_some_and(|router| router.flags & Router::SENDS_PLAIN != 0);
        if plan.resume.is_none() {
            tables.set_lease(plan.slot, Lease::ENDED);
        } else if lease != left {
            tables.set_lease(plan.slot, lease.as_nanos());
        }
        tables.set_router(plan.key, &plan.kernel())?;
        for vip in plan.vips() {
            tables.add_vip(vip, plan.slot)?;
        }
        for (source, min_ttl) in plan.allowed_sources() {
            tables.allow_source(source, min_ttl)?;
        }
    }
    for (vip, slot) in vips_anywhere(plans) {
        tables.add_vip(vip, slot)?;
    }
    Ok((removed, retained))
}

/// Returns the virtual routers that the predecessor served and that are no longer configured.
fn no_longer_configured(
    kept: &BTreeSet<RouterKey>,
    known: &BTreeMap<RouterKey, Router>,
    tables: &Tables,
    now: Instant,
) -> Result<Vec<Removed>, DataplaneError> {
    let serves =
        |router: &Router| router.role == Router::ROLE_ACTIVE && now.as_nanos() < tables.lease(Slot::new(router.slot));
    let removed: Vec<_> = known.iter().filter(|(key, router)| !kept.contains(key) && serves(router)).collect();
    if removed.is_empty() {
        return Ok(Vec::new());
    }
    let (mut addresses, mut sources) = (tables.addresses()?, tables.sources()?);
    let removed = removed.into_iter().map(|(&key, &router)| Removed {
        key,
        router,
        addresses: addresses.remove(&Slot::new(router.slot)).unwrap_or_default(),
        sources: sources.remove(&key).unwrap_or_default(),
    });
    Ok(removed.collect())
}

/// Returns the entries that the fence looks up on other interfaces: every address with the slot of its virtual router.
///
/// Link-local addresses are left out, because each interface has link-local addresses of its own.
fn vips_anywhere(plans: &[Plan<'_>]) -> impl Iterator<Item = (VipKey, Slot)> {
    let mut shared: BTreeMap<(u8, Address), u16> = BTreeMap::new();
    let vips = plans.iter().flat_map(|plan| plan.addresses().map(move |vip| (plan, vip.address)));
    vips.filter(|(_, address)| !matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())).filter_map(
        move |(plan, address)| {
            let (family, address) = (Family::of(address) as u8, abi::address(address));
            let nth = shared.entry((family, address)).or_default();
            let key = (*nth < VipKey::MAX_SHARED).then(|| VipKey::anywhere(family, address, *nth))?;
            *nth += 1;
            Some((key, plan.slot))
        },
    )
}

/// Assigns a slot to every virtual router: the one that it had before, or else a free one.
fn assign_slots(
    plans: &mut [Plan<'_>],
    known: &BTreeMap<RouterKey, Router>,
    tables: &mut Tables,
) -> Result<(), DataplaneError> {
    let kept = |plan: &Plan<'_>| known.get(&plan.key).map(|router| Slot::new(router.slot));
    // The slot of a virtual router that is about to be removed is reused only if there is no other free slot.
    let before: BTreeSet<Slot> = known.values().map(|router| Slot::new(router.slot)).collect();
    let taken: BTreeSet<Slot> = plans.iter().filter_map(kept).collect();
    let unused = tables.slots().filter(|slot| !before.contains(slot));
    let mut free = unused.chain(before.iter().copied().filter(|slot| !taken.contains(slot)));
    for plan in plans {
        plan.slot = match kept(plan) {
            Some(slot) => slot,
            None => {
                let slot = free.next().unwrap_or(Slot::new(u32::MAX));
                tables.clear_slot(slot)?;
                slot
            }
        };
    }
    Ok(())
}
