//! The agent's end of the control socket.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io};

use nix::sys::socket::{UnixAddr, getsockname};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::{ControlError, ENDING, LOOK, MAX_REQUEST, PATIENCE, Request, Successor};

/// How long to wait before a control socket that cannot be made is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The agent's end. The socket's file goes with it, unless the socket is left to a successor.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    /// Empty as long as it cannot be made.
    listener: OnceLock<UnixListener>,
    left: AtomicBool,
}

impl Server {
    /// Makes the socket, and the directory too. A file that a dead agent left is replaced; an agent that is ending has a
    /// moment to do so.
    pub async fn open(path: &Path) -> Result<Self, ControlError> {
        let deadline = Instant::now() + ENDING;
        loop {
            match listen(path) {
                Err(ControlError::SocketTaken(_)) if Instant::now() < deadline => tokio::time::sleep(LOOK).await,
                Ok(listener) => return Ok(Self::new(path, Some(listener))),
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes it now if that is possible, and otherwise as soon as it is: for an agent that has roles to go on with, which
    /// are worth more than its control socket.
    pub fn open_or_retry(path: &Path) -> Self {
        match listen(path) {
            Ok(listener) => Self::new(path, Some(listener)),
            Err(error) => {
                tracing::error!("{error}; the agent runs without it, and tries again every {RETRY:?}");
                Self::new(path, None)
            }
        }
    }

    /// Goes on with the socket that the agent before has left, if it is of this path and the path still leads to it.
    pub fn inherit(listener: OwnedFd, path: &Path) -> Option<Self> {
        let address: UnixAddr = getsockname(listener.as_raw_fd()).ok()?;
        if address.path() != Some(path) || !path.exists() {
            return None;
        }
        let listener = StdListener::from(listener);
        listener.set_nonblocking(true).ok()?;
        Some(Self::new(path, Some(UnixListener::from_std(listener).ok()?)))
    }

    fn new(path: &Path, listener: Option<UnixListener>) -> Self {
        let listener = listener.map_or_else(OnceLock::new, OnceLock::from);
        Self { path: path.to_owned(), listener, left: AtomicBool::new(false) }
    }

    /// Leaves the socket to the program that this process becomes. Clients that come meanwhile wait for that one.
    pub fn leave(&self) -> Option<OwnedFd> {
        let left = self.listener.get()?.as_fd().try_clone_to_owned().ok()?;
        self.left.store(true, Ordering::Relaxed);
        Some(left)
    }

    /// The next client.
    pub async fn accept(&self) -> io::Result<Client> {
        loop {
            match self.listener.get() {
                Some(listener) => return listener.accept().await.map(|(stream, _)| Client(stream)),
                None => {
                    tokio::time::sleep(RETRY).await;
                    if let Ok(listener) = listen(&self.path) {
                        tracing::info!("the control socket {} is there now", self.path.display());
                        // Nobody else sets it.
                        let _ = self.listener.set(listener);
                    }
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.listener.get().is_some() && !self.left.load(Ordering::Relaxed) {
            // A file that cannot be removed is replaced by the next agent.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn listen(path: &Path) -> Result<UnixListener, ControlError> {
    let open = |source| ControlError::Open { path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(open)?;
    }
    if StdStream::connect(path).is_ok() {
        return Err(ControlError::SocketTaken(path.to_owned()));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(open(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(open)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(open)?;
    Ok(listener)
}

/// Somebody who asks.
#[derive(Debug)]
pub struct Client(pub(super) UnixStream);

impl Client {
    /// Reads the request, has it answered and sends the answer; the client is returned if that went well. One that is slow or
    /// silent is left.
    pub async fn serve<A: Serialize>(mut self, answer: impl AsyncFnOnce(Request) -> A) -> Option<Self> {
        // Whoever hangs up early does not want the answer.
        let answered = matches!(tokio::time::timeout(PATIENCE, self.serve_patiently(answer)).await, Ok(Ok(())));
        answered.then_some(self)
    }

    /// Sends more. Waits for a client that is slow.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }

    /// What has asked us to hand over.
    pub fn into_successor(self) -> Successor {
        Successor::new(self.0)
    }

    /// Waits until it wants no more.
    pub async fn hung_up(&mut self) {
        let mut ignored = [0; 64];
        while self.0.read(&mut ignored).await.is_ok_and(|length| length > 0) {}
    }

    async fn serve_patiently<A: Serialize>(&mut self, answer: impl AsyncFnOnce(Request) -> A) -> io::Result<()> {
        let (reader, mut writer) = self.0.split();
        let mut line = String::new();
        BufReader::new(reader.take(MAX_REQUEST)).read_line(&mut line).await?;
        let mut reply = match serde_json::from_str(&line) {
            Ok(request) => serde_json::to_vec(&answer(request).await)?,
            Err(error) => serde_json::to_vec(&serde_json::json!({ "error": format!("bad request: {error}") }))?,
        };
        reply.push(b'\n');
        writer.write_all(&reply).await
    }
}
