//! Reads the files of an original configuration.

use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use xvrrp_config::files::{self, FileError};

use super::error::ImportError;
use super::location::Location;

/// Longest file, in bytes. Something that is not a configuration, such as a disk image, is not read into memory.
const MAX_FILE_SIZE: u64 = 16 << 20;

/// Reads a file, which may be included at a line of another one.
pub(super) fn read_bytes(path: &Path, included_at: Option<&Location>) -> Result<Vec<u8>, ImportError> {
    let wrong = |what: &dyn fmt::Display| match included_at {
        Some(location) => ImportError::at(location, format_args!("include: {}: {what}", printable(path))),
        None => ImportError::at(printable(path), what),
    };
    let before = fs::metadata(path).ok();
    let bytes = files::read(path, MAX_FILE_SIZE).map_err(|FileError { fault, .. }| {
        let remedy = match included_at {
            _ if !fault.is_not_found() => "",
            Some(_) => "; correct the path, or remove the line",
            None if is_of_heartbeat(path) => "; put ha.cf and haresources into one directory",
            None => "; give the path of a configuration",
        };
        wrong(&format_args!("cannot be read: {fault}{remedy}"))
    })?;
    if before.as_ref().map(version) != fs::metadata(path).ok().as_ref().map(version) {
        return Err(wrong(&"was written while it was read; run the command again once nothing writes to it"));
    }
    if bytes.contains(&0) {
        return Err(wrong(&"is not a text file; give the path of a configuration"));
    }
    Ok(bytes)
}

/// Reads a file as text. Replaces bytes that are not UTF-8, which are usually in comments.
pub(super) fn read_text(path: &Path) -> Result<String, ImportError> {
    let bytes = read_bytes(path, None)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns what changes when something writes to a file or replaces it.
fn version(metadata: &Metadata) -> (u64, u64, u64, i64, i64) {
    (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// Returns whether the file has one of heartbeat's fixed names.
pub(super) fn is_of_heartbeat(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "ha.cf" || name == "haresources")
}

/// Returns the path with its control characters escaped.
pub(super) fn printable(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// Returns the path of a file in the same directory.
pub(super) fn beside(path: &Path, name: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).join(name)
}
