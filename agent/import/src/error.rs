//! Errors of an import.

use std::fmt;

use super::report::Counts;

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

/// What follows the numbers of notices if notes are not shown.
pub const HOW_TO_SHOW: &str = " (--verbose shows the notes)";

/// A configuration was imported, but not all of it. Displays the numbers of notices.
#[derive(Debug, thiserror::Error)]
#[error("{}: {counts}{}", outcome(*result), if *hidden { HOW_TO_SHOW } else { "" })]
pub struct Incomplete {
    /// Numbers of notices.
    pub counts: Counts,
    /// Whether there is a result.
    pub result: bool,
    /// Whether there are notes that were not shown.
    pub hidden: bool,
}

fn outcome(result: bool) -> &'static str {
    if result { "the import is incomplete" } else { "no virtual router was imported" }
}
