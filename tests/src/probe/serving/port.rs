//! A port of the switch, used from behind the switch's back.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, send, setsockopt, sockopt};

use super::ASKER_PREFIX;
use crate::lab::Namespace;

/// Enough for more than a second of answers, should nobody come to fetch them.
const BUFFER: usize = 4 << 20;
/// `linux/if_packet.h`
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

/// A packet socket that sends frames out of the port, and receives those to the sampler's client that come in.
#[derive(Debug)]
pub struct Port {
    socket: OwnedFd,
    control: Vec<u8>,
}

impl Port {
    pub fn open(switch: &Namespace, port: &str) -> Result<Self> {
        let socket = switch.run(|| open(port))?.with_context(|| format!("cannot open {port}"))?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
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

/// To be called inside the switch.
fn open(port: &str) -> Result<OwnedFd> {
    // It hears nothing before it is bound.
    // SAFETY: socket(2) takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: just opened, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut filter = to_the_asker();
    let program = libc::sock_fprog { len: u16::try_from(filter.len())?, filter: filter.as_mut_ptr() };
    set(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
    set(&socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1_i32)?;
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET)?,
        // Those who ask for less hear nothing of a port that belongs to a bridge.
        sll_protocol: u16::try_from(libc::ETH_P_ALL)?.to_be(),
        sll_ifindex: i32::try_from(nix::net::if_::if_nametoindex(port)?)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&address))?;
    // SAFETY: the pointer and length describe `address`, which outlives the call.
    if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(socket)
}

/// Frames whose destination starts as the MAC addresses of the sampler's client do (classic BPF).
fn to_the_asker() -> [libc::sock_filter; 4] {
    const LOAD_HALF: u16 = 0x28;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    [
        step(LOAD_HALF, 0, 0, 0),
        step(JUMP_IF_EQUAL, 0, 1, u32::from(u16::from_be_bytes(ASKER_PREFIX))),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ]
}

fn set<T>(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &T) -> Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>())?;
    // SAFETY: the pointer and length describe `value`, which outlives the call, as does what it points to.
    if unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const *value).cast(), length) } < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}
