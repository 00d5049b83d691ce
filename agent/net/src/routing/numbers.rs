//! Numbers of rtnetlink(7) that routes, rules and addresses have in common.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::AddressFamily;
use xvrrp_common::units::Family;

/// Marks routes and rules as ours, as [`crate::address::ADDRESS_PROTOCOL`] does addresses: the protocol number of VRRP
/// (RFC 9568 5.1.1.4).
pub(super) const PROTOCOL: u8 = 112;

/// An address with the length of its prefix.
pub type Prefix = (IpAddr, u8);

/// Returns the family that netlink has this number for.
pub(super) fn family(family: AddressFamily) -> Option<Family> {
    match family {
        AddressFamily::Inet => Some(Family::Ipv4),
        AddressFamily::Inet6 => Some(Family::Ipv6),
        _ => None,
    }
}

/// Returns netlink's number for a family.
pub(super) fn number(family: Family) -> AddressFamily {
    match family {
        Family::Ipv4 => AddressFamily::Inet,
        Family::Ipv6 => AddressFamily::Inet6,
    }
}

/// Returns the prefix of all addresses.
pub(super) fn everything(family: Family) -> Prefix {
    match family {
        Family::Ipv4 => (Ipv4Addr::UNSPECIFIED.into(), 0),
        Family::Ipv6 => (Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}

/// Splits the number of a table into the header's field and the attribute.
pub(super) fn table(number: u32) -> (u8, Option<u32>) {
    match u8::try_from(number) {
        Ok(number) => (number, None),
        Err(_) => (0, Some(number)),
    }
}
