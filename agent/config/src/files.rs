//! The one way to read a file that a configuration names, or that something else may have put in its place.
//!
//! A FIFO would block its reader until somebody writes to it, a device may never end, and opening one may have an effect
//! of its own. So only regular files are opened, links followed, and no more of them is read than the caller has use for.
//! What cannot be avoided is a file system that does not answer: a caller that must not wait reads on a thread of its own.
//!
//! Such a read also delays a reload. A process becomes another program only after all of its other threads have ended
//! (`de_thread` of Linux's fs/exec.c waits for them, and by then adverts have ceased). A thread that waits for a file system
//! may not be interruptible, even by the SIGKILL that execve(2) sends: it waits for a disk in state D, and for a FUSE server
//! that has its request in state S until the SIGKILL, and in state D from then on. Nothing short of its return shows that it
//! will not delay the reload, so a reload waits for that first ([`is_asking`]). Other blocking calls need no such care:
//! looking up a user or a host waits for sockets, which SIGKILL ends.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many threads of this process are asking a file system.
static ASKING: AtomicUsize = AtomicUsize::new(0);

/// Counts the calling thread among those that ask a file system, until this is dropped.
#[derive(Debug)]
pub struct Asking(());

impl Asking {
    /// Counts the calling thread from now on.
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

/// Whether a thread of this process is asking a file system.
pub fn is_asking() -> bool {
    ASKING.load(Ordering::Relaxed) > 0
}

/// Why a file is not read, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no such file.
    #[error("there is no such file")]
    NotFound,
    /// The user of this process may not read it.
    #[error("permission denied; let the user that runs xvrrp read it")]
    PermissionDenied,
    /// It is a directory.
    #[error("it is a directory; give the path of a file in it")]
    Directory,
    /// With the kind of file that it is.
    #[error("it is {0}; give the path of a regular file")]
    NotRegular(&'static str),
    /// With how many bytes it may have.
    #[error("it has more than {}; give the path of a file that belongs here", Size(*.0))]
    TooLong(u64),
    /// Any other error of the system.
    #[error(transparent)]
    Other(io::Error),
}

/// A file that cannot be read, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {fault}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

/// A number of bytes, for people.
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

/// Reads the whole file, which may have at most `limit` bytes.
///
/// # Errors
///
/// Fails if the file cannot be read, is no regular file, or is longer than `limit`.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let bytes = read_beginning(path, limit.saturating_add(1))?;
    if bytes.len() as u64 > limit {
        return Err(FileError { path: path.to_owned(), fault: Fault::TooLong(limit) });
    }
    Ok(bytes)
}

/// Reads the whole file as text.
///
/// # Errors
///
/// Fails as [`read`] does, and if the file is no UTF-8 text.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    let not_text = |error| io::Error::new(ErrorKind::InvalidData, error);
    let fault = |error| FileError { path: path.to_owned(), fault: Fault::Other(not_text(error)) };
    String::from_utf8(read(path, limit)?).map_err(fault)
}

/// Reads the file up to its end, or at most `length` bytes.
///
/// # Errors
///
/// Fails if the file cannot be read.
pub fn read_beginning(path: &Path, length: u64) -> Result<Vec<u8>, FileError> {
    let _asking = Asking::begin();
    let mut bytes = Vec::new();
    let read = open(path).and_then(|file| file.take(length).read_to_end(&mut bytes).map_err(Fault::from));
    read.map(|_| bytes).map_err(|fault| FileError { path: path.to_owned(), fault })
}

fn open(path: &Path) -> Result<File, Fault> {
    // Before it is opened, as that may have an effect on a device; and afterwards, as it may be another one by then.
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
    fn a_file_is_read_to_its_limit_and_no_further() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read_beginning(&path, 2).unwrap(), b"12");
        let error = read(&path, 4).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot read {}: it has more than 4 bytes;", path.display())), "{error}");
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once_links_or_not() {
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
    fn files_of_proc_which_have_no_size_are_read() {
        let path = Path::new("/proc/self/stat");
        assert_eq!(fs::metadata(path).unwrap().len(), 0);
        assert!(!read(path, 1 << 16).unwrap().is_empty());
    }
}
