//! Sockets that send and receive on a port of the switch, past the bridge.

use std::os::fd::OwnedFd;

use anyhow::Result;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use crate::Namespace;
use crate::traffic::packet_socket;

/// First bytes of the MAC addresses of the simulated client. They are locally administered, and no host has them.
pub const NOBODY: [u8; 2] = [0x02, 0xf0];
/// Receive buffer, enough for more than a second of answers that are not fetched.
const BUFFER: usize = 4 << 20;
/// Defined in `linux/if_packet.h`.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

/// The frames that a socket receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// Frames to the simulated client.
    ToNobody,
    /// All other frames.
    ToAnybodyElse,
}

/// Opens a packet socket that sends frames out of a port, and receives those that come in.
pub fn open(switch: &Namespace, port: &str, frames: Frames) -> Result<OwnedFd> {
    packet_socket::open(switch, port, packet_socket::EVERYTHING, |socket| {
        let mut filter = filter(frames);
        let program = libc::sock_fprog { len: u16::try_from(filter.len())?, filter: filter.as_mut_ptr() };
        packet_socket::set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
        packet_socket::set(socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1_i32)?;
        Ok(setsockopt(socket, sockopt::RcvBufForce, &BUFFER)?)
    })
}

/// Returns the classic BPF program that selects frames by the first bytes of their destination.
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
