//! What a predecessor has left in the maps, and what of it we go on with.

use std::collections::{BTreeMap, BTreeSet};

use xvrrp_common::abi::{Lease, Router, RouterKey};
use xvrrp_common::units::Instant;

use crate::dataplane::{DataplaneError, Tables};
use crate::farewell::Removed;
use crate::plan::Plan;
use crate::vrrp;

/// Gives every virtual router its slot, which is the predecessor's where it had one, and writes the maps anew. One that
/// was Active and whose lease still runs stays so ([`Plan::resume`]); the others have no role yet, and what is no longer
/// configured goes.
/// Returns those of the latter that were serving.
pub fn adopt(plans: &mut [Plan<'_>], tables: &mut Tables, now: Instant) -> Result<Vec<Removed>, DataplaneError> {
    let known = tables.routers()?;
    let removed = serving_no_more(plans, &known, tables, now)?;
    for key in known.keys().filter(|key| !plans.iter().any(|plan| plan.key == **key)) {
        tables.remove_router(key)?;
    }
    give_slots(plans, &known, tables)?;
    let vips: BTreeSet<_> = plans.iter().flat_map(Plan::vips).collect();
    let sources: BTreeSet<_> = plans.iter().flat_map(Plan::allowed_sources).map(|(source, _)| source).collect();
    // First, to make room.
    tables.retain(&vips, &sources)?;
    for plan in &mut *plans {
        let left = Instant::from_nanos(tables.lease(plan.slot));
        // With another configuration than before it may be longer than any that we would give.
        let lease = left.min(now + vrrp::lease(plan.config.advert_interval));
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
            tables.add_vip(vip, plan.key)?;
        }
        for (source, least_ttl) in plan.allowed_sources() {
            tables.allow_source(source, least_ttl)?;
        }
    }
    Ok(removed)
}

fn serving_no_more(
    plans: &[Plan<'_>],
    known: &BTreeMap<RouterKey, Router>,
    tables: &Tables,
    now: Instant,
) -> Result<Vec<Removed>, DataplaneError> {
    let kept: BTreeSet<RouterKey> = plans.iter().map(|plan| plan.key).collect();
    let serves = |router: &Router| router.role == Router::ROLE_ACTIVE && now.as_nanos() < tables.lease(router.slot);
    let removed: Vec<_> = known.iter().filter(|(key, router)| !kept.contains(key) && serves(router)).collect();
    if removed.is_empty() {
        return Ok(Vec::new());
    }
    let (mut addresses, mut sources) = (tables.addresses()?, tables.sources()?);
    let removed = removed.into_iter().map(|(&key, &router)| Removed {
        key,
        router,
        addresses: addresses.remove(&key).unwrap_or_default(),
        sources: sources.remove(&key).unwrap_or_default(),
    });
    Ok(removed.collect())
}

fn give_slots(
    plans: &mut [Plan<'_>],
    known: &BTreeMap<RouterKey, Router>,
    tables: &mut Tables,
) -> Result<(), DataplaneError> {
    let kept = |plan: &Plan<'_>| known.get(&plan.key).map(|router| router.slot);
    let taken: BTreeSet<u32> = plans.iter().filter_map(kept).collect();
    let mut free = (0..).filter(|slot| !taken.contains(slot));
    for plan in plans {
        plan.slot = match kept(plan) {
            Some(slot) => slot,
            None => {
                let slot = free.next().unwrap_or(u32::MAX);
                tables.clear_slot(slot)?;
                slot
            }
        };
    }
    Ok(())
}
