//! From what a look at something finds to what a check says: rise and fall.

use serde::{Deserialize, Serialize};

/// What one look finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Observation {
    Passed,
    /// With the reason, for people.
    Failed(String),
    /// The number in a file.
    Value(i32),
}

/// What a check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing yet.
    Pending,
    Up,
    Down,
    /// A number that multiplies the weight.
    Value(i32),
}

/// Makes an [`Outcome`] of observations, as keepalived does of a script's: the first one counts at once; after that it
/// takes `fall` failures in a row to be down, and `rise` successes in a row to be up again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge {
    rise: u8,
    fall: u8,
    outcome: Outcome,
    /// Observations in a row that speak against the outcome.
    against: u8,
}

impl Judge {
    pub(super) fn new(rise: u8, fall: u8, outcome: Outcome) -> Self {
        Self { rise, fall, outcome, against: 0 }
    }

    pub(super) fn outcome(self) -> Outcome {
        self.outcome
    }

    /// Whether the outcome is another one now.
    pub(super) fn observe(&mut self, observation: &Observation) -> bool {
        let seen = match observation {
            Observation::Passed => Outcome::Up,
            Observation::Failed(_) => Outcome::Down,
            Observation::Value(value) => Outcome::Value(*value),
        };
        if seen == self.outcome {
            self.against = 0;
            return false;
        }
        let needed = match (self.outcome, seen) {
            (Outcome::Up, Outcome::Down) => self.fall,
            (Outcome::Down, Outcome::Up) => self.rise,
            _ => 1,
        };
        self.against += 1;
        let turns = self.against >= needed;
        if turns {
            self.outcome = seen;
            self.against = 0;
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+` and `-` observed one after the other; what it says after each.
    fn course(rise: u8, fall: u8, observed: &str) -> String {
        let mut judge = Judge::new(rise, fall, Outcome::Pending);
        let say = |sign| {
            let observation = if sign == '+' { Observation::Passed } else { Observation::Failed(String::new()) };
            let before = judge.outcome();
            assert_eq!(judge.observe(&observation), judge.outcome() != before);
            if judge.outcome() == Outcome::Up { '+' } else { '-' }
        };
        observed.chars().map(say).collect()
    }

    #[test]
    fn the_first_observation_counts_at_once() {
        assert_eq!(course(3, 3, "+"), "+");
        assert_eq!(course(3, 3, "-"), "-");
    }

    #[test]
    fn it_takes_fall_failures_and_rise_successes_in_a_row() {
        assert_eq!(course(1, 1, "+-+-"), "+-+-");
        assert_eq!(course(2, 3, "+---++"), "+++--+");
        assert_eq!(course(2, 3, "+--+--+---"), "+++++++++-");
        assert_eq!(course(3, 1, "-++-++-+++"), "---------+");
        assert_eq!(course(255, 255, &format!("+{}", "-".repeat(255))), format!("{}-", "+".repeat(255)));
    }

    #[test]
    fn a_number_counts_at_once() {
        let mut judge = Judge::new(255, 255, Outcome::Pending);
        for value in [0, 5, -5, i32::MIN] {
            assert!(judge.observe(&Observation::Value(value)));
            assert!(!judge.observe(&Observation::Value(value)));
            assert_eq!(judge.outcome(), Outcome::Value(value));
        }
    }
}
