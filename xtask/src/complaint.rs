//! What is wrong with a file of the workspace, for `cargo xtask tidy` and `conformance`.

use std::fmt;

#[derive(Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The file, in the workspace.
    pub path: String,
    /// Counted from 1.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.what)
    }
}
