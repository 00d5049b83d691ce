//! Computes the priority of a virtual router from the outcomes of its checks, by keepalived's rules.

use xvrrp_common::units::Priority;
use xvrrp_config::Tracked;
use xvrrp_vrrp::Checks;

use super::outcome::Outcome;

/// The lowest and the highest number that a single check can add. A file for which weight times number is lower is a
/// fault (keepalived.conf(5), "Track files").
const LOWEST: i64 = -253;
const HIGHEST: i64 = 253;

/// What the checks of a virtual router mean for its election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The priority to advertise.
    pub priority: Priority,
    /// Whether the checks allow the virtual router to take part.
    pub checks: Checks,
}

/// What one check means for a virtual router that tracks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Pending,
    Fault,
    Add(i64),
}

/// Combines the `configured` priority with each check that the virtual router tracks and the outcome of that check.
pub fn verdict(configured: Priority, tracked: impl Iterator<Item = (Tracked, Outcome)>) -> Verdict {
    let mut checks = Checks::Passed;
    let mut sum = i64::from(configured.get());
    for (tracked, outcome) in tracked {
        match (effect(tracked, outcome), checks) {
            (Effect::Add(weight), _) => sum += weight,
            (Effect::Fault, _) => checks = Checks::Failed,
            (Effect::Pending, Checks::Passed) => checks = Checks::Pending,
            (Effect::Pending, _) => {}
        }
    }
    let priority = if configured.is_owner() { configured } else { clamped(sum) };
    Verdict { priority, checks }
}

/// Limits a priority to 1 to 254: 255 is reserved for the address owner, and 0 gives up the role.
fn clamped(sum: i64) -> Priority {
    Priority::new(u8::try_from(sum.clamp(1, 254)).unwrap_or(u8::MAX - 1))
}

