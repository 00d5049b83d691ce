//! Ensures that only one agent runs in a network namespace.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{io, thread};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{UnixAddr, getsockname};

use super::{ControlError, POLL};

/// Abstract socket that the only agent of a network namespace holds. The kernel closes it when the process ends,
/// however it ends.
#[derive(Debug)]
pub struct Singleton(pub(super) UnixListener);

impl Singleton {
    const NAME: &str = "xvrrp-agent";
    /// Environment variable that holds the descriptor number, for the program that this process becomes.
    const INHERITED: &str = "XVRRP_SINGLETON";

    /// Claims the singleton. Waits up to `patience` for an agent that is ending: the kernel closes the files of a
    /// killed process one by one, from the last opened to the first, and closing some of them is slow.
    ///
    /// # Errors
    /// Another agent runs, or the socket cannot be created.
    pub fn claim(patience: Duration) -> Result<Self, ControlError> {
        if let Some(inherited) = Self::inherited() {
            return Ok(inherited);
        }
        let deadline = Instant::now() + patience;
        loop {
            match Self::bind() {
                Err(ControlError::AgentRuns) if Instant::now() < deadline => thread::sleep(POLL),
                claimed => return claimed,
            }
        }
    }

    fn bind() -> Result<Self, ControlError> {
        let name = SocketAddr::from_abstract_name(Self::NAME).and_then(|name| UnixListener::bind_addr(&name));
        name.map(Self).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ControlError::AgentRuns,
            _ => ControlError::Open { path: PathBuf::from(format!("@{}", Self::NAME)), source },
        })
    }

    /// Makes the singleton stay open over execve(2), so that no other process can claim it in between. Returns the name
    /// and value of the variable that belongs in the environment of the next program.
    ///
    /// # Errors
    /// The flags of the descriptor cannot be changed.
    pub fn keep_over_exec(&self) -> io::Result<(&'static str, String)> {
        fcntl(&self.0, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok((Self::INHERITED, self.0.as_raw_fd().to_string()))
    }

    /// Returns the singleton that another process has sent, or `None` if the file is not the singleton.
    pub(super) fn received(file: OwnedFd) -> Option<Self> {
        let address: UnixAddr = getsockname(file.as_raw_fd()).ok()?;
        (address.as_abstract() == Some(Self::NAME.as_bytes())).then(|| Self(UnixListener::from(file)))
    }

    fn inherited() -> Option<Self> {
        let number = std::env::var(Self::INHERITED).ok()?.parse().ok().filter(|number| *number > 2)?;
        // In a child of this process the number is unused or belongs to another file.
        let address: UnixAddr = getsockname(number).ok()?;
        if address.as_abstract() != Some(Self::NAME.as_bytes()) {
            return None;
        }
        // SAFETY: the descriptor is the singleton's socket. Nothing in this process has opened it, so it was inherited
        // over execve(2) and has no other owner.
        let listener = unsafe { UnixListener::from_raw_fd(number) };
        fcntl(&listener, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
        Some(Self(listener))
    }
}
