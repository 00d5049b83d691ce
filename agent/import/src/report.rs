//! Collects what an import could not convert exactly.

use std::fmt;

use super::location::Location;

/// A directive without an exact counterpart, or a value that the import had to choose, with advice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    /// Line of the directive.
    pub location: Location,
    /// Keyword of the directive.
    pub directive: String,
    /// What to do about it.
    pub advice: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.location, self.directive, self.advice)
    }
}

/// All notices of an import, in the order in which they are added.
#[derive(Debug, Default)]
pub(super) struct ImportReport(Vec<Notice>);

impl ImportReport {
    /// Adds a notice.
    pub fn add(&mut self, location: &Location, directive: &str, advice: impl Into<String>) {
        self.0.push(Notice { location: location.clone(), directive: directive.to_owned(), advice: advice.into() });
    }

    /// Returns the notices in the order of the files, each once.
    pub fn into_sorted(self) -> Vec<Notice> {
        let mut all = self.0;
        all.sort();
        all.dedup();
        all
    }
}
