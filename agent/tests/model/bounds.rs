//! How far clocks and the wire may be off, and that a little more is too much.

use crate::rules::{Faults, RATE, Setting};
use crate::{HIGH, INTERVAL, LOW, MIDDLE, assert_found, assert_overlap, setting};

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

/// What follows is VRRP's nature: nobody learns whether an advert arrived. The lease counts from the last that was sent, a
/// Backup's timer from the last that arrived.
#[test]
fn an_advert_that_is_lost_before_a_death_is_found_to_cost_an_interval_less_the_skew() {
    let routers = [HIGH.no_preempt(), HIGH.no_preempt()];
    assert_found(INTERVAL - 2, Setting { losses_in_a_row: 1, ..setting(routers, Faults::A_DEATH) });
}

/// The old Active serves on until it hears the next one.
#[test]
fn the_first_advert_of_a_new_active_being_lost_costs_an_interval() {
    for losses_in_a_row in [1, 2] {
        let most = INTERVAL * u32::from(losses_in_a_row);
        assert_overlap(most, Setting { losses_in_a_row, ..setting([HIGH, MIDDLE], Faults::NONE) });
    }
}
