//! Two routers on a segment that loses nothing. A new Active router serves from its first advert on. If it preempts, or
//! if both take over at the same time, both serve until that advert has arrived: for one delay at most.

use super::rules::{Faults, Setting, UNLIMITED};
use super::{HIGH, LOW, MIDDLE, assert_overlap, setting, thorough};

#[test]
fn without_delay_two_routers_never_serve() {
    for routers in [[HIGH, MIDDLE], [HIGH, HIGH], [HIGH.no_preempt(), LOW.no_preempt()]] {
        assert_overlap(0, setting(routers, Faults::NONE));
    }
}

#[test]
fn two_routers_serve_for_one_delay_at_most() {
    for routers in [[HIGH, MIDDLE], [HIGH, HIGH], [MIDDLE, LOW]] {
        for delay in [1, 2] {
            assert_overlap(delay, Setting { delay, ..setting(routers, Faults::NONE) });
        }
    }
}

/// The agent is killed at any point of its program, or stops gracefully. It is started again at any time, or never.
#[test]
fn whenever_an_agent_dies_two_routers_never_serve_without_delay() {
    assert_overlap(0, setting([HIGH, MIDDLE], Faults::A_DEATH));
}

/// An agent that is started again within its lease resumes its role.
#[test]
fn whenever_an_agent_dies_two_routers_serve_for_one_delay_at_most() {
    assert_overlap(1, Setting { delay: 1, ..setting([HIGH, MIDDLE], Faults::A_DEATH) });
}

/// The agent hangs at any point of its program, for any time.
#[test]
fn whenever_an_agent_hangs_two_routers_never_serve_without_delay() {
    assert_overlap(0, setting([HIGH, MIDDLE], Faults::A_HANG));
}

#[test]
fn if_frames_are_duplicated_and_overtake_each_other_two_routers_serve_for_one_delay_at_most() {
    let faults = Faults { duplicates: UNLIMITED, ..Faults::NONE };
    assert_overlap(2, Setting { delay: 2, ..setting([HIGH, MIDDLE], faults) });
}

#[test]
fn whatever_happens_to_agents_two_routers_serve_for_one_delay_at_most() {
    if thorough() {
        let both = Faults { deaths: 1, hangs: 1, duplicates: 0 };
        assert_overlap(0, Setting { together: true, ..setting([HIGH, MIDDLE], both) });
        assert_overlap(1, Setting { delay: 1, ..setting([HIGH, HIGH], Faults::A_DEATH) });
    }
    let together = !thorough();
    assert_overlap(1, Setting { delay: 1, together, ..setting([HIGH, HIGH], Faults::A_HANG) });
}
