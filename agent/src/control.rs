//! The control socket: one JSON line asks, one JSON document answers.

use std::io::{BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, getsockname, recv, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::status::AgentStatus;

/// Longest request that is read.
const MAX_REQUEST: u64 = 4096;
/// Longest answer that is read.
const MAX_ANSWER: u64 = 64 << 20;
/// How long a client may take to ask and to read the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an agent that is ending may take to let go of what only one can have.
pub const ENDING: Duration = Duration::from_secs(1);
/// How often to look whether it has. Every millisecond here is one without adverts.
const LOOK: Duration = Duration::from_micros(200);
/// How long to wait before a control socket that cannot be made is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// What comes with the singleton.
const PASSED: &[u8] = b"\n";
/// How much is read at a time.
const BUFFER: usize = 1 << 16;
/// The line with which a successor says that it advertises in its predecessor's place.
const RUNNING: &str = "running";

/// What a client can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    Status,
    /// Leave roles, addresses and pins to the agent that asks, and end once it says that it runs
    /// ([`Successor::comes_up`]). If it hangs up before that, go on.
    HandOver {
        /// The asker's network namespace. An agent of another one may have the same control socket.
        #[serde(default)]
        namespace: Option<u64>,
    },
    /// Leave the role of the virtual router with this name to others, or do so no longer.
    StandBy {
        name: String,
        on: bool,
    },
    /// Send what the kernel half sees, in lines ([`Told`](crate::monitor::Told)), until the client hangs up.
    Monitor,
    /// Check the configuration, and start anew with it if it is valid.
    Reload,
}

/// What it gets.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Status(AgentStatus),
    HandingOver {
        handing_over: bool,
    },
    Monitoring {
        monitoring: bool,
    },
    StandingBy {
        standing_by: bool,
        /// Whether a lower priority than ours has to yield from now on.
        preempts: bool,
    },
    /// When the agent was started that will be another one: [`AgentStatus::started`].
    Reloading {
        started: f64,
    },
    Refused {
        error: String,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(
        "another xvrrp agent runs in this network namespace; stop it first, or take over from it with `xvrrp run --replace`"
    )]
    AgentRuns,
    #[error("another xvrrp agent answers at {0}; stop it first, or set another agent.control")]
    SocketTaken(PathBuf),
    #[error("cannot open the control socket {path}: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error("no agent answers at {path}: {source}; is `xvrrp run` running, and is this its agent.control?")]
    NoAgent { path: PathBuf, source: io::Error },
    #[error("the agent at {path} refused: {error}")]
    Refused { path: PathBuf, error: String },
    #[error(
        "the agent at {0} ended the connection without an answer: it was just stopping, reloading or handing over to another \
         agent, and may have done what was asked or not; look at `xvrrp status`, and try again"
    )]
    HungUp(PathBuf),
    #[error("the agent at {path} did not answer as expected: {source}")]
    Answer { path: PathBuf, source: io::Error },
}

/// Held by the one agent of a network namespace; the kernel takes it back when the process ends, however it ends.
#[derive(Debug)]
pub struct Singleton(StdListener);

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
        let name = SocketAddr::from_abstract_name(Self::NAME).and_then(|name| StdListener::bind_addr(&name));
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
    fn received(file: OwnedFd) -> Option<Self> {
        let address: UnixAddr = getsockname(file.as_raw_fd()).ok()?;
        (address.as_abstract() == Some(Self::NAME.as_bytes())).then(|| Self(StdListener::from(file)))
    }

    fn inherited() -> Option<Self> {
        let number = std::env::var(Self::INHERITED).ok()?.parse().ok().filter(|number| *number > 2)?;
        // In a child of ours the number is nobody's, or another's.
        let address: UnixAddr = getsockname(number).ok()?;
        if address.as_abstract() != Some(Self::NAME.as_bytes()) {
            return None;
        }
        // SAFETY: the descriptor is that socket, which nobody in this process has opened: it was left to us.
        let listener = unsafe { StdListener::from_raw_fd(number) };
        fcntl(&listener, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
        Some(Self(listener))
    }
}

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
pub struct Client(UnixStream);

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
        Successor(self.0)
    }

    /// Waits until it wants no more.
    pub async fn hung_up(&mut self) {
        let mut ignored = [0; 64];
        while self.0.read(&mut ignored).await.is_ok_and(|length| length > 0) {}
    }

    async fn serve_patiently<A: Serialize>(&mut self, answer: impl AsyncFnOnce(Request) -> A) -> io::Result<()> {
        let (reader, mut writer) = self.0.split();
        let mut line = String::new();
        tokio::io::BufReader::new(reader.take(MAX_REQUEST)).read_line(&mut line).await?;
        let mut reply = match serde_json::from_str(&line) {
            Ok(request) => serde_json::to_vec(&answer(request).await)?,
            Err(error) => serde_json::to_vec(&serde_json::json!({ "error": format!("bad request: {error}") }))?,
        };
        reply.push(b'\n');
        writer.write_all(&reply).await
    }
}