fn effect(Tracked { weight, reverse, .. }: Tracked, outcome: Outcome) -> Effect {
    if weight == 0 {
        let passes = match outcome {
            Outcome::Pending => return Effect::Pending,
            Outcome::Up => true,
            Outcome::Down => false,
            Outcome::Value(value) => value == 0,
        };
        return if passes == reverse { Effect::Fault } else { Effect::Add(0) };
    }
    let weight = i64::from(weight);
    let sign = if reverse { -1 } else { 1 };
    match outcome {
        Outcome::Pending => Effect::Add(0),
        Outcome::Up => Effect::Add(sign * weight.max(0)),
        Outcome::Down => Effect::Add(sign * weight.min(0)),
        Outcome::Value(value) => match sign * weight * i64::from(value) {
            product if product < LOWEST => Effect::Fault,
            product => Effect::Add(product.min(HIGHEST)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome::{Down, Pending, Up, Value};
    use super::*;
    use xvrrp_config::CheckIndex;

    fn of(configured: u8, weighted: &[(i16, Outcome)]) -> (u8, Checks) {
        with(false, configured, weighted)
    }

    fn reversed(configured: u8, weighted: &[(i16, Outcome)]) -> (u8, Checks) {
        with(true, configured, weighted)
    }

    fn with(reverse: bool, configured: u8, weighted: &[(i16, Outcome)]) -> (u8, Checks) {
        let check = CheckIndex::new(0);
        let tracked = weighted.iter().map(|&(weight, outcome)| (Tracked { check, weight, reverse }, outcome));
        let Verdict { priority, checks } = verdict(Priority::new(configured), tracked);
        (priority.get(), checks)
    }

    #[test]
    fn a_positive_weight_is_added_while_up_and_a_negative_one_while_down() {
        assert_eq!(of(100, &[(20, Up)]), (120, Checks::Passed));
        assert_eq!(of(100, &[(20, Down)]), (100, Checks::Passed));
        assert_eq!(of(100, &[(-20, Up)]), (100, Checks::Passed));
        assert_eq!(of(100, &[(-20, Down)]), (80, Checks::Passed));
        assert_eq!(of(100, &[(20, Up), (-30, Down), (5, Up), (7, Down)]), (95, Checks::Passed));
    }

    #[test]
    fn the_priority_stays_within_1_and_254() {
        assert_eq!(of(100, &[(253, Up)]).0, 254);
        assert_eq!(of(100, &[(-253, Down)]).0, 1);
        assert_eq!(of(100, &[(-253, Down), (200, Up)]).0, 47, "the sum is limited, not each step");
    }

    #[test]
    fn without_a_weight_a_failure_is_a_fault() {
        assert_eq!(of(100, &[(0, Up), (-10, Down)]), (90, Checks::Passed));
        assert_eq!(of(100, &[(0, Up), (0, Down)]), (100, Checks::Failed));
    }

    #[test]
    fn a_pending_check_adds_nothing_and_without_a_weight_keeps_the_router_from_taking_part() {
        assert_eq!(of(100, &[(20, Pending), (-20, Pending)]), (100, Checks::Passed));
        assert_eq!(of(100, &[(0, Pending), (0, Up)]), (100, Checks::Pending));
        assert_eq!(of(100, &[(0, Pending), (0, Down)]), (100, Checks::Failed));
        assert_eq!(of(100, &[(0, Down), (0, Pending)]), (100, Checks::Failed));
    }

    #[test]
    fn the_number_in_a_file_multiplies_the_weight() {
        assert_eq!(of(100, &[(1, Value(20))]), (120, Checks::Passed));
        assert_eq!(of(100, &[(-2, Value(20))]), (60, Checks::Passed));
        assert_eq!(of(100, &[(2, Value(-20))]), (60, Checks::Passed));
        assert_eq!(of(100, &[(253, Value(i32::MAX)), (1, Value(-253))]), (100, Checks::Passed));
        assert_eq!(of(100, &[(1, Value(-253))]), (1, Checks::Passed));
        assert_eq!(of(100, &[(1, Value(-254))]).1, Checks::Failed);
        assert_eq!(of(100, &[(-253, Value(i32::MAX))]).1, Checks::Failed);
    }

    #[test]
    fn without_a_weight_any_number_but_0_is_a_fault() {
        assert_eq!(of(100, &[(0, Value(0))]), (100, Checks::Passed));
        assert_eq!(of(100, &[(0, Value(1))]), (100, Checks::Failed));
        assert_eq!(of(100, &[(0, Value(-1))]), (100, Checks::Failed));
    }

    #[test]
    fn a_reversed_weight_is_subtracted_where_it_would_be_added() {
        assert_eq!(reversed(100, &[(20, Up)]), (80, Checks::Passed));
        assert_eq!(reversed(100, &[(20, Down)]), (100, Checks::Passed));
        assert_eq!(reversed(100, &[(-20, Up)]), (100, Checks::Passed));
        assert_eq!(reversed(100, &[(-20, Down)]), (120, Checks::Passed));
        assert_eq!(reversed(100, &[(20, Pending), (-20, Pending)]), (100, Checks::Passed));
        assert_eq!(reversed(100, &[(2, Value(20))]), (60, Checks::Passed));
        assert_eq!(reversed(100, &[(-2, Value(20))]), (140, Checks::Passed));
        assert_eq!(reversed(100, &[(1, Value(253))]), (1, Checks::Passed));
        assert_eq!(reversed(100, &[(1, Value(254))]).1, Checks::Failed);
    }

    #[test]
    fn reversed_and_without_a_weight_a_success_is_a_fault() {
        assert_eq!(reversed(100, &[(0, Down)]), (100, Checks::Passed));
        assert_eq!(reversed(100, &[(0, Up)]), (100, Checks::Failed));
        assert_eq!(reversed(100, &[(0, Pending)]), (100, Checks::Pending));
        assert_eq!(reversed(100, &[(0, Value(0))]), (100, Checks::Failed));
        assert_eq!(reversed(100, &[(0, Value(7))]), (100, Checks::Passed));
    }

    #[test]
    fn an_owner_keeps_its_priority_or_has_a_fault() {
        assert_eq!(of(255, &[(0, Up)]), (255, Checks::Passed));
        assert_eq!(of(255, &[(0, Down)]), (255, Checks::Failed));
    }
}
