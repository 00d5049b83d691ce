//! Sends whole Ethernet frames, by one socket for all interfaces.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::{array, io, mem, ptr};

use nix::sys::socket::{self, sockopt};
use xvrrp_common::units::IfIndex;

/// `TC_PRIO_CONTROL` of linux/pkt_sched.h: the band that a queueing discipline sends first.
pub(super) const PRIORITY_CONTROL: i32 = 7;

#[expect(clippy::cast_possible_truncation, reason = "AF_PACKET is 17")]
const FAMILY: libc::sa_family_t = libc::AF_PACKET as libc::sa_family_t;

#[expect(clippy::cast_possible_truncation, reason = "20 bytes")]
const ADDRESS_LENGTH: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

/// How many frames one system call takes at most: their headers are on the stack.
const AT_ONCE: usize = 64;

/// How many bytes may wait in the queues of all interfaces together. This is a limit, not an allocation. It is so large
/// that each interface's own queue is full before, so an interface that is stuck takes no room from the adverts of
/// another.
const SEND_BUFFER: usize = 256 << 20;

/// An `AF_PACKET` socket that only sends. It is bound to no protocol, so the kernel queues nothing to it.
///
/// The agent has only one, because closing one waits for an RCU grace period, about 12 ms on a quiet machine. With one
/// socket per virtual router, a successor of 30 virtual routers waited for 400 ms. The kernel closes the files of a
/// killed process from the last opened to the first, so this one is opened before anything that a successor waits
/// for.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

/// Sends by one interface.
#[derive(Clone, Debug)]
pub struct InterfaceSender {
    socket: Arc<PacketSocket>,
    address: libc::sockaddr_ll,
}

impl PacketSocket {
    /// Needs `CAP_NET_RAW`.
    ///
    /// # Errors
    /// The process lacks `CAP_NET_RAW` or `CAP_NET_ADMIN`.
    pub fn open() -> io::Result<Self> {
        // SAFETY: socket(2) takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is a descriptor that was just opened and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // Adverts go ahead of the gateway's traffic in the interface's queue.
        socket::setsockopt(&fd, sockopt::Priority, &PRIORITY_CONTROL)?;
        socket::setsockopt(&fd, sockopt::SndBufForce, &SEND_BUFFER)?;
        Ok(Self(fd))
    }

    /// A sender for the interface with this index.
    ///
    /// # Errors
    /// The kernel has no such index.
    pub fn on(self: &Arc<Self>, ifindex: IfIndex) -> io::Result<InterfaceSender> {
        let address = libc::sockaddr_ll {
            sll_family: FAMILY,
            sll_protocol: 0,
            sll_ifindex: i32::try_from(ifindex.get()).map_err(|_| io::ErrorKind::InvalidInput)?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        Ok(InterfaceSender { socket: Arc::clone(self), address })
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl InterfaceSender {
    /// Queues the frame; never waits.
    ///
    /// # Errors
    /// The interface is down, or its queue is full.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        let message = self.message(&raw const part);
        // SAFETY: the message has the sender's address and one part, a frame, that are only read.
        let sent = unsafe { libc::sendmsg(self.socket.0.as_raw_fd(), &raw const message, 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Queues the frames in this order and never waits.
    ///
    /// # Errors
    /// A frame cannot be sent. The frames after it are sent all the same, and the error is the first one.
    pub fn send_all<const LENGTH: usize>(&self, mut frames: &[[u8; LENGTH]]) -> io::Result<()> {
        let mut outcome = Ok(());
        while !frames.is_empty() {
            let done = match self.send_some(frames) {
                Ok(sent) => sent,
                // It is the first of them that cannot be sent.
                Err(error) => {
                    outcome = outcome.and(Err(error));
                    1
                }
            };
            frames = frames.get(done..).unwrap_or_default();
        }
        outcome
    }

    /// How many of the frames were queued; an error is about the first.
    fn send_some<const LENGTH: usize>(&self, frames: &[[u8; LENGTH]]) -> io::Result<usize> {
        let mut parts = [const { libc::iovec { iov_base: ptr::null_mut(), iov_len: LENGTH } }; AT_ONCE];
        for (part, frame) in parts.iter_mut().zip(frames) {
            part.iov_base = frame.as_ptr().cast_mut().cast();
        }
        let mut messages: [libc::mmsghdr; AT_ONCE] =
            array::from_fn(|index| libc::mmsghdr { msg_hdr: self.message(&raw const parts[index]), msg_len: 0 });
        let count = u32::try_from(frames.len().min(AT_ONCE)).map_err(io::Error::other)?;
        // SAFETY: `count` messages, of which each has one part: a frame, that is only read.
        let sent = unsafe { libc::sendmmsg(self.socket.0.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// A message of one part to this interface; it points to `self` and to the part.
    fn message(&self, part: *const libc::iovec) -> libc::msghdr {
        // SAFETY: zeroes are a message without address, parts and control data.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = (&raw const self.address).cast_mut().cast();
        message.msg_namelen = ADDRESS_LENGTH;
        message.msg_iov = part.cast_mut();
        message.msg_iovlen = 1;
        message
    }
}
