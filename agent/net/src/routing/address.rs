//! An address of the host itself, as the kernel has it.

use std::net::IpAddr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo};
use xvrrp_common::units::{Family, IfIndex};

use super::numbers::{family, number};
use crate::address::{ADDRESS_PROTOCOL, is_ours, placed};

/// An address with its options. Numbers are those of rtnetlink(7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// The interface that has it.
    pub interface: IfIndex,
    /// The interface's own end.
    pub address: IpAddr,
    /// In bits.
    pub prefix_length: u8,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// IPv4 only.
    pub broadcast: Option<IpAddr>,
    /// `RT_SCOPE_*`; 0 for IPv6.
    pub scope: u8,
    /// IPv4 only: the name of the interface, or one that begins with it.
    pub label: Option<String>,
    /// For how many seconds it is used as a source address. The kernel shows only whether that is over.
    pub preferred_lifetime: Option<u32>,
    /// The flags in [`Self::FLAGS`] that it has.
    pub flags: u32,
}

impl HostAddress {
    /// Without duplicate address detection (RFC 4862 5.4).
    pub const NODAD: u32 = AddressFlags::Nodad.bits();
    /// Home address of a mobile node (RFC 6275).
    pub const HOME: u32 = AddressFlags::Homeaddress.bits();
    /// The kernel makes temporary addresses from it (RFC 8981).
    pub const MNGTMPADDR: u32 = AddressFlags::Managetempaddr.bits();
    /// Without a route to its network.
    pub const NOPREFIXROUTE: u32 = AddressFlags::Noprefixroute.bits();
    /// A multicast group that the host joins.
    pub const AUTOJOIN: u32 = AddressFlags::Mcautojoin.bits();
    /// All of these flags.
    pub const FLAGS: u32 = Self::NODAD | Self::HOME | Self::MNGTMPADDR | Self::NOPREFIXROUTE | Self::AUTOJOIN;

    /// Reads a message; `None` if the address is not ours.
    pub(super) fn read(message: &AddressMessage) -> Option<Self> {
        let (interface, address, prefix_length) = placed(message).filter(|_| is_ours(message))?;
        let family = family(message.header.family)?;
        let mut read = Self {
            interface,
            address,
            prefix_length,
            peer: None,
            broadcast: None,
            scope: if family == Family::Ipv6 { 0 } else { message.header.scope.into() },
            label: None,
            preferred_lifetime: None,
            flags: 0,
        };
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(other) if *other != address => read.peer = Some(*other),
                AddressAttribute::Broadcast(broadcast) => read.broadcast = Some((*broadcast).into()),
                AddressAttribute::Label(label) => read.label = Some(label.clone()),
                AddressAttribute::Flags(flags) => {
                    read.flags = flags.bits() & Self::FLAGS;
                    read.preferred_lifetime = flags.contains(AddressFlags::Deprecated).then_some(0);
                }
                _ => {}
            }
        }
        Some(read)
    }

    /// Returns the message that adds or removes the address.
    pub(crate) fn message(&self) -> AddressMessage {
        let mut message = AddressMessage::default();
        let header = &mut message.header;
        header.family = number(Family::of(self.address));
        header.prefix_len = self.prefix_length;
        header.scope = self.scope.into();
        header.index = self.interface.get();
        let attributes = &mut message.attributes;
        attributes.push(AddressAttribute::Local(self.address));
        attributes.push(AddressAttribute::Address(self.peer.unwrap_or(self.address)));
        attributes.push(AddressAttribute::Protocol(ADDRESS_PROTOCOL));
        if let Some(IpAddr::V4(broadcast)) = self.broadcast {
            attributes.push(AddressAttribute::Broadcast(broadcast));
        }
        attributes
            .extend(self.label.clone().filter(|_| header.family == AddressFamily::Inet).map(AddressAttribute::Label));
        if self.flags != 0 {
            attributes.push(AddressAttribute::Flags(AddressFlags::from_bits_retain(self.flags)));
        }
        if let Some(preferred) = self.preferred_lifetime {
            let mut lifetimes = CacheInfo::default();
            (lifetimes.ifa_valid, lifetimes.ifa_preferred) = (u32::MAX, preferred);
            attributes.push(AddressAttribute::CacheInfo(lifetimes));
        }
        message
    }

    /// Returns whether an address that the kernel lists is this one. How much of a finite lifetime is left does not
    /// matter.
    pub(super) fn is_shown_as(&self, found: &Self) -> bool {
        let preferred_lifetime = match self.preferred_lifetime {
            None | Some(0) => self.preferred_lifetime,
            Some(_) => found.preferred_lifetime,
        };
        *found == Self { preferred_lifetime, ..self.clone() }
    }
}
