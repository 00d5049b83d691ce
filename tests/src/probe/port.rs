//! A port of the switch, used from behind the switch's back.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use crate::lab::Namespace;

/// How the MAC addresses of the client start that is not there: locally administered, and nobody else's.
pub const NOBODY: [u8; 2] = [0x02, 0xf0];
/// Enough for more than a second of answers, should nobody come to fetch them.
const BUFFER: usize = 4 << 20;
/// `linux/if_packet.h`
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

/// Which frames a port is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// Those to the client that is not there.
    ToNobody,
    /// All others.
    ToAnybodyElse,
}

/// A packet socket that sends frames out of a port, and receives those that come in.
pub fn open(switch: &Namespace, port: &str, frames: Frames) -> Result<OwnedFd> {
    let socket = switch.run(|| open_inside(port, frames))?.with_context(|| format!("cannot open {port}"))?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    Ok(socket)
}

fn open_inside(port: &str, frames: Frames) -> Result<OwnedFd> {
    // It hears nothing before it is bound.
    // SAFETY: socket(2) takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: just opened, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut filter = filter(frames);
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

/// By the start of the destination (classic BPF).
fn filter(frames: Frames) -> [libc::sock_filter; 4] {
    const LOAD_HALF: u16 = 0x28;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let (to_nobody, to_others) = match frames {
        Frames::ToNobody => (u32::MAX, 0),
        Frames::ToAnybodyElse => (0, u32::MAX),
    };
    [
        step(LOAD_HALF, 0, 0, 0),
        step(JUMP_IF_EQUAL, 0, 1, u32::from(u16::from_be_bytes(NOBODY))),
        step(RETURN, 0, 0, to_nobody),
        step(RETURN, 0, 0, to_others),
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