/// The agent that takes over from this one.
#[derive(Debug)]
pub struct Successor(UnixStream);

impl Successor {
    /// How long it may take until it runs. By then the leases are over.
    const PATIENCE: Duration = Duration::from_secs(3);

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
        let (answer, stream) = exchange_by(path, &Request::HandOver { namespace }, 1)?;
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

/// Asks the agent at `path`, from a command.
pub fn ask(path: &Path, request: &Request) -> Result<serde_json::Value, ControlError> {
    Ok(exchange(path, request)?.0)
}

/// The same; what follows the answer, for however long it does, is returned.
pub fn follow(path: &Path, request: &Request) -> Result<impl BufRead + use<>, ControlError> {
    let (answer, stream) = exchange(path, request)?;
    accepted(path, answer)?;
    let endless = stream.get_ref().set_read_timeout(None);
    endless.map_err(|source| ControlError::Answer { path: path.to_owned(), source })?;
    Ok(stream)
}

fn exchange(path: &Path, request: &Request) -> Result<(serde_json::Value, BufReader<StdStream>), ControlError> {
    exchange_by(path, request, BUFFER)
}

/// Asks as [`exchange`] does, and reads the answer with a buffer of this size.
fn exchange_by(
    path: &Path,
    request: &Request,
    buffer: usize,
) -> Result<(serde_json::Value, BufReader<StdStream>), ControlError> {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};

    let mut stream =
        StdStream::connect(path).map_err(|source| ControlError::NoAgent { path: path.to_owned(), source })?;
    let mut exchange = || -> io::Result<(serde_json::Value, BufReader<StdStream>)> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut reader = BufReader::with_capacity(buffer, stream.try_clone()?);
        let mut reply = String::new();
        (&mut reader).take(MAX_ANSWER).read_line(&mut reply)?;
        if !reply.ends_with('\n') && (reply.len() as u64) < MAX_ANSWER {
            return Err(UnexpectedEof.into());
        }
        Ok((serde_json::from_str(&reply)?, reader))
    };
    exchange().map_err(|source| match source.kind() {
        UnexpectedEof | ConnectionReset | BrokenPipe => ControlError::HungUp(path.to_owned()),
        _ => ControlError::Answer { path: path.to_owned(), source },
    })
}

fn accepted(path: &Path, answer: serde_json::Value) -> Result<serde_json::Value, ControlError> {
    match answer["error"].as_str() {
        Some(error) => Err(ControlError::Refused { path: path.to_owned(), error: error.to_owned() }),
        None => Ok(answer),
    }
}

/// The same; an error in the answer is one here, too.
pub fn ask_for(path: &Path, request: &Request) -> Result<serde_json::Value, ControlError> {
    accepted(path, ask(path, request)?)
}

