//! Three routers on a segment that loses nothing.

use super::rules::{Faults, Setting};
use super::{HIGH, LOW, MIDDLE, assert_overlap, setting, thorough};

#[test]
fn without_delay_two_routers_never_serve() {
    assert_overlap(0, Setting { together: !thorough(), ..setting([HIGH, MIDDLE, LOW], Faults::NONE) });
    assert_overlap(0, Setting { together: true, ..setting([HIGH, HIGH, LOW], Faults::NONE) });
}

#[test]
fn two_routers_serve_for_one_delay_at_most() {
    assert_overlap(1, Setting { together: true, delay: 1, ..setting([HIGH, HIGH, LOW], Faults::NONE) });
}

#[test]
fn whatever_happens_to_an_agent_two_routers_never_serve_without_delay() {
    let together = |faults| Setting { together: true, ..setting([HIGH, MIDDLE, LOW], faults) };
    assert_overlap(0, together(Faults::A_DEATH));
    assert_overlap(0, together(Faults::A_HANG));
}
