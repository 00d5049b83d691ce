//! How far clocks and the wire may be off, and that a little more is too much.

use super::rules::{Faults, Lease, RATE, Rules, Setting};
use super::{HIGH, INTERVAL, LOW, MIDDLE, assert_found, assert_overlap, setting};

/// Of the bound on drift: Skew_Time / (6 intervals + Skew_Time), in parts of [`RATE`], for a Skew_Time of two ticks.
const DRIFT: i64 = 2 * RATE / (6 * INTERVAL as i64 + 2);

/// The Active's clock is slow, so its lease is long; the Backup's is fast, so its timer is short.
#[test]
fn within_the_bound_on_drift_two_never_serve() {
    for faults in [Faults::NONE, Faults::A_DEATH] {
        assert_overlap(0, setting([HIGH.fast(-DRIFT), MIDDLE.fast(DRIFT)], faults));
    }
}

#[test]
fn just_outside_of_the_bound_on_drift_two_are_found_to_serve() {
    let off = DRIFT + 1;
    assert_found(0, setting([HIGH.fast(-off), MIDDLE.fast(off)], Faults::A_DEATH));
}

/// The first takes over two ticks before the second would.
#[test]
fn frames_that_take_longer_than_skews_differ_are_found_to_make_two_active() {
    let together = Setting { together: true, ..setting([HIGH, LOW], Faults::NONE) };
    assert_overlap(0, Setting { delay: 2, ..together.clone() });
    assert_found(0, Setting { delay: 3, ..together });
}

/// The lease counts from the last advert that was sent, a Backup's timer from the last that arrived: an interval less
/// Skew_Time. Where a new Active serves two ticks late, so that nothing else makes two serve, one of those three is left.
#[test]
fn an_advert_that_is_lost_before_a_death_is_found_to_make_two_serve() {
    let lossy = Setting { losses_in_a_row: 1, together: true, ..setting([HIGH, HIGH], Faults::A_DEATH) };
    let opening = Rules { opening: 1, ..Rules::BUILT };
    assert_found(0, Setting { rules: opening, ..lossy.clone() });
    let short_lease = Rules { lease: Lease::Ticks(2 * INTERVAL), ..opening };
    assert_overlap(0, Setting { rules: short_lease, ..lossy });
}

/// The old Active serves on until it hears the next one.
#[test]
fn the_first_advert_of_a_new_active_being_lost_costs_an_interval() {
    for losses_in_a_row in [1, 2] {
        let most = INTERVAL * u32::from(losses_in_a_row);
        assert_overlap(most, Setting { losses_in_a_row, ..setting([HIGH, MIDDLE], Faults::NONE) });
    }
}
