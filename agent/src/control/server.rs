//! Server side of the control socket, used by the agent.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

use nix::sys::socket::{UnixAddr, getsockname};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::{ControlError, ENDING, MAX_REQUEST, PATIENCE, POLL, Request, Successor};
use crate::process::file_id::FileId;

/// Pause between two looks at the control socket's file, and between two attempts to create it.
const RETRY: Duration = Duration::from_secs(5);

/// Control socket of the agent. It removes its file when this is dropped, unless it is left to a successor.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    /// `None` as long as the socket could not be created.
    socket: Mutex<Option<Arc<Socket>>>,
    left: AtomicBool,
}

impl Server {
    /// Creates the socket, and its directory if necessary.
    ///
    /// Replaces a file that a dead agent left. Waits up to a second for an agent that is ending.
    ///
    /// # Errors
    /// Another agent answers at this path, or the socket cannot be created.
    pub async fn open(path: &Path) -> Result<Self, ControlError> {
        let deadline = Instant::now() + ENDING;
        loop {
            match Socket::listen(path) {
                Err(ControlError::SocketTaken(_)) if Instant::now() < deadline => tokio::time::sleep(POLL).await,
                Ok(socket) => return Ok(Self::new(path, Some(socket))),
                Err(error) => return Err(error),
            }
        }
    }

    /// Creates the socket now if possible, and otherwise as soon as possible. An agent with roles to continue uses
    /// this, because its roles are worth more than its control socket.
    pub fn open_or_retry(path: &Path) -> Self {
        match Socket::listen(path) {
            Ok(socket) => Self::new(path, Some(socket)),
            Err(error) => {
                tracing::error!("{error}; the agent runs without it, and tries again every {RETRY:?}");
                Self::new(path, None)
            }
        }
    }

    /// Continues to use the socket that the previous agent has left. Returns `None` if the socket has another path, or
    /// if its file is gone.
    pub fn inherit(listener: OwnedFd, path: &Path) -> Option<Self> {
        let address: UnixAddr = getsockname(listener.as_raw_fd()).ok()?;
        if address.path() != Some(path) {
            return None;
        }
        let file = FileId::of(path).ok()?;
        let listener = StdListener::from(listener);
        listener.set_nonblocking(true).ok()?;
        Some(Self::new(path, Some(Socket { listener: UnixListener::from_std(listener).ok()?, file })))
    }

    fn new(path: &Path, socket: Option<Socket>) -> Self {
        Self { path: path.to_owned(), socket: Mutex::new(socket.map(Arc::new)), left: AtomicBool::new(false) }
    }

    fn socket(&self) -> MutexGuard<'_, Option<Arc<Socket>>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the socket to the program that this process becomes. Clients that connect meanwhile wait for that
    /// program. Returns `None` if there is no socket.
    pub fn leave(&self) -> Option<OwnedFd> {
        let left = self.socket().as_ref()?.listener.as_fd().try_clone_to_owned().ok()?;
        self.left.store(true, Ordering::Relaxed);
        Some(left)
    }

    /// Waits for the next client. Meanwhile, creates the socket if that was not possible before, or if something has
    /// removed its file.
    ///
    /// # Errors
    /// The client cannot be accepted, for example because too many files are open.
    pub async fn accept(&self) -> io::Result<Client> {
        loop {
            let socket = self.socket().clone();
            match &socket {
                Some(socket) => match tokio::time::timeout(RETRY, socket.listener.accept()).await {
                    Ok(accepted) => return accepted.map(|(stream, _)| Client(stream)),
                    Err(_) if socket.file.is_at(&self.path) => continue,
                    Err(_) => {}
                },
                None => tokio::time::sleep(RETRY).await,
            }
            // Fails if another agent answers at this path.
            if let Ok(created) = Socket::listen(&self.path) {
                let path = self.path.display();
                match socket {
                    Some(_) => tracing::warn!("the control socket {path} was removed, and is there again"),
                    None => tracing::info!("the control socket {path} is there now"),
                }
                *self.socket() = Some(Arc::new(created));
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(socket) = self.socket().as_ref()
            && !self.left.load(Ordering::Relaxed)
            && socket.file.is_at(&self.path)
        {
            // If the file cannot be removed, the next agent replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A socket and the file that gives it its name.
#[derive(Debug)]
struct Socket {
    listener: UnixListener,
    file: FileId,
}

impl Socket {
    /// Creates the socket and its directory, and restricts access to the owner.
    fn listen(path: &Path) -> Result<Self, ControlError> {
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
        Ok(Self { listener, file: FileId::of(path).map_err(open)? })
    }
}

/// Connection to a client.
#[derive(Debug)]
pub struct Client(pub(super) UnixStream);

impl Client {
    /// Reads the request and sends the result of `answer`. Returns the client if it has received the answer. A client
    /// that takes longer than 5 s is disconnected.
    pub async fn serve<A: Serialize>(mut self, answer: impl AsyncFnOnce(Request) -> A) -> Option<Self> {
        // A failure is not an error: a client that hangs up early does not want the answer.
        let answered = matches!(tokio::time::timeout(PATIENCE, self.serve_patiently(answer)).await, Ok(Ok(())));
        answered.then_some(self)
    }

    /// Sends more data after the answer. Waits for a client that reads slowly.
    ///
    /// # Errors
    /// The client has hung up.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }

    /// Returns the connection to the successor, if this client has asked to succeed this agent.
    pub fn into_successor(self) -> Successor {
        Successor::new(self.0)
    }

    /// Waits until the client hangs up.
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
