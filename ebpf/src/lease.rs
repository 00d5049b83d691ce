//! The lease: the time until which this host may serve. It prevents a router whose agent is dead or late from serving
//! beside the router that takes over from it.

use core::ptr;

use aya_ebpf::helpers::bpf_jiffies64;
use xvrrp_common::abi::{self, Lease};

use crate::barrier;
use crate::clock::now;
use crate::maps;
use crate::router::RouterView;

/// Returns whether this host may answer for the virtual router: it is Active, and its lease has not ended. Reads the
/// clock.
#[inline(always)]
pub fn runs(router: &RouterView) -> bool {
    is_active(router) && now() < until(router.lease())
}

/// Returns whether the virtual addresses may still be on this host although it must not serve them. Either the lease
/// has ended while the role is still Active, because the agent is dead or late, or the agent has given up the role and
/// is removing the addresses.
#[inline(always)]
pub fn has_ended(router: &RouterView) -> bool {
    router.has(abi::Router::RETIRES) || is_active(router) && now() >= until(router.lease())
}

/// Does the same as [`runs`], cheaply enough for every frame of a gateway's traffic: reading the clock would cost more
/// than everything else that is done with a frame. It reads the clock once for each lease, and again only when the
/// kernel's tick counter, which costs nothing to read, comes near the end of that lease. If the counter stands still
/// because the processors are held up, frames are admitted for that much longer. Requests for the address are not
/// answered even then, because [`runs`] reads the clock.
#[inline(always)]
pub fn surely_runs(router: &RouterView) -> bool {
    is_active(router) && surely_lasts(router.lease())
}

/// Returns whether the leases of all Active virtual routers run, as cheaply as [`surely_runs`]. If it returns false,
/// some of them may still run.
#[inline(always)]
pub fn all_surely_run() -> bool {
    // SAFETY: the field lies within an entry of the map.
    maps::settings().is_none_or(|settings| surely_lasts(unsafe { &raw mut (*settings).all }))
}

#[inline(always)]
fn is_active(router: &RouterView) -> bool {
    router.role() == abi::Router::ROLE_ACTIVE
}

#[inline(always)]
fn surely_lasts(lease: *mut Lease) -> bool {
    let until = until(lease);
    // SAFETY: the helper has no preconditions.
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
    // SAFETY: the field lies within an entry of the map. The agent writes it once, before any lease.
    let tick = maps::settings().map_or(0, |settings| unsafe { (*settings).tick });
    if now >= until || tick == 0 {
        return now < until;
    }
    // When the counter reads `ticks + n`, less than n + 1 ticks have passed. One more tick is kept as a reserve.
    let sure_before = ticks + ((until - now) / u64::from(tick)).saturating_sub(1);
    // SAFETY: as in `until`. `sure_of` is written last and names the end that `sure_before` was computed for. A reader
    // that sees a mixture of two leases either finds another end than the present one and reads the clock, or stops at
    // the end of the earlier lease.
    unsafe {
        ptr::write_volatile(&raw mut (*lease).sure_before, sure_before);
        ptr::write_volatile(&raw mut (*lease).sure_of, until);
    }
    true
}

/// Ends the lease because another router has won. This host stops serving before the agent notices. An unlimited lease
/// is left alone, because nothing would renew it.
#[inline(always)]
pub fn end(router: &RouterView) {
    let lease = router.lease();
    if until(lease) == Lease::UNLIMITED {
        return;
    }
    // SAFETY: as in `until`.
    unsafe { ptr::write_volatile(&raw mut (*lease).until, Lease::ENDED) };
    // The agent may be computing the lease of all at this moment. It writes a mark, reads the leases, and replaces the
    // mark if it is still there. So either it has read that this lease has ended, or the exchange below removes its
    // mark.
    if let Some(settings) = maps::settings() {
        // SAFETY: the field lies within an entry of the map.
        barrier::exchange(unsafe { &raw mut (*settings).all.until }, Lease::ENDED);
    }
}

#[inline(always)]
fn until(lease: *mut Lease) -> u64 {
    // SAFETY: the lease lies within an entry of the map, which exists for as long as the program runs. The read is
    // volatile because the agent or another CPU may write the aligned word at any time, always as a whole.
    unsafe { ptr::read_volatile(&raw const (*lease).until) }
}
