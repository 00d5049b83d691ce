//! A port of the switch, used from behind the switch's back.

use std::os::fd::OwnedFd;

use anyhow::Result;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use crate::Namespace;
use crate::traffic::packet_socket;

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
    packet_socket::open(switch, port, packet_socket::EVERYTHING, |socket| {
        let mut filter = filter(frames);
        let program = libc::sock_fprog { len: u16::try_from(filter.len())?, filter: filter.as_mut_ptr() };
        packet_socket::set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
        packet_socket::set(socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1_i32)?;
        Ok(setsockopt(socket, sockopt::RcvBufForce, &BUFFER)?)
    })
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
