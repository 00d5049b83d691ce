//! Bounds on clock drift, delay and loss: within them two routers do not serve together, and just beyond them they do.

use super::rules::{Faults, Lease, RATE, Rules, Setting};
use super::{HIGH, INTERVAL, LOW, MIDDLE, assert_overlap, assert_overlap_exceeds, setting};

/// The bound on drift, Skew_Time / (6 intervals + Skew_Time), in parts of [`RATE`], for a Skew_Time of two ticks.
const DRIFT: i64 = 2 * RATE / (6 * INTERVAL as i64 + 2);

/// The clock of the Active router is slow, so its lease is long. The Backup's clock is fast, so its timer is short.
#[test]
fn within_the_bound_on_drift_two_routers_never_serve() {
    for faults in [Faults::NONE, Faults::A_DEATH] {
        assert_overlap(0, setting([HIGH.fast(-DRIFT), MIDDLE.fast(DRIFT)], faults));
    }
}

#[test]
fn just_beyond_the_bound_on_drift_two_routers_serve() {
    let off = DRIFT + 1;
    assert_overlap_exceeds(0, setting([HIGH.fast(-off), MIDDLE.fast(off)], Faults::A_DEATH));
}

/// The first router takes over two ticks before the second one would.
#[test]
fn if_frames_take_longer_than_skew_times_differ_two_routers_serve() {
    let together = Setting { together: true, ..setting([HIGH, LOW], Faults::NONE) };
    assert_overlap(0, Setting { delay: 2, ..together.clone() });
    assert_overlap_exceeds(0, Setting { delay: 3, ..together });
}

/// The lease runs from the last advert that was sent, and a Backup's timer from the last one that arrived. If the last
/// advert is lost, the lease outlasts the timer by an interval less Skew_Time, which is three ticks. A new Active
/// router that serves two ticks late, which excludes any other overlap, leaves one of these.
#[test]
fn after_an_advert_is_lost_before_a_death_two_routers_serve() {
    let lossy = Setting { losses_in_a_row: 1, together: true, ..setting([HIGH, HIGH], Faults::A_DEATH) };
    let opening = Rules { opening: 1, ..Rules::BUILT };
    assert_overlap_exceeds(0, Setting { rules: opening, ..lossy.clone() });
    let short_lease = Rules { lease: Lease::Ticks(2 * INTERVAL), ..opening };
    assert_overlap(0, Setting { rules: short_lease, ..lossy });
}

/// The previous Active router serves until it hears the next advert.
#[test]
fn if_the_first_adverts_of_a_new_active_router_are_lost_two_routers_serve_for_an_interval_each() {
    for losses_in_a_row in [1, 2] {
        let max = INTERVAL * u32::from(losses_in_a_row);
        assert_overlap(max, Setting { losses_in_a_row, ..setting([HIGH, MIDDLE], Faults::NONE) });
    }
}
