//! What the agent installs on a host: routes, rules and addresses.

use netlink_packet_route::RouteNetlinkMessage;
use xvrrp_common::units::{Family, IfIndex};

use super::address::HostAddress;
use super::route::Route;
use super::rule::Rule;

/// A route, a rule or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostEntry {
    /// An address.
    Address(HostAddress),
    /// A rule.
    Rule(Rule),
    /// A route.
    Route(Route),
}

/// Where the kernel puts an IPv4 route among those with the same key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Insertion {
    /// Before the others.
    #[default]
    First,
    /// After the others.
    Last,
    /// Nowhere, if there are others.
    Alone,
}

/// An interface, as far as routes depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// Its name at the moment.
    pub name: String,
    /// Its number in this network namespace.
    pub ifindex: IfIndex,
    /// Whether it is administratively up, without which the kernel keeps no routes by it.
    pub up: bool,
    /// The routing table of the VRF, if the interface is one.
    pub vrf_table: Option<u32>,
}

/// What [`RoutingSocket::list`](super::RoutingSocket::list) lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listing {
    /// Addresses of this family that are ours.
    Addresses(Family),
    /// Rules of this family that are ours.
    Rules(Family),
    /// Routes of this family that are ours.
    Routes(Family),
}

impl HostEntry {
    /// Returns the family of its addresses.
    pub fn family(&self) -> Family {
        match self {
            Self::Address(address) => Family::of(address.address),
            Self::Rule(rule) => rule.family,
            Self::Route(route) => route.key.family(),
        }
    }

    /// Returns whether an entry that the kernel lists is this one.
    pub fn is_shown_as(&self, found: &Self) -> bool {
        match (self, found) {
            (Self::Address(address), Self::Address(found)) => address.is_shown_as(found),
            (Self::Rule(rule), Self::Rule(found)) => rule == found,
            (Self::Route(route), Self::Route(found)) => route.is_shown_as(found),
            _ => false,
        }
    }

    /// Reads what the kernel lists. Returns `None` for what is not ours.
    pub(super) fn read(message: &RouteNetlinkMessage) -> Option<Self> {
        match message {
            RouteNetlinkMessage::NewAddress(message) => HostAddress::read(message).map(Self::Address),
            RouteNetlinkMessage::NewRule(message) => Rule::read(message).map(Self::Rule),
            RouteNetlinkMessage::NewRoute(message) => Route::read(message).map(Self::Route),
            _ => None,
        }
    }
}

impl Listing {
    /// Returns the family.
    pub(super) fn family(self) -> Family {
        match self {
            Self::Addresses(family) | Self::Rules(family) | Self::Routes(family) => family,
        }
    }
}
