//! Reads the flags of an interface by its name.

use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

use super::interface::LinkState;

/// Returns whether an interface can carry frames. Looks in the network namespace of the calling thread.
///
/// # Errors
/// There is no such interface.
pub fn interface_link(name: &str) -> io::Result<LinkState> {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM.cloexec(), None)?;
    // SAFETY: an `ifreq` of zeros is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero, as the end of the name.
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the kernel reads and writes an `ifreq`, which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has filled in the flags.
    let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    Ok(match (flags & libc::IFF_UP != 0, flags & libc::IFF_RUNNING != 0) {
        (false, _) => LinkState::Down,
        (true, false) => LinkState::NoCarrier,
        (true, true) => LinkState::Running,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_known_by_its_name() {
        assert!(interface_link("lo").is_ok());
        assert_eq!(interface_link("there-is-none").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert!(interface_link("longer-than-any-can-be").is_err());
    }
}
