//! Rules that are not implemented. With them, two routers never serve together, not even for one delay or after the
//! loss of one advert.

use super::rules::{Faults, Lease, Rules, Setting};
use super::{HIGH, INTERVAL, MIDDLE, assert_overlap, setting, thorough};

/// After a takeover, two adverts that are further apart than the longest delay precede the one that grants the lease.
const OPENING: Rules = Rules { opening: 1, ..Rules::BUILT };
/// The lease is two intervals long, so one advert may be lost before a death.
const SHORT_LEASE: Rules = Rules { lease: Lease::Ticks(2 * INTERVAL), ..OPENING };

#[test]
fn a_new_active_router_that_serves_only_after_it_was_heard_never_serves_beside_another() {
    for (delay, losses_in_a_row) in [(1, 0), (1, 1)] {
        assert_overlap(0, Setting { rules: OPENING, delay, losses_in_a_row, ..setting([HIGH, MIDDLE], Faults::NONE) });
    }
}

#[test]
fn with_a_lease_of_two_intervals_two_routers_never_serve_after_an_advert_is_lost_before_a_death() {
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
