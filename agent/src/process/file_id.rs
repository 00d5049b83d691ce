//! Tells the file of this agent from another one that has taken its place.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Identity of a file: an agent must not remove the file that another one has created at the same path meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Returns the identity of the file at a path, without following a link.
    ///
    /// # Errors
    /// The path cannot be examined.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&fs::symlink_metadata(path)?))
    }

    /// Returns the identity of an open file.
    ///
    /// # Errors
    /// The file cannot be examined.
    pub fn of_open(file: &File) -> io::Result<Self> {
        Ok(Self::from(&file.metadata()?))
    }

    /// Returns whether this file is the one at a path.
    pub fn is_at(self, path: &Path) -> bool {
        Self::of(path).is_ok_and(|file| file == self)
    }
}

impl From<&Metadata> for FileId {
    fn from(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino() }
    }
}
