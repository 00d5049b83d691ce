//! Reads an interface's address from a message of the kernel.

use std::net::IpAddr;

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol};
use xvrrp_common::units::IfIndex;

/// Marks an address as ours (`IFA_PROTO`, Linux 5.18): the protocol number of VRRP (RFC 9568 5.1.1.4).
pub(super) const ADDRESS_PROTOCOL: AddressProtocol = AddressProtocol::Other(112);

/// An address of an [`Interface`](super::Interface).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// On a point-to-point link, the address of this end.
    pub address: IpAddr,
    /// Prefix length in bits.
    pub prefix_length: u8,
    /// Whether an xvrrp agent has added it.
    pub ours: bool,
}

/// An address with its prefix length, on the interface with this index.
pub type Placed = (IfIndex, IpAddr, u8);

/// Returns the address in a message, or `None` if duplicate address detection found it on another host.
pub(super) fn interface_address(message: &AddressMessage) -> Option<InterfaceAddress> {
    let (_, address, prefix_length) = placed(message).filter(|_| !has_flag(message, AddressFlags::Dadfailed))?;
    Some(InterfaceAddress { address, prefix_length, ours: is_ours(message) })
}

pub(super) fn placed(message: &AddressMessage) -> Option<Placed> {
    // IFA_LOCAL is the address of this end. On a point-to-point link, IFA_ADDRESS is that of the other end. On other
    // links, messages about IPv6 addresses have no IFA_LOCAL.
    let attributes = || message.attributes.iter();
    let local = attributes().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let ipv6 = attributes().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) if address.is_ipv6() => Some(*address),
        _ => None,
    });
    Some((IfIndex::new(message.header.index), local.or(ipv6)?, message.header.prefix_len))
}

pub(super) fn has_flag(message: &AddressMessage, flag: AddressFlags) -> bool {
    let mut attributes = message.attributes.iter();
    attributes.any(|attribute| matches!(attribute, AddressAttribute::Flags(flags) if flags.contains(flag)))
}

/// Returns whether an agent has added the address.
pub(super) fn is_ours(message: &AddressMessage) -> bool {
    message.attributes.contains(&AddressAttribute::Protocol(ADDRESS_PROTOCOL))
}
