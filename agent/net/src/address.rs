//! Addresses on interfaces, as the kernel describes them in a message.

use std::net::IpAddr;

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol};
use xvrrp_common::units::IfIndex;

/// Marks an address as ours (`IFA_PROTO`, Linux 5.18): the protocol number of VRRP (RFC 9568 5.1.1.4).
pub(super) const ADDRESS_PROTOCOL: AddressProtocol = AddressProtocol::Other(112);

/// An address of an [`Interface`](super::Interface).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface's own end of it.
    pub address: IpAddr,
    /// In bits.
    pub prefix_length: u8,
    /// Put there by an xvrrp agent.
    pub ours: bool,
}

/// An address with its prefix length on the interface with this index.
pub type Placed = (IfIndex, IpAddr, u8);

/// Returns the address of a message; `None` for one that failed duplicate detection, because another host has it.
pub(super) fn interface_address(message: &AddressMessage) -> Option<InterfaceAddress> {
    let (_, address, prefix_length) = placed(message).filter(|_| !has_flag(message, AddressFlags::Dadfailed))?;
    Some(InterfaceAddress { address, prefix_length, ours: is_ours(message) })
}

pub(super) fn placed(message: &AddressMessage) -> Option<Placed> {
    // IFA_LOCAL is the interface's own end; on a point-to-point link IFA_ADDRESS is the other one. IPv6 has no
    // IFA_LOCAL elsewhere.
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

/// Returns whether an agent has put the address there.
pub(super) fn is_ours(message: &AddressMessage) -> bool {
    message.attributes.contains(&AddressAttribute::Protocol(ADDRESS_PROTOCOL))
}
