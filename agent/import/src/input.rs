//! Reads the files of an original configuration.

use std::fmt;
use std::path::{Path, PathBuf};

use xvrrp_config::files::{self, FileError};

use super::error::ImportError;
use super::location::Location;

/// Longest file, in bytes. Something that is not a configuration, such as a disk image, is not read into memory.
const MAX_FILE_SIZE: u64 = 16 << 20;

/// Reads a file, which may be included at a line of another one. Replaces bytes that are not UTF-8, which are usually
/// in comments.
pub(super) fn read_text(path: &Path, included_at: Option<&Location>) -> Result<String, ImportError> {
    let wrong = |what: &dyn fmt::Display| match included_at {
        Some(location) => ImportError::at(location, format_args!("include: {}: {what}", printable(path))),
        None => ImportError::at(printable(path), what),
    };
    let bytes = files::read(path, MAX_FILE_SIZE).map_err(|FileError { fault, .. }| {
        let remedy = match included_at {
            _ if !fault.is_not_found() => "",
            Some(_) => "; correct the path, or remove the line",
            None if is_of_heartbeat(path) => "; put ha.cf and haresources into one directory",
            None => "; give the path of a configuration",
        };
        wrong(&format_args!("cannot be read: {fault}{remedy}"))
    })?;
    if bytes.contains(&0) {
        return Err(wrong(&"is not a text file; give the path of a configuration"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
