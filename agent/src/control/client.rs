//! Client side of the control socket, used by commands.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::status::AgentStatus;
use super::{ControlError, MAX_ANSWER, PATIENCE, Request};

/// Size of the read buffer in bytes.
const BUFFER: usize = 1 << 16;

/// Sends a request to the agent at `path` and returns its answer, which may say that the agent refused.
///
/// # Errors
/// There is no agent, or it does not answer properly.
pub fn ask(path: &Path, request: &Request) -> Result<serde_json::Value, ControlError> {
    Ok(exchange(path, request, BUFFER)?.0)
}

/// Sends a request to the agent at `path` and returns what follows the answer. Reading it has no time limit.
///
/// # Errors
/// There is no agent, or it refuses or does not answer properly.
pub fn follow(path: &Path, request: &Request) -> Result<impl BufRead + use<>, ControlError> {
    let (answer, stream) = exchange(path, request, BUFFER)?;
    accepted(path, answer)?;
    let endless = stream.get_ref().set_read_timeout(None);
    endless.map_err(|source| ControlError::Answer { path: path.to_owned(), source })?;
    Ok(stream)
}

/// Sends a request and reads the answer with a buffer of this size, in bytes.
pub(super) fn exchange(
    path: &Path,
    request: &Request,
    buffer: usize,
) -> Result<(serde_json::Value, BufReader<UnixStream>), ControlError> {
    let mut stream =
        UnixStream::connect(path).map_err(|source| ControlError::NoAgent { path: path.to_owned(), source })?;
    let mut exchange = || -> io::Result<(serde_json::Value, BufReader<UnixStream>)> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut reader = BufReader::with_capacity(buffer, stream.try_clone()?);
        let mut reply = String::new();
        (&mut reader).take(MAX_ANSWER).read_line(&mut reply)?;
        if !reply.ends_with('\n') && (reply.len() as u64) < MAX_ANSWER {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((serde_json::from_str(&reply)?, reader))
    };
    exchange().map_err(|source| match source.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            ControlError::HungUp(path.to_owned())
        }
        _ => ControlError::Answer { path: path.to_owned(), source },
    })
}

/// Returns the answer, or an error if the agent refused the request.
pub(super) fn accepted(path: &Path, answer: serde_json::Value) -> Result<serde_json::Value, ControlError> {
    match answer["error"].as_str() {
        Some(error) => Err(ControlError::Refused { path: path.to_owned(), error: error.to_owned() }),
        None => Ok(answer),
    }
}

/// Sends a request to the agent at `path` and returns its answer, as [`ask`] does. A refusal is an error.
///
/// # Errors
/// There is no agent, or it refuses or does not answer properly.
pub fn ask_for(path: &Path, request: &Request) -> Result<serde_json::Value, ControlError> {
    accepted(path, ask(path, request)?)
}

/// Asks the agent at `path` for its status.
///
/// # Errors
/// There is no agent, or it refuses or does not answer properly.
pub fn status(path: &Path) -> Result<AgentStatus, ControlError> {
    let answer = ask_for(path, &Request::Status)?;
    serde_json::from_value(answer).map_err(|error| ControlError::Answer { path: path.to_owned(), source: error.into() })
}
