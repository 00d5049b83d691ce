//! The process at the other end of a Unix socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::Pid;

/// The process at the other end of a Unix socket. A file descriptor identifies it, so a reused id is never mistaken for
/// it. It remains the same process over execve(2).
#[derive(Debug)]
pub struct PeerProcess {
    pid: Pid,
    pidfd: OwnedFd,
}

impl PeerProcess {
    /// Opens the process at the other end of the connected `stream`.
    ///
    /// # Errors
    /// The process has hung up, or it has no id in the PID namespace of this process.
    pub fn of(stream: &impl AsFd) -> io::Result<Self> {
        let pid = Pid::from_raw(getsockopt(&stream.as_fd(), PeerCredentials)?.pid());
        if pid.as_raw() <= 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it is in another PID namespace"));
        }
        // SAFETY: pidfd_open(2) takes no pointers.
        let opened = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
        let number = i32::try_from(opened).map_err(io::Error::other)?;
        // SAFETY: the kernel has just opened this descriptor for this process, so it has no other owner.
        let pidfd = unsafe { OwnedFd::from_raw_fd(number) };
        // As long as the process has the connection, its id belongs to it alone.
        if poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLHUP)], PollTimeout::ZERO)? > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Self { pid, pidfd })
    }

    /// Returns the id of the process.
    pub fn id(&self) -> Pid {
        self.pid
    }

    /// Kills the process. It runs no more code once [`Self::ends_within`] has returned true.
    ///
    /// # Errors
    /// This process may not send signals to that one.
    pub fn kill(&self) -> io::Result<()> {
        let (pidfd, info) = (self.pidfd.as_raw_fd(), ptr::null::<libc::siginfo_t>());
        // SAFETY: the descriptor is open, and the kernel fills in the information about the sender if there is none.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, libc::SIGKILL, info, 0) };
        match Errno::result(sent) {
            Ok(_) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns whether the process has ended, or ends within this time. Its files are closed by then, whether its
    /// parent has waited for it or not.
    pub fn ends_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
                Err(Errno::EINTR) => {}
                ready => return ready.is_ok_and(|ready| ready > 0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_process_is_identified_until_it_hangs_up() {
        // Both ends of a pair belong to this process.
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = PeerProcess::of(&ours).unwrap();
        assert_eq!(peer.id(), Pid::this());
        assert!(!peer.ends_within(Duration::from_millis(20)));
        drop(theirs);
        assert_eq!(PeerProcess::of(&ours).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
