//! Why a virtual router is in its state.

use std::fmt;

use serde::{Deserialize, Serialize};
use xvrrp_vrrp::Reason;

/// Why a virtual router is in its state, for logs, status, notifications and mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cause {
    /// The election's reason.
    Election(Reason),
    /// A description of what is wrong on the host, so that the virtual router cannot take part in the election. It also
    /// holds a [`Reason`] of another version that the reader does not know.
    Host(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Election(reason) => reason.fmt(f),
            Self::Host(words) => f.pad(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_read_back_from_its_text() {
        let host =
            ["interface eth9 is not there", "reason_of_a_later_version", ""].map(|words| Cause::Host(words.into()));
        for cause in Reason::ALL.map(Cause::Election).into_iter().chain(host) {
            let json = serde_json::to_value(&cause).unwrap();
            assert_eq!(json, cause.to_string());
            assert_eq!(serde_json::from_value::<Cause>(json).unwrap(), cause);
        }
    }
}
