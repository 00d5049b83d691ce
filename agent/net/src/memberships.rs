//! Joins multicast groups, so that network cards and switches let through what the kernel half receives.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use socket2::{InterfaceIndexOrAddress, SockRef};
use xvrrp_common::units::IfIndex;
use xvrrp_common::wire::vrrp::{GROUP, GROUP_IPV6};

/// Keeps an interface in multicast groups until this is dropped. The socket is not bound, so it receives nothing.
#[derive(Debug)]
pub struct Memberships(UdpSocket);

impl AsFd for Memberships {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Memberships {
    /// Joins the group of the adverts. The interface is given by its index, because several may have the same address.
    ///
    /// # Errors
    /// The interface cannot join the group.
    pub fn ipv4(ifindex: IfIndex) -> io::Result<Self> {
        let socket = unbound(AddressFamily::Inet)?;
        let interface = InterfaceIndexOrAddress::Index(ifindex.get());
        SockRef::from(&socket).join_multicast_v4_n(&Ipv4Addr::from(GROUP), &interface)?;
        Ok(Self(socket))
    }

    /// Joins the group of the `adverts`, and the solicited-node group of each virtual address. The kernel itself would
    /// join such a group only once the interface has the address. RFC 9568 6.4.3 (conformance 40): "It MUST be a member
    /// of the Solicited-Node multicast address for the IPv6 address(es) associated with the Virtual Router."
    ///
    /// # Errors
    /// The interface cannot join one of the groups.
    pub fn ipv6(ifindex: IfIndex, adverts: bool, addresses: impl IntoIterator<Item = IpAddr>) -> io::Result<Self> {
        let socket = unbound(AddressFamily::Inet6)?;
        if adverts {
            socket.join_multicast_v6(&Ipv6Addr::from(GROUP_IPV6), ifindex.get())?;
        }
        let mut groups: Vec<Ipv6Addr> = addresses.into_iter().filter_map(solicited_node).collect();
        // Addresses with the same last 24 bits share a group.
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            socket.join_multicast_v6(&group, ifindex.get())?;
        }
        Ok(Self(socket))
    }
}

fn unbound(family: AddressFamily) -> io::Result<UdpSocket> {
    Ok(UdpSocket::from(socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?))
}

/// Returns the solicited-node group: ff02::1:ff00:0/104 with the last 24 bits of the address (RFC 4291 2.7.1).
fn solicited_node(address: IpAddr) -> Option<Ipv6Addr> {
    let IpAddr::V6(address) = address else { return None };
    let [.., a, b, c] = address.octets();
    Some(Ipv6Addr::from([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_solicited_node_group_ends_as_the_address_does() {
        // The example of RFC 4291 2.7.1.
        let group = solicited_node("4037::01:800:200e:8c6c".parse().unwrap());
        assert_eq!(group, Some("ff02::1:ff0e:8c6c".parse().unwrap()));
    }
}
