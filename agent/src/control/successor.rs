//! Messages that two agents exchange over the control socket when one takes over from the other.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recv, recvmsg, sendmsg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt};
use tokio::net::UnixStream;

use super::client::{accepted, exchange};
use super::{ControlError, ENDING, MAX_REQUEST, Request, Singleton};
use crate::process::peer_process::PeerProcess;

/// Data that is sent together with the singleton's descriptor.
const PASSED: &[u8] = b"\n";
/// Line with which a successor reports that it advertises in its predecessor's place.
const RUNNING: &str = "running";
/// Data with which a predecessor reports that it no longer waits, to a successor that it cannot kill.
const REVOKED: &[u8] = b"revoked\n";

/// The successor does not run.
#[derive(Debug, thiserror::Error)]
pub enum SuccessorError {
    /// The successor has hung up, or has sent something else.
    #[error("the successor ended before it advertised")]
    Ended,
    /// The successor was silent. Its process has ended, so it cannot wake up any more.
    #[error(
        "the successor did not report within {:?} that it advertises, and was killed (process {process})",
        Successor::PATIENCE
    )]
    Killed {
        /// The process that was killed.
        process: Pid,
    },
    /// The successor was silent and was killed, but it hangs in the kernel. It runs no more code of its own.
    #[error(
        "the successor did not report within {:?} that it advertises, and was killed, but has not ended yet (process \
         {process}): it ends as soon as its system call returns",
        Successor::PATIENCE
    )]
    Lingers {
        /// The process that was killed.
        process: Pid,
    },
    /// The successor is silent, and its process cannot be killed.
    #[error(
        "the successor did not report within {:?} that it advertises, and cannot be killed ({source}); end it \
         yourself, because it may disturb this host when it wakes up",
        Successor::PATIENCE
    )]
    Late {
        /// Why it could not be killed.
        source: io::Error,
    },
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

    /// Waits until the successor reports that it runs. If it does not do so in time, its process is killed.
    ///
    /// A process that only hangs could wake up at any time, in the middle of what it was doing to the host, and no
    /// check of its own could be certain to come before that. A process that has ended cannot wake up.
    ///
    /// # Errors
    /// The successor has ended, or it does not report within 3 s.
    pub async fn comes_up(mut self) -> Result<(), SuccessorError> {
        let mut line = String::new();
        let mut reader = tokio::io::BufReader::new((&mut self.0).take(MAX_REQUEST));
        match tokio::time::timeout(Self::PATIENCE, reader.read_line(&mut line)).await {
            Ok(Ok(_)) if line.trim_end() == RUNNING => Ok(()),
            Ok(_) => Err(SuccessorError::Ended),
            Err(_) => self.kill(),
        }
    }

    /// Kills the process of the successor and waits for its end. This blocks, but nothing else is left to do for this
    /// agent.
    ///
    /// # Errors
    /// Always, unless the successor cannot be killed and has just reported that it runs.
    fn kill(self) -> Result<(), SuccessorError> {
        let killed = PeerProcess::of(&self.0).and_then(|process| process.kill().map(|()| process));
        Err(match killed {
            Ok(process) if process.ends_within(ENDING) => SuccessorError::Killed { process: process.id() },
            Ok(process) => SuccessorError::Lingers { process: process.id() },
            Err(source) if source.kind() == io::ErrorKind::UnexpectedEof => SuccessorError::Ended,
            // A report that arrives between this look and the next line is lost. Both agents run then.
            Err(_) if self.0.try_read(&mut [0; RUNNING.len()]).is_ok_and(|read| read > 0) => return Ok(()),
            Err(source) => {
                // If this fails, the successor has hung up.
                let _ = self.0.try_write(REVOKED);
                SuccessorError::Late { source }
            }
        })
    }
}

/// What has become of the agent that this one takes over from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits for this agent.
    Waits,
    /// It has ended without a word, because it was killed or has failed. What it has left is in place, and this agent
    /// has the singleton to itself.
    Died,
    /// It no longer waits: it has continued, or it was stopped and has removed what it had left.
    Revoked,
}

/// The agent that this one takes over from. It continues by itself if this is dropped before [`Self::relieve`].
#[derive(Debug)]
pub struct Incumbent {
    stream: StdStream,
    /// Process of that agent, or `None` if the kernel does not name it, as in another PID namespace.
    process: Option<PeerProcess>,
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
        let stream = stream.into_inner();
        let process = PeerProcess::of(&stream).ok();
        Ok(Self { stream, process })
    }

    /// Receives the singleton. The other agent waits from then on. Returns `None` if that agent has hung up instead.
    pub fn receive(&self) -> Option<Singleton> {
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
        Singleton::received(files.next()?)
    }

    /// Returns what has become of the other agent. If it has hung up, waits up to [`ENDING`] for its end.
    pub fn fate(&self) -> Fate {
        match self.peek() {
            Err(Errno::EAGAIN) => Fate::Waits,
            Ok(0) | Err(_) if self.ends_within(ENDING) => Fate::Died,
            _ => Fate::Revoked,
        }
    }

    /// Returns whether the process of the other agent has ended. An agent that continues does so in the same process.
    pub fn has_ended(&self) -> bool {
        self.ends_within(Duration::ZERO)
    }

    fn ends_within(&self, patience: Duration) -> bool {
        self.process.as_ref().is_some_and(|process| process.ends_within(patience))
    }

    fn peek(&self) -> Result<usize, Errno> {
        recv(self.stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT)
    }

    /// Reports that this agent runs, so that the other agent ends. An agent that has died needs no report: this one
    /// advertises in its place.
    ///
    /// # Errors
    /// The other agent no longer waits, because it has continued or was stopped.
    pub fn relieve(&mut self) -> io::Result<()> {
        match writeln!(self.stream, "{RUNNING}") {
            // The report came too late.
            Ok(()) if self.peek().is_ok_and(|read| read > 0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(()) => Ok(()),
            Err(_) if self.fate() == Fate::Died => {
                tracing::warn!("the previous agent was killed, or has failed, while this one took over from it");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
