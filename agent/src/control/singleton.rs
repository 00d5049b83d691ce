//! That one agent runs in a network namespace, and no more.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{io, thread};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{UnixAddr, getsockname};

use super::{ControlError, LOOK};

/// Held by the one agent of a network namespace; the kernel takes it back when the process ends, however it ends.
#[derive(Debug)]
pub struct Singleton(pub(super) UnixListener);

impl Singleton {
    const NAME: &str = "xvrrp-agent";
    /// Where a program finds its number that this process becomes.
    const INHERITED: &str = "XVRRP_SINGLETON";

    /// Claims it, and waits for as long as `patience` for an agent that is ending. The kernel closes the files of a killed
    /// process one by one, from the last opened to the first, and some of that takes its time.
    pub fn claim(patience: Duration) -> Result<Self, ControlError> {
        if let Some(inherited) = Self::inherited() {
            return Ok(inherited);
        }
        let deadline = Instant::now() + patience;
        loop {
            match Self::bind() {
                Err(ControlError::AgentRuns) if Instant::now() < deadline => thread::sleep(LOOK),
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

    /// Has the program that this process becomes hold it, without a moment in which anybody could have it: what belongs in
    /// that program's environment.
    pub fn bequeath(&self) -> io::Result<(&'static str, String)> {
        fcntl(&self.0, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok((Self::INHERITED, self.0.as_raw_fd().to_string()))
    }

    /// One that another process has sent.
    pub(super) fn received(file: OwnedFd) -> Option<Self> {
        let address: UnixAddr = getsockname(file.as_raw_fd()).ok()?;
        (address.as_abstract() == Some(Self::NAME.as_bytes())).then(|| Self(UnixListener::from(file)))
    }

    fn inherited() -> Option<Self> {
        let number = std::env::var(Self::INHERITED).ok()?.parse().ok().filter(|number| *number > 2)?;
        // In a child of ours the number is nobody's, or another's.
        let address: UnixAddr = getsockname(number).ok()?;
        if address.as_abstract() != Some(Self::NAME.as_bytes()) {
            return None;
        }
        // SAFETY: the descriptor is that socket, which nobody in this process has opened: it was left to us.
        let listener = unsafe { UnixListener::from_raw_fd(number) };
        fcntl(&listener, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
        Some(Self(listener))
    }
}
