//! That a virtual router waits for its interface, and since when.

use serde::{Deserialize, Serialize};

/// That a virtual router waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waits {
    pub name: String,
    pub family: String,
    pub reason: String,
    /// Seconds since 1970.
    pub since: f64,
}

impl Waits {
    /// Whether both are of the same virtual router.
    pub fn is_of(&self, other: &Self) -> bool {
        self.name == other.name && self.family == other.family
    }
}
