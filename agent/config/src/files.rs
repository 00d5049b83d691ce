//! Reads files that a configuration names, or that something may have replaced by something other than a file.
//!
//! Opening a FIFO blocks until somebody writes to it. A device may never end, and opening one may have an effect. So
//! only regular files are opened (links are followed), and no more of them is read than the caller needs. A file system
//! that does not answer cannot be avoided: a caller that must not wait reads on a thread of its own.
//!
//! Such a read also delays a reload. A process becomes another program only after all of its other threads have ended:
//! `de_thread` of Linux's fs/exec.c waits for them, and adverts have ceased by then. A thread that waits for a file
//! system may ignore even the SIGKILL that execve(2) sends. A thread that waits for a disk is in state D. A thread that
//! waits for a FUSE server that has its request is in state S until the SIGKILL, and in state D from then on. Only its
//! return shows that the thread will not delay the reload, so a reload first waits for that ([`is_asking`]). Other
//! blocking calls need no such care: a lookup of a user or a host waits for sockets, and SIGKILL ends that.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Number of threads of this process that may be waiting for a file system.
static ASKING: AtomicUsize = AtomicUsize::new(0);

/// Counts the calling thread among those that may be waiting for a file system, until this value is dropped.
#[derive(Debug)]
pub struct Asking(());

impl Asking {
    /// Begins to count the calling thread.
    pub fn begin() -> Self {
        ASKING.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        ASKING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns whether a thread of this process may be waiting for a file system.
pub fn is_asking() -> bool {
    ASKING.load(Ordering::Relaxed) > 0
}

/// Why a file cannot be read. Displays with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no such file.
    #[error("there is no such file")]
    NotFound,
    /// The user that runs this process may not read the file.
    #[error("permission denied; make it readable for the user that runs xvrrp")]
    PermissionDenied,
    /// The path leads to a directory.
    #[error("it is a directory; give the path of a file in it")]
    Directory,
    /// The path leads to something else that is not a regular file: to this.
    #[error("it is {0}; give the path of a regular file")]
    NotRegular(&'static str),
    /// The file is longer than this limit, in bytes.
    #[error("it is longer than {}; give the path of the intended file", Size(*.0))]
    TooLong(u64),
    /// Any other error of the system.
    #[error(transparent)]
    Other(io::Error),
}

/// A file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {fault}", path.display())]
pub struct FileError {
    /// Path of the file.
    pub path: PathBuf,
    /// Why it cannot be read.
    pub fault: Fault,
}

/// A number of bytes. Displays with a unit.
struct Size(u64);

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            size if size >= 1 << 20 => write!(f, "{} MiB", size >> 20),
            size if size >= 1 << 10 => write!(f, "{} KiB", size >> 10),
            size => write!(f, "{size} bytes"),
        }
    }
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// The file cannot be read, is not a regular file, or is longer than `limit`.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let bytes = read_beginning(path, limit.saturating_add(1))?;
    if bytes.len() as u64 > limit {
        return Err(FileError { path: path.to_owned(), fault: Fault::TooLong(limit) });
    }
    Ok(bytes)
}

/// Reads a whole file of at most `limit` bytes as text.
///
/// # Errors
/// The file cannot be read, is not a regular file, is longer than `limit`, or is not UTF-8 text.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    let not_text = |error| io::Error::new(ErrorKind::InvalidData, error);
    let fault = |error| FileError { path: path.to_owned(), fault: Fault::Other(not_text(error)) };
    String::from_utf8(read(path, limit)?).map_err(fault)
}

/// Reads a file up to its end, or its first `length` bytes.
///
/// # Errors
/// The file cannot be read or is not a regular file.
pub fn read_beginning(path: &Path, length: u64) -> Result<Vec<u8>, FileError> {
    let _asking = Asking::begin();
    let mut bytes = Vec::new();
    let read = open(path).and_then(|file| file.take(length).read_to_end(&mut bytes).map_err(Fault::from));
    read.map(|_| bytes).map_err(|fault| FileError { path: path.to_owned(), fault })
}

fn open(path: &Path) -> Result<File, Fault> {
    // The check comes before the open, which may have an effect on a device. It is repeated afterwards, because the
    // path may lead to another file by then.
    ensure_regular(&fs::metadata(path)?)?;
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    ensure_regular(&file.metadata()?)?;
    Ok(file)
}

fn ensure_regular(metadata: &Metadata) -> Result<(), Fault> {
    let kind = metadata.file_type();
    Err(match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => Fault::Directory,
        () if kind.is_fifo() => Fault::NotRegular("a FIFO"),
        () if kind.is_socket() => Fault::NotRegular("a socket"),
        () => Fault::NotRegular("a device"),
    })
}

impl Fault {
    /// Returns whether there is no such file.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::PermissionDenied => Self::PermissionDenied,
            ErrorKind::IsADirectory => Self::Directory,
            _ => Self::Other(error),
        }
    }
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        let kind = match &error.fault {
            Fault::NotFound => ErrorKind::NotFound,
            Fault::PermissionDenied => ErrorKind::PermissionDenied,
            Fault::Directory | Fault::NotRegular(_) | Fault::TooLong(_) => ErrorKind::InvalidInput,
            Fault::Other(error) => error.kind(),
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::{Duration, Instant};

    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn a_file_is_read_up_to_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read_beginning(&path, 2).unwrap(), b"12");
        let error = read(&path, 4).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot read {}: it is longer than 4 bytes;", path.display())), "{error}");
    }

    #[test]
    fn a_path_or_link_to_something_other_than_a_regular_file_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let [fifo, link] = ["fifo", "link"].map(|name| directory.path().join(name));
        nix::unistd::mkfifo(&fifo, Mode::S_IRUSR).unwrap();
        symlink("/dev/zero", &link).unwrap();
        let start = Instant::now();
        for (path, kind) in [(&*fifo, "a FIFO"), (&*link, "a device"), (directory.path(), "a directory")] {
            let error = read(path, 10).unwrap_err().to_string();
            assert!(error.contains(&format!("it is {kind}; give")), "{error}");
        }
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_file_of_proc_is_read_although_its_size_is_0() {
        let path = Path::new("/proc/self/stat");
        assert_eq!(fs::metadata(path).unwrap().len(), 0);
        assert!(!read(path, 1 << 16).unwrap().is_empty());
    }
}
