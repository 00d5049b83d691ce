//! Record of a virtual router that waits for its interface.

use serde::{Deserialize, Serialize};
use xvrrp_common::units::Family;

use super::cause::Cause;

/// Record of a virtual router that waits for its interface, with the reason and the time since when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waits {
    pub name: String,
    pub family: Family,
    pub reason: Cause,
    /// Time since when it waits, in seconds since 1970.
    pub since: f64,
}

impl Waits {
    /// Returns whether both records are about the same virtual router.
    pub fn is_of(&self, other: &Self) -> bool {
        self.name == other.name && self.family == other.family
    }
}
