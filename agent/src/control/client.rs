//! A command's end of the control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::status::AgentStatus;
use super::{ControlError, MAX_ANSWER, PATIENCE, Request};

/// How much is read at a time.
const BUFFER: usize = 1 << 16;

/// Asks the agent at `path`, from a command.
pub fn ask(path: &Path, request: &Request) -> Result<serde_json::Value, ControlError> {
    Ok(exchange(path, request, BUFFER)?.0)
}

/// The same; what follows the answer, for however long it does, is returned.
pub fn follow(path: &Path, request: &Request) -> Result<impl BufRead + use<>, ControlError> {
    let (answer, stream) = exchange(path, request, BUFFER)?;
    accepted(path, answer)?;
    let endless = stream.get_ref().set_read_timeout(None);
    endless.map_err(|source| ControlError::Answer { path: path.to_owned(), source })?;
    Ok(stream)
}

/// Asks, and reads the answer with a buffer of this size.
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

pub(super) fn accepted(path: &Path, answer: serde_json::Value) -> Result<serde_json::Value, ControlError> {
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
