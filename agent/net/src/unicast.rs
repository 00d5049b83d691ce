//! Sends IP packets to one other router. The kernel finds the route and the neighbor's MAC address.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, sendto,
    setsockopt, socket, sockopt,
};
use xvrrp_common::units::IfIndex;

use super::packet::PRIORITY_CONTROL;

/// Room in bytes for packets that wait until the neighbor answers ARP or a solicitation. It is more than the kernel's
/// own limit (`net.ipv4.neigh.default.unres_qlen_bytes`, 212,992), beyond which the kernel drops the oldest packet. So
/// sending to a router that is gone does not fail.
const SEND_BUFFER: usize = 1 << 20;

/// A raw IP socket that only sends. With `IPPROTO_RAW` it receives nothing, and the sender builds the IP header
/// (raw(7)).
#[derive(Debug)]
pub struct UnicastSocket {
    fd: OwnedFd,
    peer: IpAddr,
    to: To,
}

#[derive(Debug)]
enum To {
    Ipv4(SockaddrIn),
    Ipv6(SockaddrIn6),
}

impl UnicastSocket {
    /// Opens a socket that sends to `peer` through this interface only. Needs `CAP_NET_RAW` and `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// No raw socket to the peer can be opened on the interface.
    pub fn open(interface: &str, ifindex: IfIndex, peer: IpAddr) -> io::Result<Self> {
        let (family, to) = match peer {
            IpAddr::V4(peer) => (AddressFamily::Inet, To::Ipv4(ipv4(peer))),
            IpAddr::V6(peer) => {
                // Only link-local addresses have a scope.
                let scope = if peer.is_unicast_link_local() { ifindex.get() } else { 0 };
                (AddressFamily::Inet6, To::Ipv6(SockaddrIn6::from(SocketAddrV6::new(peer, 0, 0, scope))))
            }
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(family, SockType::Raw, flags, SockProtocol::Raw)?;
        setsockopt(&fd, sockopt::BindToDevice, &OsString::from(interface))?;
        setsockopt(&fd, sockopt::Priority, &PRIORITY_CONTROL)?;
        setsockopt(&fd, sockopt::SndBufForce, &SEND_BUFFER)?;
        Ok(Self { fd, peer, to })
    }

    /// Returns the address of the other router.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Hands the packet to the kernel. Never waits.
    ///
    /// # Errors
    /// There is no route to the peer, or the interface is down.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        let to: &dyn SockaddrLike = match &self.to {
            To::Ipv4(to) => to,
            To::Ipv6(to) => to,
        };
        sendto(self.fd.as_raw_fd(), packet, to, MsgFlags::empty())?;
        Ok(())
    }
}

fn ipv4(peer: Ipv4Addr) -> SockaddrIn {
    let [a, b, c, d] = peer.octets();
    SockaddrIn::new(a, b, c, d, 0)
}
