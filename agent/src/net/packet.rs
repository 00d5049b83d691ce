//! Sends whole Ethernet frames on one interface.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::{array, io, mem, ptr};

use nix::sys::socket::{self, sockopt};

/// `TC_PRIO_CONTROL` of linux/pkt_sched.h: the band that a queueing discipline sends first.
pub(super) const PRIORITY_CONTROL: i32 = 7;

#[expect(clippy::cast_possible_truncation, reason = "AF_PACKET is 17")]
const FAMILY: libc::sa_family_t = libc::AF_PACKET as libc::sa_family_t;

/// How many frames one system call takes at most: their headers are on the stack.
const AT_ONCE: usize = 64;

/// An `AF_PACKET` socket that only sends: nothing is ever queued to it, since it is bound to no protocol.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Needs `CAP_NET_RAW`.
    pub fn open(ifindex: u32) -> io::Result<Self> {
        // SAFETY: socket(2) takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is a descriptor that was just opened and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // Adverts go ahead of the gateway's traffic in the interface's queue.
        socket::setsockopt(&fd, sockopt::Priority, &PRIORITY_CONTROL)?;
        bind(&fd, ifindex)?;
        Ok(Self(fd))
    }

    /// Queues the frame; never waits.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        socket::send(self.0.as_raw_fd(), frame, socket::MsgFlags::empty())?;
        Ok(())
    }

    /// Queues the frames, in this order; never waits. Goes on after a failure, and returns the first.
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
        let mut messages: [libc::mmsghdr; AT_ONCE] = array::from_fn(|index| {
            // SAFETY: zeroes are a message without address, parts and control data.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_iov = &raw mut parts[index];
            message.msg_hdr.msg_iovlen = 1;
            message
        });
        let count = u32::try_from(frames.len().min(AT_ONCE)).map_err(io::Error::other)?;
        // SAFETY: `count` messages, of which each has one part: a frame, that is only read.
        let sent = unsafe { libc::sendmmsg(self.0.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

fn bind(fd: &OwnedFd, ifindex: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: FAMILY,
        sll_protocol: 0,
        sll_ifindex: i32::try_from(ifindex).map_err(|_| io::ErrorKind::InvalidInput)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the pointer and length describe `address`, which outlives the call.
    let bound = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            libc::socklen_t::try_from(size_of_val(&address)).map_err(|_| io::ErrorKind::InvalidInput)?,
        )
    };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
