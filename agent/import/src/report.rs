//! What could not be taken over, or not without a choice.

use std::fmt;

use super::place::SourceLine;

/// A directive that has no counterpart, or not quite, and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    /// Where it stands.
    pub place: SourceLine,
    /// The directive's keyword.
    pub directive: String,
    /// What to do about it.
    pub advice: String,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.directive, self.advice)
    }
}

/// All of them, in the order in which they are found.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Left>);

impl Report {
    pub fn left(&mut self, place: &SourceLine, directive: &str, advice: impl Into<String>) {
        self.0.push(Left { place: place.clone(), directive: directive.to_owned(), advice: advice.into() });
    }

    /// In the order of the files, each once.
    pub fn into_sorted(self) -> Vec<Left> {
        let mut all = self.0;
        all.sort();
        all.dedup();
        all
    }
}
