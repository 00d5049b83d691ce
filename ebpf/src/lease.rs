//! The lease: until when this host may serve. It keeps a router whose agent is dead or late from serving beside its successor.

use core::ptr;

use aya_ebpf::helpers::bpf_jiffies64;
use xvrrp_common::abi::{self, Lease};

use crate::barrier;
use crate::clock::now;
use crate::maps;
use crate::router::Router;

/// Returns whether this host may speak for the virtual router: it is Active, and its lease has not ended.
#[inline(always)]
pub fn runs(router: &Router) -> bool {
    is_active(router) && now() < until(router.lease())
}

/// Returns whether the virtual addresses may be on this host although it must not serve them. Either the lease has ended while
/// the role is still Active, because the agent is dead or late; or the agent has given up the role and is removing them.
#[inline(always)]
pub fn has_ended(router: &Router) -> bool {
    router.has(abi::Router::RETIRES) || is_active(router) && now() >= until(router.lease())
}

/// Does the same as [`runs`] for every frame of a gateway's traffic, where reading the clock would cost more than all the rest.
/// Reads the clock once, and then not before the kernel's tick counter, which costs nothing to read, comes near the end of that
/// lease. Where the processors are held up, the counter stands still and frames are let in for as much longer; requests for the
/// address are not answered even then, because [`runs`] reads the clock.
#[inline(always)]
pub fn surely_runs(router: &Router) -> bool {
    is_active(router) && goes_on(router.lease())
}

/// Returns whether the leases of all Active virtual routers run, found out as in [`surely_runs`]. If not, some may run.
#[inline(always)]
pub fn all_surely_run() -> bool {
    // SAFETY: within an entry of the map.
    maps::settings().is_none_or(|settings| goes_on(unsafe { &raw mut (*settings).all }))
}

#[inline(always)]
fn is_active(router: &Router) -> bool {
    router.role() == abi::Router::ROLE_ACTIVE
}

#[inline(always)]
fn goes_on(lease: *mut Lease) -> bool {
    let until = until(lease);
    // SAFETY: the helper has no preconditions; for the entry see `until`.
    let ticks = unsafe { bpf_jiffies64() };
    // SAFETY: as in `until`.
    let (sure_of, sure_before) = unsafe {
        (ptr::read_volatile(&raw const (*lease).sure_of), ptr::read_volatile(&raw const (*lease).sure_before))
    };
    (sure_of == until && ticks < sure_before) || look_at_clock(lease, until, ticks)
}

#[inline(never)]
fn look_at_clock(lease: *mut Lease, until: u64, ticks: u64) -> bool {
    let now = now();
    // SAFETY: within an entry of the map; the agent writes it once, before any lease.
    let tick = maps::settings().map_or(0, |settings| unsafe { (*settings).tick });
    if now >= until || tick == 0 {
        return now < until;
    }
    // At `ticks + n`, less than n + 1 ticks have passed since. One is left to spare.
    let sure_before = ticks + ((until - now) / u64::from(tick)).saturating_sub(1);
    // SAFETY: as in `until`. In this order, and with `sure_of` written by whoever computed for that end: what is mixed
    // from two leases is found to be of another than the present one, or counts to the end of the earlier.
    unsafe {
        ptr::write_volatile(&raw mut (*lease).sure_before, sure_before);
        ptr::write_volatile(&raw mut (*lease).sure_of, until);
    }
    true
}

/// Ends the lease because another router has won: this host stops serving before the agent notices. A lease without an end is
/// left alone, because nobody would renew it.
#[inline(always)]
pub fn end(router: &Router) {
    let lease = router.lease();
    if until(lease) == Lease::UNLIMITED {
        return;
    }
    // SAFETY: as in `until`.
    unsafe { ptr::write_volatile(&raw mut (*lease).until, Lease::ENDED) };
    // The agent may be computing the lease of all at this moment: it writes a mark, reads the leases, and replaces the mark if
    // it is still there. So either it has read that this lease has ended, or the exchange below removes its mark.
    if let Some(settings) = maps::settings() {
        // SAFETY: within an entry of the map.
        barrier::exchange(unsafe { &raw mut (*settings).all.until }, Lease::ENDED);
    }
}

#[inline(always)]
fn until(lease: *mut Lease) -> u64 {
    // SAFETY: an entry of the map, which is there as long as the program runs; aligned words, each written whole at any time
    // by the agent or on another CPU, hence volatile.
    unsafe { ptr::read_volatile(&raw const (*lease).until) }
}
