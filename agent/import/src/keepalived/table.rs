//! Tables of directives, with what the import does with each.

use std::ops::RangeInclusive;

use super::super::report::ImportReport;
use super::tree::Statement;

/// What the import does with a directive.
pub(super) enum Handling<T> {
    /// Reads it into a `T`, or reports it.
    Read(fn(&mut T, &Statement, &mut ImportReport)),
    /// Drops it, because of this: xvrrp does the same anyway, or it does not change what keepalived does.
    Note(&'static str),
    /// Drops it, with this difference from keepalived.
    Change(&'static str),
    /// Leaves it out with this advice, because it has no counterpart.
    Advise(&'static str),
}

/// What becomes of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The import reads it.
    Read,
    /// It needs nothing, because of this.
    Note(&'static str),
    /// xvrrp differs in this way.
    Change(&'static str),
    /// It is left out with this advice.
    Advise(&'static str),
}

#[cfg(test)]
impl<T> Handling<T> {
    pub fn answer(&self) -> Answer {
        match self {
            Self::Read(_) => Answer::Read,
            Self::Note(why) => Answer::Note(why),
            Self::Change(difference) => Answer::Change(difference),
            Self::Advise(advice) => Answer::Advise(advice),
        }
    }
}

/// The keywords of a kind of block.
pub(super) type Directives<T> = &'static [(&'static str, Handling<T>)];

/// Applies each directive of a block to the target.
pub(super) fn apply<T>(directives: Directives<T>, target: &mut T, block: &Statement, report: &mut ImportReport) {
    for statement in block.statements() {
        let keyword = statement.keyword.as_str();
        match directives.iter().find(|(name, _)| *name == keyword) {
            Some((_, Handling::Read(read))) => read(target, statement, report),
            Some((_, Handling::Note(why))) => report.note(&statement.location, keyword, *why),
            Some((_, Handling::Change(_) | Handling::Advise(_)))
                if statement.block.as_ref().is_some_and(Vec::is_empty) =>
            {
                report.note(&statement.location, keyword, "the block is empty");
            }
            Some((_, Handling::Change(difference))) => report.changed(&statement.location, keyword, *difference),
            Some((_, Handling::Advise(advice))) => report.add(&statement.location, keyword, *advice),
            // The reader has reported it.
            None => {}
        }
    }
}

impl Statement {
    /// Returns the first word after the keyword, or reports that it is missing.
    pub fn value(&self, report: &mut ImportReport) -> Option<&str> {
        let value = self.word(0);
        if value.is_none() {
            let advice = "has no value, with which keepalived does not start; add one, or remove the directive";
            report.add(&self.location, &self.keyword, advice);
        }
        value
    }

    /// Parses the first word as a number within the range, or reports it. As keepalived does, takes the digits at its
    /// beginning if other characters follow.
    pub fn number(&self, range: RangeInclusive<u32>, report: &mut ImportReport) -> Option<u32> {
        let text = self.value(report)?;
        let digits = text.trim_start_matches([' ', '\t', '+']);
        let digits = digits.get(..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len()))?;
        match digits.parse().ok().filter(|number| range.contains(number)) {
            Some(number) => {
                if text.parse() != Ok(number) {
                    let advice = format!("{text:?} is {number} for keepalived, and here; correct it");
                    report.changed(&self.location, &self.keyword, advice);
                }
                Some(number)
            }
            None => self.reject_number(text, &range, report),
        }
    }

    /// Parses the first word as a number within the range, or reports it. keepalived ignores a number that other
    /// characters follow.
    pub fn exact_number(&self, range: RangeInclusive<u32>, report: &mut ImportReport) -> Option<u32> {
        let text = self.value(report)?;
        match text.trim_start().parse().ok().filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => self.reject_number(text, &range, report),
        }
    }

    fn reject_number(&self, text: &str, range: &RangeInclusive<u32>, report: &mut ImportReport) -> Option<u32> {
        let (min, max) = (range.start(), range.end());
        let advice = format!("{text:?} is not a number from {min} to {max}, so keepalived does not use it; correct it");
        report.note(&self.location, &self.keyword, advice);
        None
    }

    /// Parses the first word: `on`, `true`, `yes` or nothing; `off`, `false` or `no`. Reports any other word.
    pub fn switch(&self, report: &mut ImportReport) -> Option<bool> {
        match self.word(0) {
            None | Some("on" | "true" | "yes") => Some(true),
            Some("off" | "false" | "no") => Some(false),
            Some(text) => {
                let advice = format!("{text:?} is neither on nor off, so keepalived ignores it; correct it");
                report.note(&self.location, &self.keyword, advice);
                None
            }
        }
    }
}
