//! Lines of the imported files.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A line of a file. Sorts by the order in which the files are read, then by line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Position of the file in the order in which files are read.
    order: usize,
    /// Line, counted from 1.
    line: usize,
    file: Arc<str>,
}

impl Location {
    /// Returns line 1 of a file.
    pub(super) fn new(file: &Path, order: usize) -> Self {
        Self { file: file.to_string_lossy().into(), order, line: 1 }
    }

    /// Returns another line of the same file.
    pub(super) fn at(&self, line: usize) -> Self {
        Self { line, ..self.clone() }
    }

    /// Returns the line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A value, and the line that it comes from.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub value: T,
    pub location: Location,
}

impl<T> Located<T> {
    pub fn new(value: T, location: &Location) -> Self {
        Self { value, location: location.clone() }
    }
}
