//! One agent takes over from another: what the two tell each other by the control socket.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recv, recvmsg, sendmsg};
use tokio::io::{AsyncBufReadExt, AsyncReadExt};
use tokio::net::UnixStream;

use super::client::{accepted, exchange};
use super::{ControlError, MAX_REQUEST, Request, Singleton};

/// What comes with the singleton.
const PASSED: &[u8] = b"\n";
/// The line with which a successor says that it advertises in its predecessor's place.
const RUNNING: &str = "running";

/// The agent that takes over from this one.
#[derive(Debug)]
pub struct Successor(UnixStream);

impl Successor {
    /// How long it may take until it runs. By then the leases are over.
    const PATIENCE: Duration = Duration::from_secs(3);

    pub(super) fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// Gives it the singleton, which nobody else can have in between: we keep it, too.
    pub fn pass(&self, singleton: &Singleton) -> io::Result<()> {
        let files = [singleton.0.as_raw_fd()];
        let message = [ControlMessage::ScmRights(&files)];
        let byte = [IoSlice::new(PASSED)];
        sendmsg::<()>(self.0.as_raw_fd(), &byte, &message, MsgFlags::empty(), None)?;
        Ok(())
    }

    /// Waits until it says that it runs. Fails, with the reason, if it has ended, or does not say so in time.
    pub async fn comes_up(self) -> Result<(), String> {
        let mut line = String::new();
        let mut reader = tokio::io::BufReader::new(self.0.take(MAX_REQUEST));
        match tokio::time::timeout(Self::PATIENCE, reader.read_line(&mut line)).await {
            Ok(Ok(_)) if line.trim_end() == RUNNING => Ok(()),
            Ok(_) => Err("the successor has ended before it advertised".to_owned()),
            Err(_) => Err(format!("the successor has not reported within {:?} that it advertises", Self::PATIENCE)),
        }
    }
}

/// The agent that this one takes over from. It goes on by itself if this is dropped before [`Self::relieve`].
#[derive(Debug)]
pub struct Incumbent {
    stream: StdStream,
    /// It has given us the singleton, and waits for us.
    waits: bool,
}

impl Incumbent {
    /// Asks the agent at `path`, of this network namespace, to hand over.
    pub fn ask(path: &Path, namespace: Option<u64>) -> Result<Self, ControlError> {
        // Unbuffered: what comes behind the answer carries a descriptor.
        let (answer, stream) = exchange(path, &Request::HandOver { namespace }, 1)?;
        accepted(path, answer)?;
        Ok(Self { stream: stream.into_inner(), waits: false })
    }

    /// The singleton that it passes on; `None` if it is of an earlier version, which lets go of it instead.
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
        // SAFETY: the kernel has just opened them for us.
        let mut files = files.flatten().map(|file| unsafe { OwnedFd::from_raw_fd(file) });
        let singleton = Singleton::received(files.next()?)?;
        self.waits = true;
        Some(singleton)
    }

    /// Whether it has neither gone on nor ended. One of an earlier version has ended already, and waits for nothing.
    pub fn is_waiting(&self) -> bool {
        let peeked = recv(self.stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        !self.waits || peeked == Err(Errno::EAGAIN)
    }

    /// Lets it end. Fails if it has not waited for that: then it has gone on.
    pub fn relieve(&mut self) -> io::Result<()> {
        let told = writeln!(self.stream, "{RUNNING}");
        // One of an earlier version has ended already.
        if self.waits { told } else { Ok(()) }
    }
}