/// How the agent at `path` stands.
pub fn status(path: &Path) -> Result<AgentStatus, ControlError> {
    let answer = ask_for(path, &Request::Status)?;
    serde_json::from_value(answer).map_err(|error| ControlError::Answer { path: path.to_owned(), source: error.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/control.sock");
        (directory, path)
    }

    async fn serve_one(server: &Server) {
        let client = server.accept().await.unwrap();
        client.serve(async |request| serde_json::json!({ "asked": request })).await;
    }

    #[tokio::test]
    async fn a_request_is_answered() {
        let (_directory, path) = scratch();
        let server = Server::open(&path).await.unwrap();
        let asking = tokio::task::spawn_blocking(move || ask(&path, &Request::Status));
        serve_one(&server).await;
        let answer = asking.await.unwrap().unwrap();
        assert_eq!(answer, serde_json::json!({ "asked": { "command": "status" } }));
    }

    #[tokio::test]
    async fn a_request_that_makes_no_sense_is_answered_with_an_error() {
        let (_directory, path) = scratch();
        let server = Server::open(&path).await.unwrap();
        let asking = tokio::task::spawn_blocking(move || {
            let mut stream = StdStream::connect(&path).unwrap();
            stream.write_all(b"{\"command\":\"dance\"}\n").unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).unwrap();
            reply
        });
        serve_one(&server).await;
        assert!(asking.await.unwrap().contains("bad request: unknown variant `dance`"));
    }

    #[tokio::test]
    async fn the_file_goes_with_the_server_and_a_dead_agents_file_is_replaced() {
        let (_directory, path) = scratch();
        drop(Server::open(&path).await.unwrap());
        assert!(!path.exists());
        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists(), "a listener that dies leaves its file");
        drop(Server::open(&path).await.unwrap());
    }

    #[tokio::test]
    async fn a_living_agents_socket_is_not_taken() {
        let (_directory, path) = scratch();
        let _server = Server::open(&path).await.unwrap();
        assert!(matches!(Server::open(&path).await, Err(ControlError::SocketTaken(_))));
    }

    #[tokio::test]
    async fn a_socket_that_is_left_goes_on_where_it_was() {
        let (_directory, path) = scratch();
        let server = Server::open(&path).await.unwrap();
        let left = server.leave().unwrap();
        drop(server);
        let asking = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || ask(&path, &Request::Status))
        };
        let successor = Server::inherit(left, &path).unwrap();
        serve_one(&successor).await;
        asking.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_socket_whose_file_is_gone_is_not_gone_on_with() {
        let (_directory, path) = scratch();
        let server = Server::open(&path).await.unwrap();
        let left = server.leave().unwrap();
        fs::remove_file(&path).unwrap();
        assert!(Server::inherit(left, &path).is_none());
    }

    #[tokio::test]
    async fn a_predecessor_hears_whether_its_successor_runs() {
        let (_directory, path) = scratch();
        let server = Server::open(&path).await.unwrap();
        for relieves in [true, false] {
            let path = path.clone();
            let asking = tokio::task::spawn_blocking(move || {
                let mut incumbent = Incumbent::ask(&path, None).unwrap();
                if relieves { incumbent.relieve().unwrap() } else { drop(incumbent) }
            });
            let client = server.accept().await.unwrap();
            let answer = async |_| Answer::HandingOver { handing_over: true };
            let successor = client.serve(answer).await.unwrap().into_successor();
            assert_eq!(successor.comes_up().await.is_ok(), relieves);
            asking.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_successor_finds_whether_its_predecessor_still_waits() {
        let (_directory, path) = scratch();
        let server = Server::open(&path).await.unwrap();
        let stream = StdStream::connect(&path).unwrap();
        let mut incumbent = Incumbent { stream, waits: true };
        let successor = server.accept().await.unwrap().into_successor();
        assert!(incumbent.is_waiting());
        drop(successor);
        assert!(!incumbent.is_waiting() && incumbent.relieve().is_err());
    }

    #[tokio::test]
    async fn a_client_whose_agent_ends_before_it_answers_hears_what_happened_and_what_to_do() {
        let (_directory, path) = scratch();
        let server = Server::open(&path).await.unwrap();
        // Before anything was read, which resets the connection, and in the middle of the answer.
        for begun in [None, Some("{\"started\":")] {
            let path = path.clone();
            let asking = tokio::task::spawn_blocking(move || ask(&path, &Request::Reload));
            let Client(mut stream) = server.accept().await.unwrap();
            if let Some(begun) = begun {
                let mut line = String::new();
                tokio::io::BufReader::new(&mut stream).read_line(&mut line).await.unwrap();
                stream.write_all(begun.as_bytes()).await.unwrap();
            }
            drop(stream);
            let error = asking.await.unwrap().unwrap_err().to_string();
            assert!(error.contains("handing over") && error.contains("try again"), "{error}");
        }
    }

    #[test]
    fn asking_nobody_names_the_socket() {
        let (_directory, path) = scratch();
        let error = ask(&path, &Request::Status).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}
