//! Sends whole Ethernet frames through one socket for all interfaces.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::{array, io, mem, ptr};

use nix::sys::socket::{self, sockopt};
use xvrrp_common::units::IfIndex;

/// `TC_PRIO_CONTROL` of linux/pkt_sched.h: a queueing discipline sends such frames first.
pub(super) const PRIORITY_CONTROL: i32 = 7;

#[expect(clippy::cast_possible_truncation, reason = "AF_PACKET is 17")]
const FAMILY: libc::sa_family_t = libc::AF_PACKET as libc::sa_family_t;

#[expect(clippy::cast_possible_truncation, reason = "20 bytes")]
const ADDRESS_LENGTH: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

/// Maximum number of frames for one system call. Their headers are on the stack.
const AT_ONCE: usize = 64;

/// Maximum number of bytes that wait in the queues of all interfaces together. This is a limit, not an allocation. It
/// is so large that the queue of one interface is full long before. So an interface that is stuck takes no room from
/// the adverts of another one.
const SEND_BUFFER: usize = 256 << 20;

/// An `AF_PACKET` socket that only sends. It is bound to no protocol, so it receives nothing.
///
/// The agent has only one, because closing one waits for an RCU grace period, about 12 ms on a quiet machine. With one
/// socket per virtual router, a successor of 30 virtual routers waited for 400 ms. The kernel closes the files of a
/// killed process from the last opened to the first, so this one is opened before anything that a successor waits
/// for.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

/// Sends frames through one interface.
#[derive(Clone, Debug)]
pub struct InterfaceSender {
    socket: Arc<PacketSocket>,
    address: libc::sockaddr_ll,
}

impl PacketSocket {
    /// Opens the socket. Needs `CAP_NET_RAW` and `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// The process lacks `CAP_NET_RAW` or `CAP_NET_ADMIN`.
    pub fn open() -> io::Result<Self> {
        // SAFETY: socket(2) takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened and has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // Adverts overtake the gateway's traffic in the interface's queue.
        socket::setsockopt(&fd, sockopt::Priority, &PRIORITY_CONTROL)?;
        socket::setsockopt(&fd, sockopt::SndBufForce, &SEND_BUFFER)?;
        Ok(Self(fd))
    }

    /// Returns a sender for the interface with this index.
    ///
    /// # Errors
    /// The index is out of range.
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
    /// Queues a frame. Never waits.
    ///
    /// # Errors
    /// The interface is down, or its queue is full.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        let message = self.message(&raw const part);
        // SAFETY: the kernel only reads the message, which points to the sender's address and to one part, the frame.
        let sent = unsafe { libc::sendmsg(self.socket.0.as_raw_fd(), &raw const message, 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Queues frames in this order. Never waits.
    ///
    /// # Errors
    /// A frame cannot be queued. The frames after it are queued all the same. Returns the first error.
    pub fn send_all<const LENGTH: usize>(&self, mut frames: &[[u8; LENGTH]]) -> io::Result<()> {
        let mut outcome = Ok(());
        while !frames.is_empty() {
            let done = match self.send_some(frames) {
                Ok(sent) => sent,
                // The kernel stopped at the first of them.
                Err(error) => {
                    outcome = outcome.and(Err(error));
                    1
                }
            };
            frames = frames.get(done..).unwrap_or_default();
        }
        outcome
    }

    /// Queues frames until one cannot be queued, and returns their number. Returns an error if that was the first one.
    fn send_some<const LENGTH: usize>(&self, frames: &[[u8; LENGTH]]) -> io::Result<usize> {
        let mut parts = [const { libc::iovec { iov_base: ptr::null_mut(), iov_len: LENGTH } }; AT_ONCE];
        for (part, frame) in parts.iter_mut().zip(frames) {
            part.iov_base = frame.as_ptr().cast_mut().cast();
        }
        let mut messages: [libc::mmsghdr; AT_ONCE] =
            array::from_fn(|index| libc::mmsghdr { msg_hdr: self.message(&raw const parts[index]), msg_len: 0 });
        let count = u32::try_from(frames.len().min(AT_ONCE)).map_err(io::Error::other)?;
        // SAFETY: there are `count` messages. Each points to one part, a frame, which the kernel only reads.
        let sent = unsafe { libc::sendmmsg(self.socket.0.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Returns a message with one part for this interface. It points to `self` and to the part.
    fn message(&self, part: *const libc::iovec) -> libc::msghdr {
        // SAFETY: a message of zeros is valid. It has no address, no parts and no control data.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = (&raw const self.address).cast_mut().cast();
        message.msg_namelen = ADDRESS_LENGTH;
        message.msg_iov = part.cast_mut();
        message.msg_iovlen = 1;
        message
    }
}
