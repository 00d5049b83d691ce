//! Directories that the guest shares with this host, or that hold its kernels.

use std::path::{Path, PathBuf};

use crate::build::Profile;

/// Returns the directory that the guest sees as [`PROGRAMS`](super::guest::PROGRAMS).
pub fn shared() -> PathBuf {
    Profile::Dev.directory()
}

/// Returns the directory for the files of all kernel series.
pub fn kernels() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/kernels"))
}
