//! Writes the number that a file holds from the start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use xvrrp_config::InitialNumber;

/// Permissions of a new file: everybody may read it, its owner may write it.
const MODE: u32 = 0o644;

/// Creates the file with the number in it, unless it exists. An existing file is overwritten only on request, and only
/// if it is a regular file with one name: the agent runs as root, and a link of either kind could lead it to a file
/// that it must not change.
pub(super) fn initialize(path: &Path, initial: InitialNumber) -> io::Result<()> {
    let InitialNumber { value, overwrite } = initial;
    // Does not follow a link.
    let created = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path);
    let file = match created {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && overwrite => existing(path)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        created => created?,
    };
    write(file, value)
}

/// Opens an existing file to overwrite it.
fn existing(path: &Path) -> io::Result<File> {
    let refuse = |what: &str| io::Error::other(format!("it is {what}; give the path of a regular file"));
    if fs::symlink_metadata(path)?.is_symlink() {
        return Err(refuse("a link"));
    }
    // It may have been replaced by something else since, which is not followed, and whose opening does not block.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(refuse("no regular file"));
    }
    if metadata.nlink() != 1 {
        return Err(refuse("a file with several names"));
    }
    file.set_len(0)?;
    Ok(file)
}

fn write(mut file: File, value: i32) -> io::Result<()> {
    file.write_all(format!("{value}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const NUMBER: InitialNumber = InitialNumber { value: -7, overwrite: false };

    #[test]
    fn a_missing_file_is_created_and_an_existing_one_overwritten_on_request_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weight");
        initialize(&path, NUMBER).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "-7\n");
        fs::write(&path, "123456\n").unwrap();
        initialize(&path, NUMBER).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "123456\n");
        initialize(&path, InitialNumber { overwrite: true, ..NUMBER }).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "-7\n");
    }

    #[test]
    fn what_is_not_a_regular_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (path, target) = (directory.path().join("weight"), directory.path().join("target"));
        fs::write(&target, "secret").unwrap();
        symlink(&target, &path).unwrap();
        let error = initialize(&path, InitialNumber { overwrite: true, ..NUMBER }).unwrap_err();
        assert_eq!(error.to_string(), "it is a link; give the path of a regular file");
        assert_eq!(fs::read_to_string(&target).unwrap(), "secret");
        let hard = directory.path().join("hard");
        fs::hard_link(&target, &hard).unwrap();
        let error = initialize(&hard, InitialNumber { overwrite: true, ..NUMBER }).unwrap_err();
        assert_eq!(error.to_string(), "it is a file with several names; give the path of a regular file");
        assert_eq!(fs::read_to_string(&target).unwrap(), "secret");
        fs::remove_file(&hard).unwrap();
        let error = initialize(directory.path(), InitialNumber { overwrite: true, ..NUMBER }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IsADirectory);
        fs::remove_file(&target).unwrap();
        initialize(&path, NUMBER).unwrap();
        assert!(!target.exists(), "a file was created through a link");
    }
}
