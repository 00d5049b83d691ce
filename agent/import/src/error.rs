//! Errors of an import.

use std::fmt;

/// A configuration cannot be read. Displays as `FILE:LINE: what is wrong; what to do`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ImportError(String);

impl ImportError {
    /// Makes an error at a file, or at a line of it.
    pub(super) fn at(location: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self(format!("{location}: {message}"))
    }
}

/// A configuration was imported, but not all of it. Displays where the notices are.
#[derive(Debug, thiserror::Error)]
#[error("{}{}", if *result { "the import is incomplete" } else { "no virtual router was imported" }, see(*count))]
pub struct Incomplete {
    /// Number of notices.
    pub count: usize,
    /// Whether there is a result.
    pub result: bool,
}

fn see(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => ": see the line above".to_owned(),
        count => format!(": see the {count} lines above"),
    }
}
