//! The sampler's end of a router's cable.

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
pub struct Seat {
    socket: OwnedFd,
    control: Vec<u8>,
}

impl Seat {
    pub fn at(switch: &Namespace, port: &str) -> Result<Self> {
        let socket = port::open(switch, port, Frames::ToNobody)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        Ok(Self { socket, control: nix::cmsg_space!(libc::timespec) })
    }

    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT;
        // The error of a port that was down meanwhile is told once, by the first call after it.
        let sent = send(self.socket.as_raw_fd(), frame, flags).or_else(|_| send(self.socket.as_raw_fd(), frame, flags));
        Ok(sent.map(drop)?)
    }

    /// The next frame that has come in and that `understand` makes something of, and when it came in; `None` once
    /// there is no other.
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

/// The kernel's note of a frame's arrival, which is earlier than when somebody came to fetch it.
fn moment(stamp: Option<Duration>) -> Instant {
    let now = Instant::now();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Nothing to subtract if the wall clock was set back.
    let age = stamp.map_or(Duration::ZERO, |stamp| wall.saturating_sub(stamp));
    now.checked_sub(age).unwrap_or(now)
}
