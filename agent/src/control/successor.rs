//! Messages that two agents exchange over the control socket when one takes over from the other.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, getsockopt, recv, recvmsg, sendmsg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt};
use tokio::net::UnixStream;

use super::client::{accepted, exchange};
use super::{ControlError, ENDING, MAX_REQUEST, POLL, Request, Singleton};

/// Data that is sent together with the singleton's descriptor.
const PASSED: &[u8] = b"\n";
/// Line with which a successor reports that it advertises in its predecessor's place.
const RUNNING: &str = "running";

/// The successor does not run.
#[derive(Debug, thiserror::Error)]
pub enum SuccessorError {
    /// The successor has hung up, or has sent something else.
    #[error("the successor ended before it advertised")]
    Ended,
    /// The successor is silent.
    #[error("the successor did not report within {:?} that it advertises", Successor::PATIENCE)]
    Late,
}

/// The agent that takes over from this one.
#[derive(Debug)]
pub struct Successor(UnixStream);

impl Successor {
    /// How long the successor may take until it runs. The leases have expired by then.
    const PATIENCE: Duration = Duration::from_secs(3);

    pub(super) fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// Passes the singleton to the successor. This process keeps its own copy, so no other process can claim it in
    /// between.
    ///
    /// # Errors
    /// The successor has hung up.
    pub fn pass(&self, singleton: &Singleton) -> io::Result<()> {
        let files = [singleton.0.as_raw_fd()];
        let message = [ControlMessage::ScmRights(&files)];
        let byte = [IoSlice::new(PASSED)];
        sendmsg::<()>(self.0.as_raw_fd(), &byte, &message, MsgFlags::empty(), None)?;
        Ok(())
    }

    /// Waits until the successor reports that it runs.
    ///
    /// # Errors
    /// The successor has ended, or it does not report within 3 s.
    pub async fn comes_up(self) -> Result<(), SuccessorError> {
        let mut line = String::new();
        let mut reader = tokio::io::BufReader::new(self.0.take(MAX_REQUEST));
        match tokio::time::timeout(Self::PATIENCE, reader.read_line(&mut line)).await {
            Ok(Ok(_)) if line.trim_end() == RUNNING => Ok(()),
            Ok(_) => Err(SuccessorError::Ended),
            Err(_) => Err(SuccessorError::Late),
        }
    }
}

/// The agent that this one takes over from. It continues by itself if this is dropped before [`Self::relieve`].
#[derive(Debug)]
pub struct Incumbent {
    stream: StdStream,
    /// True if that agent has passed on the singleton and waits for this agent.
    waits: bool,
}

impl Incumbent {
    /// Asks the agent at `path` to leave its roles to this one. `namespace` is the cookie of this network namespace.
    ///
    /// # Errors
    /// There is no agent, or it refuses or does not answer properly.
    pub fn ask(path: &Path, namespace: Option<u64>) -> Result<Self, ControlError> {
        // Reading is not buffered, because the data after the answer carries a descriptor.
        let (answer, stream) = exchange(path, &Request::Succeed { namespace }, 1)?;
        accepted(path, answer)?;
        Ok(Self { stream: stream.into_inner(), waits: false })
    }

    /// Receives the singleton. Returns `None` if the other agent is of an earlier version, which releases it instead.
    pub fn receive(&mut self) -> Option<Singleton> {
        let mut space = cmsg_space!(RawFd);
        let mut byte = [0; PASSED.len()];
        let mut parts = [IoSliceMut::new(&mut byte)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(self.stream.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
        let files = message.cmsgs().ok()?.filter_map(|message| match message {
            ControlMessageOwned::ScmRights(files) => Some(files),
            _ => None,
        });
        // SAFETY: the kernel has just opened these descriptors for this process, so they have no other owner.
        let mut files = files.flatten().map(|file| unsafe { OwnedFd::from_raw_fd(file) });
        let singleton = Singleton::received(files.next()?)?;
        self.waits = true;
        Some(singleton)
    }

    /// Returns whether the other agent still waits, which means that it has neither continued nor ended. An agent of an
    /// earlier version has ended already; the result is true for it, too.
    pub fn is_waiting(&self) -> bool {
        let peeked = recv(self.stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        !self.waits || peeked == Err(Errno::EAGAIN)
    }

    /// Returns whether the process of the other agent has ended, or ends within [`ENDING`]. An agent that continues
    /// does so in the same process.
    pub fn has_ended(&self) -> bool {
        let Ok(peer) = getsockopt(&self.stream, PeerCredentials) else { return false };
        let deadline = Instant::now() + ENDING;
        while kill(Pid::from_raw(peer.pid()), None) != Err(Errno::ESRCH) {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    }

    /// Reports that this agent runs, so that the other agent ends.
    ///
    /// # Errors
    /// The other agent no longer waits, because it has continued or was stopped.
    pub fn relieve(&mut self) -> io::Result<()> {
        let reported = writeln!(self.stream, "{RUNNING}");
        // An agent of an earlier version has ended already.
        if self.waits { reported } else { Ok(()) }
    }
}
