//! Directives and what becomes of them.

use super::super::report::Report;
use super::tree::Statement;

/// What becomes of a directive.
pub(super) enum Handling<T> {
    /// It is read into a `T`, or reported.
    Take(fn(&mut T, &Statement, &mut Report)),
    /// Nothing need be done: xvrrp does it anyway, or it does not change what keepalived does.
    Nothing,
    /// There is no counterpart; do this instead.
    Left(&'static str),
}

/// Each keyword of a block, once.
pub(super) type Directives<T> = &'static [(&'static str, Handling<T>)];

/// Reads the statements of a block.
pub(super) fn apply<T>(directives: Directives<T>, target: &mut T, block: &Statement, report: &mut Report) {
    for statement in block.statements() {
        let keyword = statement.keyword.as_str();
        match directives.iter().find(|(name, _)| *name == keyword) {
            Some((_, Handling::Take(take))) => take(target, statement, report),
            Some((_, Handling::Nothing)) => {}
            Some((_, Handling::Left(advice))) => report.left(&statement.place, keyword, *advice),
            None => {
                let advice = format!("keepalived has no such directive in {}; look what was meant", block.keyword);
                report.left(&statement.place, keyword, advice);
            }
        }
    }
}

impl Statement {
    /// The first word behind the keyword, or a report that it is missing.
    pub fn value(&self, report: &mut Report) -> Option<&str> {
        let value = self.word(0);
        if value.is_none() {
            report.left(&self.place, &self.keyword, "has no value; add one, or remove the directive");
        }
        value
    }

    /// The first word as a number within the range, or a report.
    pub fn number(&self, range: std::ops::RangeInclusive<u32>, report: &mut Report) -> Option<u32> {
        let text = self.value(report)?;
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = range.into_inner();
            let advice = format!(
                "{text:?} is no number from {least} to {most}, and keepalived ignores it; correct \
                                  it"
            );
            report.left(&self.place, &self.keyword, advice);
        }
        number
    }

    /// `on`, `true`, `yes` or nothing; `off`, `false`, `no`.
    pub fn switch(&self, report: &mut Report) -> Option<bool> {
        match self.word(0) {
            None | Some("on" | "true" | "yes") => Some(true),
            Some("off" | "false" | "no") => Some(false),
            Some(text) => {
                let advice = format!("{text:?} is neither on nor off, and keepalived ignores it; correct it");
                report.left(&self.place, &self.keyword, advice);
                None
            }
        }
    }
}
