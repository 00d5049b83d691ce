//! What the address thread reports and counts about each virtual router.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use super::placement::Placement;
use super::tolerance::RestLeft;
use crate::identity::RouterIndex;

/// Report of the address thread about a virtual router, which is given by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressReport {
    /// Whether everything that it needs on the host stays there, as far as is known.
    Kept {
        /// Number of the virtual router.
        router: RouterIndex,
        /// False if the virtual router has to give up its role.
        kept: bool,
    },
    /// Its addresses have been removed as requested.
    Removed {
        /// Number of the virtual router.
        router: RouterIndex,
    },
}

/// Counts of what was put back for one virtual router, for the status.
#[derive(Debug, Default)]
pub struct Account {
    /// How many times an address was put back.
    pub addresses: AtomicU64,
    /// How many times an entry of a unicast filter was put back.
    pub filters: AtomicU64,
    /// The rest of the virtual router: whether it has given up its role, why, and for how long.
    pub rest: Mutex<RestLeft>,
}

impl Account {
    pub(super) fn new(placement: &Placement) -> Self {
        Self { rest: Mutex::new(placement.rest.clone()), ..Self::default() }
    }

    /// Returns the rest of the virtual router.
    pub fn rest(&self) -> RestLeft {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
