//! Complaints of `cargo xtask tidy`, `conformance` and `parity` about files of the workspace.

use std::fmt;

#[derive(Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Path of the file in the workspace.
    pub path: String,
    /// Number of the line, counted from 1.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.what)
    }
}
