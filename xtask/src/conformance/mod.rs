//! `cargo xtask conformance`: writes docs/conformance.md from the rows in docs/conformance/rows.toml and from the
//! comments in code and tests that cite them.

mod entry;
mod page;
mod rows;

use anyhow::{Context, Result};

use crate::checklist::{self, Page};
use crate::complaint::Complaint;
use crate::process::workspace;
use entry::{CitedRow, check_style, enter, lack};
use rows::ROWS;

const PAGE: Page = Page { path: "docs/conformance.md", command: "conformance" };

/// Writes the page, unless there are complaints.
pub fn run() -> Result<()> {
    let (entries, complaints) = entries()?;
    PAGE.write(&page::of(&entries), &complaints)?;
    println!("xtask conformance: wrote {} rows to {}", entries.len(), PAGE.path);
    Ok(())
}

/// Checks for `cargo xtask tidy` that each row is cited or has a deviation, and that the page is up to date.
pub fn check() -> Result<Vec<Complaint>> {
    let (entries, complaints) = entries()?;
    Ok(PAGE.check(&page::of(&entries), complaints))
}

fn entries() -> Result<(Vec<CitedRow>, Vec<Complaint>)> {
    let rows = rows::of(&checklist::read(&workspace().join(ROWS))?).with_context(|| format!("in {ROWS}"))?;
    let mut entries: Vec<CitedRow> =
        rows.into_iter().map(|row| CitedRow { row, code: Vec::new(), tests: Vec::new() }).collect();
    let mut complaints = Vec::new();
    for citation in checklist::citations("conformance")? {
        if let Err(what) = check_style(&citation).and_then(|()| enter(&mut entries, citation.clone())) {
            complaints.push(Complaint { path: citation.place.path, line: citation.line, what });
        }
    }
    complaints.extend(entries.iter().filter_map(lack));
    Ok((entries, complaints))
}
