//! Open files that an agent keeps over a reload.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::thread;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::dup;
use serde::{Deserialize, Serialize};

/// Descriptor numbers of [`Files`].
#[allow(clippy::unsafe_derive_deserialize, reason = "the numbers come from this process itself, before its exec")]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    control: Option<RawFd>,
    kept: Vec<RawFd>,
    #[serde(default)]
    fifos: Vec<RawFd>,
}

/// Open files that the agent leaves to the agent that this process becomes.
#[derive(Debug, Default)]
pub struct Files {
    /// Control socket, which listens without interruption.
    pub control: Option<OwnedFd>,
    /// Sockets that stay open until the successor has opened its own. Closing them earlier would take an RCU grace
    /// period, or would make the interface leave multicast groups for a moment.
    kept: Vec<OwnedFd>,
    /// FIFOs of notifications, whose readers would otherwise find them closed for a moment.
    pub fifos: Vec<OwnedFd>,
}

impl Files {
    /// Leaves a FIFO open.
    ///
    /// # Errors
    /// The descriptor cannot be duplicated.
    pub fn keep_fifo(&mut self, fifo: &impl AsFd) -> io::Result<()> {
        self.fifos.push(dup(fifo)?);
        Ok(())
    }

    /// Keeps a file open after its owner has closed it.
    ///
    /// # Errors
    /// The descriptor cannot be duplicated.
    pub fn keep(&mut self, file: &impl AsFd) -> io::Result<()> {
        self.kept.push(dup(file)?);
        Ok(())
    }

    /// Closes the files that were only kept open. A separate thread closes them, so that nothing waits for it.
    pub fn close_kept(self) {
        let close = move || drop(self.kept);
        if let Err(error) = thread::Builder::new().name("leftovers".to_owned()).spawn(close) {
            tracing::warn!(
                "cannot start the thread that closes the previous agent's sockets, closed them at once: {error}"
            );
        }
    }

    /// Makes the files stay open over execve(2). Returns the numbers by which the next program finds them.
    pub(super) fn keep_over_exec(&self) -> io::Result<Numbers> {
        for file in self.control.iter().chain(&self.kept).chain(&self.fifos) {
            fcntl(file, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        let number = |file: &OwnedFd| file.as_raw_fd();
        let numbers = |files: &[OwnedFd]| files.iter().map(number).collect();
        Ok(Numbers {
            control: self.control.as_ref().map(number),
            kept: numbers(&self.kept),
            fifos: numbers(&self.fifos),
        })
    }
}

impl Numbers {
    /// Takes possession of the files with these numbers. Leaves out those that were not inherited.
    pub(super) fn open(self) -> Files {
        let open = |number: RawFd| {
            // If the numbers are wrong, this must not take a file that belongs to another part of the process.
            let flags = FdFlag::from_bits_truncate(fcntl(borrow(number)?, FcntlArg::F_GETFD).ok()?);
            if number <= 2 || flags.contains(FdFlag::FD_CLOEXEC) {
                return None;
            }
            // SAFETY: the descriptor is open and lacks FD_CLOEXEC. This process opens all its own files with that flag,
            // so the file was inherited over execve(2) and has no other owner.
            let file = unsafe { OwnedFd::from_raw_fd(number) };
            fcntl(&file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
            Some(file)
        };
        let open_all = |numbers: Vec<RawFd>| numbers.into_iter().filter_map(open).collect();
        Files { control: self.control.and_then(open), kept: open_all(self.kept), fifos: open_all(self.fifos) }
    }
}

fn borrow(number: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: the descriptor is used only to read its flags, which fails if it is not open.
    (number >= 0).then(|| unsafe { BorrowedFd::borrow_raw(number) })
}
