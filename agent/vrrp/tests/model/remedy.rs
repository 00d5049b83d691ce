//! Rules that are not built: with them two never serve, not for one delay either, and with one advert in a row lost.

use super::rules::{Faults, Lease, Rules, Setting};
use super::{HIGH, INTERVAL, MIDDLE, assert_overlap, setting, thorough};

/// After a takeover two adverts leave, at a distance of more than the longest delay, before the one that brings the lease.
const OPENING: Rules = Rules { opening: 1, ..Rules::BUILT };
/// Two intervals: one advert in a row may be lost before a death.
const SHORT_LEASE: Rules = Rules { lease: Lease::Ticks(2 * INTERVAL), ..OPENING };

#[test]
fn a_new_active_that_serves_once_it_was_heard_never_serves_beside_another() {
    for (delay, losses_in_a_row) in [(1, 0), (1, 1)] {
        assert_overlap(0, Setting { rules: OPENING, delay, losses_in_a_row, ..setting([HIGH, MIDDLE], Faults::NONE) });
    }
}

#[test]
fn with_a_lease_of_two_intervals_an_advert_lost_before_a_death_does_no_harm() {
    let routers = [HIGH.no_preempt(), HIGH.no_preempt()];
    let together = !thorough();
    let lossy = Setting {
        rules: SHORT_LEASE,
        delay: u32::from(thorough()),
        losses_in_a_row: 1,
        together,
        ..setting(routers, Faults::A_DEATH)
    };
    if thorough() {
        assert_overlap(0, Setting { faults: Faults::A_HANG, ..lossy.clone() });
    }
    assert_overlap(0, lossy);
}
