//! Open files that an agent leaves to the one that it becomes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::thread;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::dup;
use serde::{Deserialize, Serialize};

/// The descriptors of [`Files`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    control: Option<RawFd>,
    kept: Vec<RawFd>,
}

/// Open files that the agent leaves to the one that it becomes.
#[derive(Debug, Default)]
pub struct Files {
    /// The control socket, which listens all the time.
    pub control: Option<OwnedFd>,
    /// Sockets that stay open until the successor has its own: closing them takes an RCU grace period, or would have the
    /// interface leave multicast groups for a moment.
    kept: Vec<OwnedFd>,
}

impl Files {
    /// Keeps it open beyond its owner's end.
    pub fn keep(&mut self, file: &impl AsFd) -> io::Result<()> {
        self.kept.push(dup(file)?);
        Ok(())
    }

    /// Closes on a thread of its own what was only kept open, so that nobody waits for it.
    pub fn close_kept(self) {
        let close = move || drop(self.kept);
        if let Err(error) = thread::Builder::new().name("leftovers".to_owned()).spawn(close) {
            tracing::warn!("sockets of the agent before had to be closed at once: {error}");
        }
    }

    /// The numbers under which the program that this process becomes finds them.
    pub(super) fn bequeath(&self) -> io::Result<Numbers> {
        for file in self.control.iter().chain(&self.kept) {
            fcntl(file, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        let number = |file: &OwnedFd| file.as_raw_fd();
        Ok(Numbers { control: self.control.as_ref().map(number), kept: self.kept.iter().map(number).collect() })
    }
}

impl Numbers {
    pub(super) fn open(self) -> Files {
        let open = |number: RawFd| {
            // Not one that is somebody else's, should the numbers be wrong.
            let flags = FdFlag::from_bits_truncate(fcntl(borrow(number)?, FcntlArg::F_GETFD).ok()?);
            if number <= 2 || flags.contains(FdFlag::FD_CLOEXEC) {
                return None;
            }
            // SAFETY: it is open over execve(2), as nothing is that this process has opened itself: it was left to us.
            let file = unsafe { OwnedFd::from_raw_fd(number) };
            fcntl(&file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
            Some(file)
        };
        Files { control: self.control.and_then(open), kept: self.kept.into_iter().filter_map(open).collect() }
    }
}

fn borrow(number: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: only for a look at its flags, which fails if it is not open.
    (number >= 0).then(|| unsafe { BorrowedFd::borrow_raw(number) })
}
