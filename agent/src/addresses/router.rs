//! State of what a virtual router needs on the host.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use tokio::time::Instant;
use xvrrp_common::units::IfIndex;
use xvrrp_net::{Addition, Placed};

use super::placement::{PlacedAddress, Placement};
use super::tolerance::{Rest, Tolerance};

/// Virtual router, as the address thread sees it.
pub(super) struct KeptRouter {
    pub(super) placement: Placement,
    pub(super) addresses: Vec<KeptAddress>,
    pub(super) filter: Tolerance,
    /// True if the next check has to look at the filter entry.
    pub(super) filter_in_doubt: bool,
    /// Whether the last request was to install the addresses or to remove them. Before the first request they stay as
    /// they are.
    pub(super) wanted: Option<bool>,
    /// True as long as the last request has not been carried out.
    pub(super) asked: bool,
    /// True as long as a requested removal of the addresses has not been reported as completed.
    pub(super) retires: bool,
    pub(super) rest: Rest,
    /// Number of restorations that have not been logged, and the time of the last log line about them.
    pub(super) unlogged: (usize, Option<Instant>),
}

/// Virtual address.
pub(super) struct KeptAddress {
    pub(super) on_host: PlacedAddress,
    pub(super) presence: Presence,
    pub(super) tolerance: Tolerance,
    /// True if the address was removed by something other than this agent and has not been put back.
    pub(super) lost: bool,
    /// True if the address was put back. An address of the host may have been in front of it before.
    pub(super) restored: bool,
}

/// Whether an address was on the interface at the last check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Absent,
    /// Installed by this agent or by its predecessor.
    Ours,
    /// Installed by something else.
    Foreign,
}

impl KeptRouter {
    pub(super) fn new(placement: Placement) -> Self {
        let address = |on_host: &PlacedAddress| KeptAddress {
            presence: if on_host.installed { Presence::Ours } else { Presence::Absent },
            tolerance: Tolerance::default(),
            lost: false,
            // The previous agent may have put it back.
            restored: on_host.installed,
            on_host: on_host.clone(),
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

    /// Returns whether the addresses should be installed now.
    pub(super) fn serves(&self) -> bool {
        self.wanted == Some(true) && !self.rest.is_on()
    }
}

impl KeptAddress {
    /// Returns the address as the kernel is asked to add it.
    pub(super) fn addition(&self) -> Addition<'_> {
        let PlacedAddress { placed, interface, options, .. } = &self.on_host;
        Addition { placed: *placed, interface, options: options.as_ref() }
    }

    /// Returns the address with its interface and prefix length.
    pub(super) fn placed(&self) -> Placed {
        self.on_host.placed
    }
}

/// Displays the address without its prefix length.
impl fmt::Display for KeptAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.on_host.placed.1.fmt(f)
    }
}

/// Returns the key by which the kernel identifies an address. Over IPv6 it ignores the prefix length.
pub(super) fn identity((ifindex, address, prefix_length): Placed) -> Placed {
    (ifindex, address, if address.is_ipv6() { 0 } else { prefix_length })
}

/// Returns the subnet of an IPv4 address.
pub(super) fn subnet((ifindex, address, prefix_length): Placed) -> Option<(IfIndex, Ipv4Addr, u8)> {
    let IpAddr::V4(address) = address else { return None };
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix_length.min(32))).unwrap_or(0);
    Some((ifindex, Ipv4Addr::from_bits(address.to_bits() & mask), prefix_length))
}
