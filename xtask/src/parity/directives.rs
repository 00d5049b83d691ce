//! Reads the import's own list of directives, docs/keepalived-parity/directives.txt.

use anyhow::{Context, Result, bail};

/// Path of the list in the workspace.
pub const DIRECTIVES: &str = "docs/keepalived-parity/directives.txt";

/// A directive that the import knows.
#[derive(Debug)]
pub struct Directive {
    /// Block that it stands in, or `-`.
    pub block: String,
    pub keyword: String,
    /// Whether the import converts it, and a row says how.
    pub is_read: bool,
    /// What becomes of it otherwise; `None` if it shares the lot of its block.
    pub lot: Option<Lot>,
    /// Number of the line in the file.
    pub line: usize,
}

/// What becomes of a directive that the import does not convert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lot {
    /// It needs nothing, because of this.
    Nothing(String),
    /// xvrrp differs in this way.
    Changed(String),
    /// It is left out, with this advice.
    LeftOut(String),
}

pub fn of(text: &str) -> Result<Vec<Directive>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
    lines.map(|(index, line)| directive(line, index + 1).with_context(|| format!("line {}", index + 1))).collect()
}

fn directive(text: &str, line: usize) -> Result<Directive> {
    let mut words = text.splitn(4, ' ');
    let mut word = || words.next().context("a word is missing");
    let (block, keyword, answer) = (word()?.to_owned(), word()?.to_owned(), word()?);
    let reason = words.next().map(str::to_owned);
    let (is_read, lot) = match (answer, reason) {
        ("read", None) => (true, None),
        ("block", None) => (false, None),
        ("note", Some(why)) => (false, Some(Lot::Nothing(why))),
        ("change", Some(difference)) => (false, Some(Lot::Changed(difference))),
        ("advise", Some(advice)) => (false, Some(Lot::LeftOut(advice))),
        _ => bail!("\"{text}\" is not an entry"),
    };
    Ok(Directive { block, keyword, is_read, lot, line })
}
