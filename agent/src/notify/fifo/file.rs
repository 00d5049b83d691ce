//! The file of a FIFO: what may be at its path, and how it is made and opened.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, User, mkfifo};
use xvrrp_config::files::Asking;

use crate::process::file_id::FileId;

/// Mode of a FIFO that the agent makes: every user may read it, as one of keepalived.
const MODE: Mode = Mode::from_bits_truncate(0o644);

/// A FIFO that is open for reading and writing, so that opening it never waits for a reader and writing never fails for
/// lack of one.
#[derive(Debug)]
pub(super) struct OpenFifo {
    pub file: File,
    /// Whether it was made here.
    pub created: bool,
}

/// Returns what is wrong with the file at the path of a FIFO, with the remedy; `None` if there is a FIFO that belongs
/// to the agent's user or to `owner`, or nothing. The agent makes the directory `made_later` itself.
pub fn fault(path: &Path, owner: Option<Uid>, made_later: Option<&Path>) -> Option<String> {
    let _asking = Asking::begin();
    match fs::symlink_metadata(path) {
        Ok(metadata) => fault_of(&metadata, owner).map(|fault| format!("{fault}; {REMEDY}")),
        Err(error) if error.kind() != ErrorKind::NotFound => Some(format!("cannot be examined: {error}; {REMEDY}")),
        Err(_) => {
            let directory = path.parent().filter(|directory| Some(*directory) != made_later && !directory.is_dir())?;
            Some(format!("cannot be made, because there is no directory {}; make it", directory.display()))
        }
    }
}

const REMEDY: &str = "remove it, or give the path of a FIFO of the agent's user";

fn fault_of(metadata: &Metadata, owner: Option<Uid>) -> Option<String> {
    let kind = metadata.file_type();
    Some(match () {
        () if kind.is_symlink() => "is a symbolic link, which is not followed".to_owned(),
        () if kind.is_dir() => "is a directory".to_owned(),
        () if kind.is_socket() => "is a socket".to_owned(),
        () if kind.is_file() => "is a regular file".to_owned(),
        () if !kind.is_fifo() => "is a device".to_owned(),
        () => {
            let uid = Uid::from_raw(metadata.uid());
            if uid == Uid::effective() || Some(uid) == owner {
                return None;
            }
            let user = User::from_uid(uid).ok().flatten();
            format!("belongs to {}", user.map_or_else(|| format!("user {uid}"), |user| user.name))
        }
    })
}

/// Opens the FIFO. Makes it for `owner` if there is none.
pub(super) fn open(path: &Path, owner: Option<(Uid, Gid)>) -> io::Result<OpenFifo> {
    let _asking = Asking::begin();
    let created = match mkfifo(path, MODE) {
        Ok(()) => true,
        Err(Errno::EEXIST) => false,
        Err(errno) => return Err(errno.into()),
    };
    // Links are not followed, and what was opened is examined, because another user may have put it there since.
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let opened = File::options().read(true).write(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| match fault(path, owner.map(|(uid, _)| uid), None) {
        Some(fault) => io::Error::other(format!("it {fault}")),
        None => error,
    })?;
    if let Some(fault) = fault_of(&file.metadata()?, owner.map(|(uid, _)| uid)) {
        return Err(io::Error::other(format!("it {fault}; {REMEDY}")));
    }
    if let Some((uid, gid)) = owner.filter(|_| created) {
        fchown(&file, Some(uid.as_raw()), Some(gid.as_raw()))?;
    }
    Ok(OpenFifo { file, created })
}

/// Returns the open file of an earlier agent in this process, if it still is the FIFO at this path.
pub(super) fn inherit(path: &Path, left: OwnedFd) -> Option<File> {
    let _asking = Asking::begin();
    let file = File::from(left);
    let opened = FileId::of_open(&file).ok()?;
    opened.is_at(path).then_some(file)
}

/// Removes a FIFO that an agent in this process has made, unless another file has taken its place.
pub(super) fn remove(path: &Path, made: &File) {
    let _asking = Asking::begin();
    if !FileId::of_open(made).is_ok_and(|made| made.is_at(path)) {
        return;
    }
    if let Err(error) = fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(fifo = %path.display(), "cannot remove the FIFO: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_a_fifo_of_the_right_user_is_used_and_a_link_to_one_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("file"), "text").unwrap();
        fs::create_dir(path("directory")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        mkfifo(&path("fifo"), MODE).unwrap();
        symlink(path("fifo"), path("link")).unwrap();
        symlink("nowhere", path("dangling")).unwrap();
        for (name, expected) in [
            ("file", "is a regular file"),
            ("directory", "is a directory"),
            ("socket", "is a socket"),
            ("link", "is a symbolic link, which is not followed"),
            ("dangling", "is a symbolic link, which is not followed"),
        ] {
            assert_eq!(fault(&path(name), None, None), Some(format!("{expected}; {REMEDY}")), "{name}");
            let error = open(&path(name), None).unwrap_err().to_string();
            assert!(error.starts_with(&format!("it {expected}")), "{name}: {error}");
        }
        assert_eq!(fs::read(path("file")).unwrap(), b"text");
        let missing = path("missing/fifo");
        let why = format!("cannot be made, because there is no directory {}; make it", path("missing").display());
        assert_eq!(fault(&missing, None, None), Some(why));
        assert_eq!(fault(&missing, None, missing.parent()), None);
        assert_eq!((fault(&path("fifo"), None, None), fault(&path("new"), None, None)), (None, None));
        assert!(!open(&path("fifo"), None).unwrap().created);
        assert!(open(&path("new"), None).unwrap().created);
    }

    #[test]
    fn what_has_taken_the_place_of_a_fifo_is_neither_inherited_nor_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        let ours = open(&path, None).unwrap().file;
        assert!(inherit(&path, ours.try_clone().unwrap().into()).is_some());
        // For example, an operator has moved the FIFO, and another agent has made its own.
        fs::rename(&path, directory.path().join("moved")).unwrap();
        mkfifo(&path, MODE).unwrap();
        assert!(inherit(&path, ours.try_clone().unwrap().into()).is_none());
        remove(&path, &ours);
        assert!(path.exists(), "the FIFO of the other agent is removed");
        fs::remove_file(&path).unwrap();
        symlink("moved", &path).unwrap();
        remove(&path, &ours);
        assert!(fs::symlink_metadata(&path).is_ok(), "the link is removed");
        remove(&directory.path().join("moved"), &ours);
        assert!(!directory.path().join("moved").exists(), "our own FIFO is left");
    }

    #[test]
    fn a_fifo_of_another_user_is_used_only_if_that_user_is_to_own_it() {
        if !Uid::effective().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        mkfifo(&path, MODE).unwrap();
        chown(&path, Some(54321), Some(54321)).unwrap();
        let other = (Uid::from_raw(54321), Gid::from_raw(54321));
        let error = open(&path, None).unwrap_err().to_string();
        assert!(error.starts_with("it belongs to user 54321; "), "{error}");
        assert!(open(&path, Some(other)).is_ok());
        fs::remove_file(&path).unwrap();
        assert!(open(&path, Some(other)).unwrap().created);
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o777), (54321, 54321, 0o644));
    }
}
