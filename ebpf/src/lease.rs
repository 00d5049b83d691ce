//! Until when this host may serve: what keeps a router whose agent is dead or late from serving beside its successor.

use core::ptr;

use aya_ebpf::helpers::bpf_jiffies64;
use xvrrp_common::abi::{self, Lease};

use crate::barrier;
use crate::clock::now;
use crate::maps;
use crate::router::Router;

/// Whether this host may speak for the virtual router: it is Active, and its lease runs at this very moment.
#[inline(always)]
pub fn runs(router: &Router) -> bool {
    is_active(router) && now() < until(router.lease())
}

/// Whether the virtual addresses may be on this host although it must not serve them: the lease has ended while the role is
/// still Active, so the agent is dead or late; or the agent has given up the role and is taking them off.
#[inline(always)]
pub fn has_ended(router: &Router) -> bool {
    router.has(abi::Router::RETIRES) || is_active(router) && now() >= until(router.lease())
}

/// The same for every frame of a gateway's traffic, which a look at the clock would cost more than all the rest. Once
/// looked at, the clock is left alone until the kernel's tick counter, which costs nothing to read, comes near the end
/// of that lease. Should the counter stand still, on a machine whose processors are held up, that end comes as much later;
/// nobody is answered by then, since [`runs`] looks at the clock.
#[inline(always)]
pub fn surely_runs(router: &Router) -> bool {
    is_active(router) && goes_on(router.lease())
}

/// Whether the leases of all Active virtual routers run, found out in the same way. If not, some may.
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

/// Another router has won: we serve no longer, however long it takes the agent to find out. A lease without an end is not
/// ours to end: nobody would give a new one.
#[inline(always)]
pub fn end(router: &Router) {
    let lease = router.lease();
    if until(lease) == Lease::UNLIMITED {
        return;
    }
    // SAFETY: as in `until`.
    unsafe { ptr::write_volatile(&raw mut (*lease).until, Lease::ENDED) };
    // The agent may be working out the lease of all at this moment: it puts a mark there, reads the leases, and replaces the
    // mark if it still stands. Either it has read that this lease has ended, or the mark was replaced here after it was put.
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
