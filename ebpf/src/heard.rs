//! The stamps of adverts, which the agent reads while they are written.

use core::ptr;

use xvrrp_common::abi::{ConflictEvent, Heard, HeardAdvert};

use crate::barrier;
use crate::clock;

/// What an advert says compared with the one before it, leaving its time of arrival aside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Same,
    Different,
}

/// Records an advert, and whether it restarts a Backup's timer. The last write is a full barrier: what is read
/// afterwards is read after the entry was written, on every processor.
#[inline(always)]
pub fn record(entry: *mut Heard, advert: &HeardAdvert, restarts_timer: bool) -> Change {
    // SAFETY: `entry` points into the map, as long as the program runs. The agent reads at the same time and counts on
    // the order of the fields, hence volatile; two adverts at once on two CPUs can at worst mix what they say in
    // `latest`, which the next one puts right.
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

/// Returns whether the agent may be notified of another claim now; if so, the next one has to wait.
#[inline(always)]
pub fn claim_is_due(entry: *mut Heard) -> bool {
    let now = clock::now();
    // SAFETY: as in `record`; should two CPUs find it due at once, the agent is told twice.
    unsafe {
        let due = now.wrapping_sub((*entry).claim_told_at) >= ConflictEvent::PAUSE;
        if due {
            (*entry).claim_told_at = now;
        }
        due
    }
}

#[inline(always)]
fn compare(before: &HeardAdvert, advert: &HeardAdvert) -> Change {
    let same = HeardAdvert { received_at: before.received_at, ..*advert } == *before;
    if same { Change::Same } else { Change::Different }
}
