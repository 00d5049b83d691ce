//! Filters of netlink sockets, in classic BPF: the kernel queues only the messages that a filter accepts.

use std::io;
use std::os::fd::AsRawFd;

/// An instruction.
pub(super) type Step = libc::sock_filter;

/// Accepts the message.
pub(super) const ACCEPT: Step = step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX);
/// Drops the message.
pub(super) const DROP: Step = step(libc::BPF_RET | libc::BPF_K, 0, 0, 0);

/// Loads the byte at this offset.
pub(super) const fn load_byte(at: u32) -> Step {
    step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, at)
}

/// Loads the two bytes at this offset.
pub(super) const fn load_half(at: u32) -> Step {
    step(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, at)
}

/// Loads the four bytes at this offset.
pub(super) const fn load_word(at: u32) -> Step {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at)
}

/// Skips this many instructions if the loaded byte is this one, or else that many.
pub(super) const fn byte_is(value: u8, then: u8, otherwise: u8) -> Step {
    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, then, otherwise, value as u32)
}

/// Skips this many instructions if the two loaded bytes are this number, or else that many.
///
/// A filter reads numbers in network byte order; netlink has them in the host's.
pub(super) const fn half_is(value: u16, then: u8, otherwise: u8) -> Step {
    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, then, otherwise, value.to_be() as u32)
}

/// Skips this many instructions if the four loaded bytes are this number, or else that many.
pub(super) const fn word_is(value: u32, then: u8, otherwise: u8) -> Step {
    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, then, otherwise, value.to_be())
}

/// Skips this many instructions if the two loaded bytes have this bit, or else that many.
pub(super) const fn half_has(bit: u16, then: u8, otherwise: u8) -> Step {
    step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, then, otherwise, bit.to_be() as u32)
}

const fn step(code: u32, jt: u8, jf: u8, k: u32) -> Step {
    #[expect(clippy::cast_possible_truncation, reason = "the codes of classic BPF have 8 bits")]
    let code = code as u16;
    libc::sock_filter { code, jt, jf, k }
}

/// Attaches a filter to a socket.
pub(super) fn attach(socket: &impl AsRawFd, program: &mut [Step]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    let length = libc::socklen_t::try_from(size_of_val(&program)).map_err(io::Error::other)?;
    // SAFETY: pointer and length describe `program`, whose pointer and length describe an array that outlives the call.
    let result = unsafe {
        let option = (&raw const program).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, option, length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
