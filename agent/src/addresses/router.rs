//! What is known of the things that a virtual router needs on the host.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use tokio::time::Instant;
use xvrrp_net::Placed;

use super::Placement;
use super::tolerance::{Rest, Tolerance};

pub(super) struct Router {
    pub(super) placement: Placement,
    pub(super) addresses: Vec<Address>,
    pub(super) filter: Tolerance,
    /// Whether to look at the filter.
    pub(super) filter_in_doubt: bool,
    /// What was asked for last: to have the addresses there, or not. Before that, they stay as they are.
    pub(super) wanted: Option<bool>,
    /// It was asked for and is not done.
    pub(super) asked: bool,
    /// That they are off, as was asked for, has not been reported.
    pub(super) retires: bool,
    pub(super) rest: Rest,
    /// Restorations without a line, and when the last line was written.
    pub(super) unlogged: (usize, Option<Instant>),
}

pub(super) struct Address {
    pub(super) address: IpAddr,
    pub(super) prefix_length: u8,
    pub(super) presence: Presence,
    pub(super) tolerance: Tolerance,
    /// It was there, has gone without us, and is not back.
    pub(super) lost: bool,
    /// It was put back. Addresses of the host's own may have been in front of it.
    pub(super) restored: bool,
}

/// As of the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Absent,
    /// We have put it there, or the agent before us.
    Ours,
    /// Somebody else has.
    Foreign,
}

impl Router {
    pub(super) fn new(placement: Placement) -> Self {
        let installed: BTreeSet<_> = placement.installed.iter().copied().collect();
        let address = |&(address, prefix_length): &(IpAddr, u8)| {
            let is_installed = installed.contains(&(address, prefix_length));
            Address {
                address,
                prefix_length,
                presence: if is_installed { Presence::Ours } else { Presence::Absent },
                tolerance: Tolerance::default(),
                lost: false,
                // The agent before may have put it back.
                restored: is_installed,
            }
        };
        Self {
            addresses: placement.addresses.iter().map(address).collect(),
            filter: Tolerance::default(),
            filter_in_doubt: true,
            wanted: None,
            asked: false,
            retires: false,
            rest: Rest::inherited(&placement.rest),
            placement,
            unlogged: (0, None),
        }
    }

    pub(super) fn serves(&self) -> bool {
        self.wanted == Some(true) && !self.rest.is_on()
    }

    pub(super) fn placed(&self, Address { address, prefix_length, .. }: &Address) -> Placed {
        (self.placement.ifindex, *address, *prefix_length)
    }
}

/// What the kernel takes for the same address: over IPv6, whatever the prefix length.
pub(super) fn identity((ifindex, address, prefix_length): Placed) -> Placed {
    (ifindex, address, if address.is_ipv6() { 0 } else { prefix_length })
}

/// The IPv4 subnet of an address.
pub(super) fn subnet((ifindex, address, prefix_length): Placed) -> Option<(u32, Ipv4Addr, u8)> {
    let IpAddr::V4(address) = address else { return None };
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix_length.min(32))).unwrap_or(0);
    Some((ifindex, Ipv4Addr::from_bits(address.to_bits() & mask), prefix_length))
}
