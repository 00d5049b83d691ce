//! Where something stands in what is imported.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A line of a file. Ordered as the files are read, and by line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceLine {
    /// How many files were begun before this one.
    order: usize,
    /// Counted from 1.
    line: usize,
    file: Arc<str>,
}

impl SourceLine {
    /// Line 1 of the file that is the `order`th to be read.
    pub(super) fn new(file: &Path, order: usize) -> Self {
        Self { file: file.to_string_lossy().into(), order, line: 1 }
    }

    pub(super) fn at(&self, line: usize) -> Self {
        Self { line, ..self.clone() }
    }

    /// Returns the line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

impl fmt::Display for SourceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub value: T,
    pub place: SourceLine,
}

impl<T> Located<T> {
    pub fn new(value: T, place: &SourceLine) -> Self {
        Self { value, place: place.clone() }
    }
}
