//! Turns what single looks find into the outcome of a check, by the rules of rise and fall.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What one look finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Observation {
    /// The target is as it should be.
    Passed,
    /// It is not, for this reason, which is text for people.
    Failed(String),
    /// The number in a file.
    Value(i32),
}

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The check has not looked yet.
    Pending,
    /// It passes.
    Up,
    /// It fails.
    Down,
    /// It is a number that multiplies the weight.
    Value(i32),
}

impl Outcome {
    /// Returns the state, without the number.
    pub fn state(self) -> CheckState {
        match self {
            Self::Pending => CheckState::Pending,
            Self::Up => CheckState::Up,
            Self::Down => CheckState::Down,
            Self::Value(_) => CheckState::Value,
        }
    }

    /// Returns the number that multiplies the weight, if it is one.
    pub fn value(self) -> Option<i32> {
        match self {
            Self::Value(value) => Some(value),
            Self::Pending | Self::Up | Self::Down => None,
        }
    }
}

/// The state of a check in the words of logs and status: an [`Outcome`] without its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// The check has not looked yet.
    Pending,
    /// It passes.
    Up,
    /// It fails.
    Down,
    /// It is a number.
    Value,
}

impl CheckState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Up, Self::Down, Self::Value];

    /// Returns the word for logs and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Up => "up",
            Self::Down => "down",
            Self::Value => "value",
        }
    }
}

impl fmt::Display for CheckState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Derives an [`Outcome`] from observations, as keepalived does for a script. The first observation counts at once.
/// After that it takes `fall` failures in a row to go down, and `rise` successes in a row to come up again.
#[derive(Clone, Copy, Debug)]
pub(super) struct RiseFall {
    rise: u8,
    fall: u8,
    outcome: Outcome,
    /// How many observations in a row differ from the outcome.
    against: u8,
}

impl RiseFall {
    pub(super) fn new(rise: u8, fall: u8, outcome: Outcome) -> Self {
        Self { rise, fall, outcome, against: 0 }
    }

    pub(super) fn outcome(self) -> Outcome {
        self.outcome
    }

    /// Takes an observation into account, and returns whether it changes the outcome.
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

    /// Returns the outcome after each observation; `+` stands for up, `-` for down.
    fn course(rise: u8, fall: u8, observed: &str) -> String {
        let mut filter = RiseFall::new(rise, fall, Outcome::Pending);
        let outcome = |sign| {
            let observation = if sign == '+' { Observation::Passed } else { Observation::Failed(String::new()) };
            let before = filter.outcome();
            assert_eq!(filter.observe(&observation), filter.outcome() != before);
            if filter.outcome() == Outcome::Up { '+' } else { '-' }
        };
        observed.chars().map(outcome).collect()
    }

    #[test]
    fn every_state_is_read_back_from_its_word() {
        assert_eq!(CheckState::ALL.len(), CheckState::Value as usize + 1, "a state is missing from the list");
        for state in CheckState::ALL {
            let json = serde_json::to_value(state).unwrap();
            assert_eq!(json, state.name());
            assert_eq!(state.to_string(), state.name());
            assert_eq!(serde_json::from_value::<CheckState>(json).unwrap(), state);
        }
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
    fn a_number_becomes_the_outcome_at_once() {
        let mut filter = RiseFall::new(255, 255, Outcome::Pending);
        for value in [0, 5, -5, i32::MIN] {
            assert!(filter.observe(&Observation::Value(value)));
            assert!(!filter.observe(&Observation::Value(value)));
            assert_eq!(filter.outcome(), Outcome::Value(value));
        }
    }
}
