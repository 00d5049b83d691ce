//! Each rule taken away: what it is there for happens at once.

use super::rules::{Faults, Lease, Router, Rules, Setting};
use super::{HIGH, MIDDLE, assert_found, setting};

#[track_caller]
fn assert_bites(rules: Rules, routers: [Router; 2], faults: Faults) {
    assert_found(0, Setting { rules, ..setting(routers, faults) });
}

#[test]
fn without_a_lease() {
    assert_bites(Rules { lease: Lease::Off, ..Rules::BUILT }, [HIGH, MIDDLE], Faults::A_DEATH);
}

#[test]
fn with_a_lease_longer_than_active_down_interval() {
    assert_bites(Rules { lease: Lease::Ticks(15), ..Rules::BUILT }, [HIGH, MIDDLE], Faults::A_DEATH);
}

/// The agent is held up before the renewal, and dies after it.
#[test]
fn with_a_lease_that_counts_from_its_renewal() {
    let faults = Faults { deaths: 1, hangs: 1, duplicates: 0 };
    let routers = [HIGH.no_preempt(), HIGH.no_preempt()];
    let rules = Rules { lease_from_sending: false, ..Rules::BUILT };
    assert_found(0, Setting { rules, together: true, ..setting(routers, faults) });
}

#[test]
fn without_the_kernel_halfs_fence() {
    assert_bites(Rules { fence: false, ..Rules::BUILT }, [HIGH, MIDDLE], Faults::A_HANG);
}

/// The advert leaves after the lease, and a delay passes until it ends the next one's: as at a takeover, so this is told
/// apart only where that costs no delay.
#[test]
fn without_looks_at_the_clock_before_and_after_sending() {
    let rules = Rules { looks_at_clock: false, opening: 1, ..Rules::BUILT };
    assert_found(0, Setting { rules, delay: 1, together: true, ..setting([HIGH, MIDDLE], Faults::A_HANG) });
}

#[test]
fn without_compare_and_swap() {
    assert_bites(Rules { compare_and_swap: false, ..Rules::BUILT }, [HIGH, MIDDLE], Faults::A_HANG);
}

#[test]
fn without_stamps() {
    assert_bites(Rules { stamps: false, ..Rules::BUILT }, [HIGH.no_preempt(), MIDDLE.no_preempt()], Faults::A_HANG);
}

#[test]
fn with_a_successor_that_resumes_after_the_lease() {
    let rules = Rules { resume_within_lease: false, ..Rules::BUILT };
    assert_found(1, Setting { rules, delay: 1, ..setting([HIGH, MIDDLE], Faults::A_DEATH) });
}
