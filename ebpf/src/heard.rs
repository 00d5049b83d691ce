//! Writes the stamps of adverts. The agent may read them at the same time.

use core::ptr;

use xvrrp_common::abi::{ConflictEvent, Heard, HeardAdvert};

use crate::barrier;
use crate::clock;

/// Difference between an advert and the one before it, apart from their times of arrival.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AdvertChange {
    Same,
    Different,
}

/// Records an advert, and whether it restarts a Backup's timer. The last write is a full barrier: on every processor,
/// everything that is read afterwards is read after the entry was written.
#[inline(always)]
pub fn record(entry: *mut Heard, advert: &HeardAdvert, restarts_timer: bool) -> AdvertChange {
    // SAFETY: `entry` points into the map, which exists for as long as the program runs. The writes are volatile
    // because the agent reads at the same time and relies on the order of the fields. If two CPUs record an advert at
    // once, `latest` may be a mixture of both until the next advert replaces it.
    unsafe {
        if restarts_timer {
            ptr::write_volatile(&raw mut (*entry).restarted_at, advert.received_at);
            ptr::write_volatile(&raw mut (*entry).restart_interval, advert.interval);
        }
        let change = compare(&(*entry).latest, advert);
        (*entry).latest = *advert;
        barrier::exchange(&raw mut (*entry).latest.received_at, advert.received_at);
        change
    }
}

/// Returns whether the agent may be notified of another claim now. If so, the next claim has to wait for
/// [`ConflictEvent::PAUSE`].
#[inline(always)]
pub fn claim_is_due(entry: *mut Heard) -> bool {
    let now = clock::now();
    // SAFETY: as in `record`. If two CPUs find a claim due at once, the agent is notified twice.
    unsafe {
        let due = now.wrapping_sub((*entry).claim_reported_at) >= ConflictEvent::PAUSE;
        if due {
            (*entry).claim_reported_at = now;
        }
        due
    }
}

#[inline(always)]
fn compare(before: &HeardAdvert, advert: &HeardAdvert) -> AdvertChange {
    let same = HeardAdvert { received_at: before.received_at, ..*advert } == *before;
    if same { AdvertChange::Same } else { AdvertChange::Different }
}
