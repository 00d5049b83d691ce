//! Tables of directives, with what the import does with each.

use super::super::report::ImportReport;
use super::tree::Statement;

/// What the import does with a directive.
pub(super) enum Handling<T> {
    /// Reads it into a `T`, or reports it.
    Read(fn(&mut T, &Statement, &mut ImportReport)),
    /// Drops it, because xvrrp does the same anyway, or because it does not change what keepalived does.
    Ignore,
    /// Reports it with this advice, because it has no counterpart.
    Advise(&'static str),
}

/// The keywords of a kind of block.
pub(super) type Directives<T> = &'static [(&'static str, Handling<T>)];

/// Applies each directive of a block to the target.
pub(super) fn apply<T>(directives: Directives<T>, target: &mut T, block: &Statement, report: &mut ImportReport) {
    for statement in block.statements() {
        let keyword = statement.keyword.as_str();
        match directives.iter().find(|(name, _)| *name == keyword) {
            Some((_, Handling::Read(read))) => read(target, statement, report),
            Some((_, Handling::Ignore)) => {}
            Some((_, Handling::Advise(advice))) => report.add(&statement.location, keyword, *advice),
            None => {
                let advice =
                    format!("keepalived has no such directive in {}; correct the keyword, or remove it", block.keyword);
                report.add(&statement.location, keyword, advice);
            }
        }
    }
}

impl Statement {
    /// Returns the first word after the keyword, or reports that it is missing.
    pub fn value(&self, report: &mut ImportReport) -> Option<&str> {
        let value = self.word(0);
        if value.is_none() {
            report.add(&self.location, &self.keyword, "has no value; add one, or remove the directive");
        }
        value
    }

    /// Parses the first word as a number within the range, or reports it.
    pub fn number(&self, range: std::ops::RangeInclusive<u32>, report: &mut ImportReport) -> Option<u32> {
        let text = self.value(report)?;
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (min, max) = range.into_inner();
            let advice = format!("{text:?} is not a number from {min} to {max}, so keepalived ignores it; correct it");
            report.add(&self.location, &self.keyword, advice);
        }
        number
    }

    /// Parses the first word: `on`, `true`, `yes` or nothing; `off`, `false` or `no`. Reports any other word.
    pub fn switch(&self, report: &mut ImportReport) -> Option<bool> {
        match self.word(0) {
            None | Some("on" | "true" | "yes") => Some(true),
            Some("off" | "false" | "no") => Some(false),
            Some(text) => {
                let advice = format!("{text:?} is neither on nor off, so keepalived ignores it; correct it");
                report.add(&self.location, &self.keyword, advice);
                None
            }
        }
    }
}
