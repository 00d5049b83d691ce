//! Each rule is necessary: without it, two routers serve together.

use super::rules::{Faults, Lease, Router, Rules, Setting};
use super::{HIGH, MIDDLE, assert_overlap_exceeds, setting};

#[track_caller]
fn assert_needed(rules: Rules, routers: [Router; 2], faults: Faults) {
    assert_overlap_exceeds(0, Setting { rules, ..setting(routers, faults) });
}

#[test]
fn without_a_lease_two_routers_serve() {
    assert_needed(Rules { lease: Lease::Off, ..Rules::BUILT }, [HIGH, MIDDLE], Faults::A_DEATH);
}

#[test]
fn with_a_lease_longer_than_active_down_interval_two_routers_serve() {
    assert_needed(Rules { lease: Lease::Ticks(15), ..Rules::BUILT }, [HIGH, MIDDLE], Faults::A_DEATH);
}

/// The agent is held up before the renewal, and dies after it.
#[test]
fn with_a_lease_that_runs_from_its_renewal_two_routers_serve() {
    let faults = Faults { deaths: 1, hangs: 1, duplicates: 0 };
    let routers = [HIGH.no_preempt(), HIGH.no_preempt()];
    let rules = Rules { lease_from_sending: false, ..Rules::BUILT };
    assert_overlap_exceeds(0, Setting { rules, together: true, ..setting(routers, faults) });
}

#[test]
fn unless_the_kernel_half_ends_the_lease_two_routers_serve() {
    assert_needed(Rules { fence: false, ..Rules::BUILT }, [HIGH, MIDDLE], Faults::A_HANG);
}

/// The advert is sent after the lease has ended, and its delay passes until it ends the other router's lease. A
/// takeover has the same overlap, so the effect shows only with `opening`, which removes that overlap.
#[test]
fn without_reading_the_clock_before_and_after_sending_two_routers_serve() {
    let rules = Rules { looks_at_clock: false, opening: 1, ..Rules::BUILT };
    assert_overlap_exceeds(0, Setting { rules, delay: 1, together: true, ..setting([HIGH, MIDDLE], Faults::A_HANG) });
}

#[test]
fn without_compare_and_swap_two_routers_serve() {
    assert_needed(Rules { compare_and_swap: false, ..Rules::BUILT }, [HIGH, MIDDLE], Faults::A_HANG);
}

#[test]
fn without_stamps_two_routers_serve() {
    assert_needed(Rules { stamps: false, ..Rules::BUILT }, [HIGH.no_preempt(), MIDDLE.no_preempt()], Faults::A_HANG);
}

#[test]
fn with_a_successor_that_resumes_after_the_lease_two_routers_serve() {
    let rules = Rules { resume_within_lease: false, ..Rules::BUILT };
    assert_overlap_exceeds(1, Setting { rules, delay: 1, ..setting([HIGH, MIDDLE], Faults::A_DEATH) });
}
