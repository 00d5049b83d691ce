//! Reads the flags of an interface by its name.

use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

/// Returns whether the interface is up and has a carrier. Looks in the network namespace of the calling thread.
///
/// # Errors
/// There is no such interface.
pub fn interface_is_running(name: &str) -> io::Result<bool> {
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
    let working = libc::IFF_UP | libc::IFF_RUNNING;
    Ok(flags & working == working)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_known_by_its_name() {
        assert!(interface_is_running("lo").is_ok());
        assert_eq!(interface_is_running("there-is-none").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert!(interface_is_running("longer-than-any-can-be").is_err());
    }
}
