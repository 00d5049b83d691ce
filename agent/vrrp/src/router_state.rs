//! The state of a virtual router in the words of logs, status, notifications and metrics.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{Reason, State};

/// RFC 9568's states, with Initialize told apart by its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouterState {
    /// RFC 9568 6.4.3: serves the virtual addresses.
    Active,
    /// RFC 9568 6.4.2: listens.
    Backup,
    /// Initialize: something is broken, see [`Reason::is_fault`].
    Fault,
    /// Initialize: not started yet, or shut down.
    Init,
}

impl RouterState {
    /// All states, in the order of their names.
    pub const ALL: [Self; 4] = [Self::Active, Self::Backup, Self::Fault, Self::Init];

    /// Returns how `state`, with the `reason` for it, is reported.
    pub fn new(state: State, reason: Reason) -> Self {
        match state {
            State::Active => Self::Active,
            State::Backup => Self::Backup,
            State::Initialize if reason.is_fault() => Self::Fault,
            State::Initialize => Self::Init,
        }
    }

    /// Returns the word for logs, JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Backup => "backup",
            Self::Fault => "fault",
            Self::Init => "init",
        }
    }
}

impl fmt::Display for RouterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn every_state_is_read_back_from_its_word() {
        assert_eq!(RouterState::ALL.len(), RouterState::Init as usize + 1, "a state is missing from the list");
        for state in RouterState::ALL {
            let json = serde_json::to_value(state).unwrap();
            assert_eq!(json, state.name());
            assert_eq!(state.to_string(), state.name());
            assert_eq!(serde_json::from_value::<RouterState>(json).unwrap(), state);
        }
    }
}
