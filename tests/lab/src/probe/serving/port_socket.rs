//! The socket of the sampler on a router's switch port.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, send, setsockopt, sockopt};

use crate::Namespace;
use crate::probe::port::{self, Frames};

/// Sends frames to the router, and receives what it sends to the sampler's client.
#[derive(Debug)]
pub struct PortSocket {
    socket: OwnedFd,
    control: Vec<u8>,
}

impl PortSocket {
    pub fn open(switch: &Namespace, port: &str) -> Result<Self> {
        let socket = port::open(switch, port, Frames::ToNobody)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        Ok(Self { socket, control: nix::cmsg_space!(libc::timespec) })
    }

    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT;
        // If the port was down in the meantime, the first call returns that error and the second one succeeds.
        let sent = send(self.socket.as_raw_fd(), frame, flags).or_else(|_| send(self.socket.as_raw_fd(), frame, flags));
        Ok(sent.map(drop)?)
    }

    /// Returns the time of arrival of the next frame that `understand` accepts, and what `understand` made of it.
    /// Returns `None` once no frame is left.
    pub fn receive<A, B>(&mut self, understand: impl Fn(&[u8]) -> Option<(A, B)>) -> Option<(Instant, A, B)> {
        loop {
            let mut buffer = [0; 128];
            let (length, stamp) = match self.receive_frame(&mut buffer) {
                Ok(received) => received,
                Err(nix::Error::EAGAIN) => return None,
                // The port was down.
                Err(_) => continue,
            };
            if let Some((a, b)) = understand(&buffer[..length]) {
                return Some((moment(stamp), a, b));
            }
        }
    }

    fn receive_frame(&mut self, buffer: &mut [u8]) -> nix::Result<(usize, Option<Duration>)> {
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut self.control), flags)?;
        let stamp = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
            _ => None,
        });
        Ok((message.bytes, stamp))
    }
}

/// Converts the kernel's time stamp of a frame, which is earlier than the moment at which the frame is fetched.
fn moment(stamp: Option<Duration>) -> Instant {
    let now = Instant::now();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // If the wall clock was set back, the age is unknown and counts as 0.
    let age = stamp.map_or(Duration::ZERO, |stamp| wall.saturating_sub(stamp));
    now.checked_sub(age).unwrap_or(now)
}
