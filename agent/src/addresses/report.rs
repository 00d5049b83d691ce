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
    /// Routes and rules. Those that several virtual routers want count for each of them.
    pub routes: AtomicU64,
    routing: Mutex<RoutingAccount>,
    /// The rest of the virtual router: whether it has given up its role, why, and for how long.
    pub rest: Mutex<RestLeft>,
}

/// Routes, rules and static addresses that should be on the host and are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutingAccount {
    /// How many are missing.
    pub missing: usize,
    /// The first of them for which there is a reason, with that reason.
    pub problem: Option<String>,
}

impl Account {
    pub(super) fn new(placement: &Placement) -> Self {
        Self { rest: Mutex::new(placement.rest.clone()), ..Self::default() }
    }

    /// Returns what is missing of the routes and rules.
    pub fn routing(&self) -> RoutingAccount {
        self.routing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_routing(&self, routing: RoutingAccount) {
        *self.routing.lock().unwrap_or_else(PoisonError::into_inner) = routing;
    }

    /// Returns the rest of the virtual router.
    pub fn rest(&self) -> RestLeft {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
