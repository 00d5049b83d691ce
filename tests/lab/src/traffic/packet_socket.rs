//! Packet sockets in a namespace, which send and receive whole frames.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::libc;

use crate::Namespace;

/// Protocol of a socket that receives nothing.
pub const NOTHING: u16 = 0;
/// Protocol of a socket that receives every frame, in both directions.
pub const EVERYTHING: u16 = 3; // ETH_P_ALL of linux/if_ether.h

/// Opens a packet socket on the interface for frames of a protocol: an Ethernet type, [`NOTHING`] or [`EVERYTHING`].
/// `prepare` sets its options before it can receive anything.
pub fn open(
    namespace: &Namespace,
    interface: &str,
    protocol: u16,
    prepare: impl FnOnce(&OwnedFd) -> Result<()> + Send,
) -> Result<OwnedFd> {
    let opened = namespace.run(|| -> Result<OwnedFd> {
        // No protocol yet: bind(2) sets it.
        // SAFETY: socket(2) takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: the descriptor was just opened and has no other owner.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        prepare(&socket)?;
        bind(&socket, interface, protocol)?;
        Ok(socket)
    });
    opened?.with_context(|| format!("cannot open a packet socket on {interface}"))
}

fn bind(socket: &OwnedFd, interface: &str, protocol: u16) -> Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET)?,
        sll_protocol: protocol.to_be(),
        sll_ifindex: i32::try_from(nix::net::if_::if_nametoindex(interface)?)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&address))?;
    // SAFETY: the pointer and length describe `address`, which outlives the call.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 { Err(io::Error::last_os_error().into()) } else { Ok(()) }
}

/// Sets an option of `SOL_SOCKET` or `SOL_PACKET` (setsockopt(2), packet(7)).
pub fn set<T>(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &T) -> Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>())?;
    // SAFETY: the pointer and length describe `value`, which outlives the call, as does what it points to.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const *value).cast(), length) };
    if set < 0 { Err(io::Error::last_os_error().into()) } else { Ok(()) }
}
