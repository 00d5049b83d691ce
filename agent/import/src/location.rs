//! Lines of the imported files.

use std::cmp::Ordering;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A line of a file. Sorts by the order in which the files are read, then by line.
#[derive(Clone, Debug)]
pub struct Location {
    /// Position of the file in the order in which files are read.
    order: usize,
    /// Line, counted from 1.
    line: usize,
    file: Arc<str>,
    /// Keyword of the directive on this line, or of the block that the line belongs to. That of a block with a name has
    /// the name, in quotes. Does not count when lines are compared.
    directive: Option<Arc<str>>,
}

impl Location {
    /// Returns line 1 of a file.
    pub(super) fn new(file: &Path, order: usize) -> Self {
        Self { file: file.to_string_lossy().into(), order, line: 1, directive: None }
    }

    /// Returns another line of the same file.
    pub(super) fn at(&self, line: usize) -> Self {
        Self { line, ..self.clone() }
    }

    /// Returns the same line, as that of a directive.
    pub(super) fn of(&self, directive: &str) -> Self {
        Self { directive: Some(directive.into()), ..self.clone() }
    }

    /// Returns the directive on this line, with the name of its block, if that is known.
    pub(super) fn directive(&self) -> Option<&str> {
        self.directive.as_deref()
    }

    /// Returns the path of the file.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// Returns the line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

impl Ord for Location {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.order, self.line, &self.file).cmp(&(other.order, other.line, &other.file))
    }
}

impl PartialOrd for Location {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Location {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Location {}

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
