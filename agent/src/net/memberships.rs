//! Multicast groups over IPv6.

use std::io;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use xvrrp_common::wire::vrrp::GROUP_IPV6;

/// Keeps the interface in the groups of one virtual router: that of the adverts, and the solicited-node group of each
/// virtual address (RFC 9568 6.4.3, conformance 40), which the interface joins by itself only once it has the address. The kernel half
/// needs them, too: they open the card's multicast filter, and a switch's.
#[derive(Debug)]
pub struct Memberships(#[expect(dead_code, reason = "held, not used")] UdpSocket);

impl Memberships {
    /// They end with what is returned.
    pub fn join(ifindex: u32, addresses: impl IntoIterator<Item = IpAddr>) -> io::Result<Self> {
        // Never bound to more than a port that nobody knows of, and never read.
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        socket.join_multicast_v6(&Ipv6Addr::from(GROUP_IPV6), ifindex)?;
        let mut groups: Vec<Ipv6Addr> = addresses.into_iter().filter_map(solicited_node).collect();
        // Addresses that end in the same way share one.
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            socket.join_multicast_v6(&group, ifindex)?;
        }
        Ok(Self(socket))
    }
}

/// ff02::1:ff00:0/104 and the last 24 bits of the address (RFC 4291 2.7.1).
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
        // RFC 4291 2.7.1
        let group = solicited_node("4037::01:800:200e:8c6c".parse().unwrap());
        assert_eq!(group, Some("ff02::1:ff0e:8c6c".parse().unwrap()));
    }
}
