//! Collects what an import has to say about the original: what needs nothing, what differs, and what is missing.

use std::fmt;

use super::location::Location;

/// What a notice means for whoever runs the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing needs to be done: the original program ignores the directive too, or xvrrp does what it says anyway.
    Note,
    /// The directive is taken over, but something differs from the original or from what the file seems to say.
    Changed,
    /// The original program does something that the result does not do.
    LeftOut,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Changed => "changed",
            Self::LeftOut => "left out",
        })
    }
}

/// A message about a line of the original. Displays as `FILE:LINE: KIND: DIRECTIVE: ADVICE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    /// Line of the directive.
    pub location: Location,
    /// What the notice means for whoever runs the result.
    pub kind: Kind,
    /// Keyword of the directive.
    pub directive: String,
    /// What differs, and what to do about it.
    pub advice: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}: {}", self.location, self.kind, self.directive, self.advice)
    }
}

/// Numbers of notices. Displays as `2 left out, 1 changed, 3 notes`, without the kinds that do not occur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Number of notices of the kind [`Kind::Note`].
    pub notes: usize,
    /// Number of notices of the kind [`Kind::Changed`].
    pub changed: usize,
    /// Number of notices of the kind [`Kind::LeftOut`].
    pub left_out: usize,
}

impl Counts {
    /// Counts the notices of each kind.
    pub fn of(notices: &[Notice]) -> Self {
        let count = |kind| notices.iter().filter(|notice| notice.kind == kind).count();
        Self { notes: count(Kind::Note), changed: count(Kind::Changed), left_out: count(Kind::LeftOut) }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { notes, changed, left_out } = *self;
        let notes_word = if notes == 1 { "note" } else { "notes" };
        let counts = [(left_out, "left out"), (changed, "changed"), (notes, notes_word)];
        let mut separator = "";
        for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{separator}{count} {what}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// All notices of an import, in the order in which they are added.
#[derive(Debug, Default)]
pub(super) struct ImportReport(Vec<Notice>);

impl ImportReport {
    /// Reports that the result does not do something that the original program does.
    pub fn add(&mut self, location: &Location, directive: &str, advice: impl Into<String>) {
        self.push(Kind::LeftOut, location, directive, advice);
    }

    /// Reports a difference from the original, or from what the file seems to say.
    pub fn changed(&mut self, location: &Location, directive: &str, advice: impl Into<String>) {
        self.push(Kind::Changed, location, directive, advice);
    }

    /// Reports that nothing needs to be done about a directive.
    pub fn note(&mut self, location: &Location, directive: &str, advice: impl Into<String>) {
        self.push(Kind::Note, location, directive, advice);
    }

    fn push(&mut self, kind: Kind, location: &Location, directive: &str, advice: impl Into<String>) {
        let (directive, advice) = (directive.to_owned(), advice.into());
        self.0.push(Notice { location: location.clone(), kind, directive, advice });
    }

    /// Returns the notices in the order of the files, each once.
    pub fn into_sorted(self) -> Vec<Notice> {
        let mut all = self.0;
        all.sort();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_name_only_the_kinds_that_occur() {
        let shown = |left_out, changed, notes| Counts { notes, changed, left_out }.to_string();
        assert_eq!(shown(2, 1, 3), "2 left out, 1 changed, 3 notes");
        assert_eq!(shown(0, 0, 1), "1 note");
        assert_eq!(shown(0, 0, 0), "");
    }
}
