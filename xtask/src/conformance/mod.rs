//! `cargo xtask conformance`: writes docs/conformance.md from the rows in docs/conformance/rows.toml and from the
//! comments in code and tests that cite them.

mod citations;
mod entry;
mod page;
mod rows;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::complaint::Complaint;
use crate::files;
use crate::process::workspace;
use entry::{CitedRow, check_style, enter, lack};
use rows::ROWS;

const PAGE: &str = "docs/conformance.md";

/// Writes the page, unless there are complaints.
pub fn run() -> Result<()> {
    let (entries, complaints) = entries()?;
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    if !complaints.is_empty() {
        bail!("{} complaints; {PAGE} was not written", complaints.len());
    }
    let path = workspace().join(PAGE);
    fs::write(&path, page::of(&entries)).with_context(|| format!("cannot write {}", path.display()))?;
    println!("xtask conformance: wrote {} rows to {PAGE}", entries.len());
    Ok(())
}

/// Checks for `cargo xtask tidy` that each row is cited or has a deviation, and that the page is up to date.
pub fn check() -> Result<Vec<Complaint>> {
    let (entries, mut complaints) = entries()?;
    let current = fs::read_to_string(workspace().join(PAGE)).unwrap_or_default();
    if complaints.is_empty() && current != page::of(&entries) {
        let what = "does not match the citations in code and tests: run `cargo xtask conformance`".to_owned();
        complaints.push(Complaint { path: PAGE.to_owned(), line: 1, what });
    }
    Ok(complaints)
}

fn entries() -> Result<(Vec<CitedRow>, Vec<Complaint>)> {
    let rows = rows::of(&read(&workspace().join(ROWS))?).with_context(|| format!("in {ROWS}"))?;
    let mut entries: Vec<CitedRow> =
        rows.into_iter().map(|row| CitedRow { row, code: Vec::new(), tests: Vec::new() }).collect();
    let mut complaints = Vec::new();
    for (path, text) in sources()? {
        for citation in citations::of(&path, &text) {
            if let Err(what) = check_style(&citation).and_then(|()| enter(&mut entries, citation.clone())) {
                complaints.push(Complaint { path: path.clone(), line: citation.line, what });
            }
        }
    }
    complaints.extend(entries.iter().filter_map(lack));
    Ok((entries, complaints))
}

/// Reads every source that may cite rows, with its path in the workspace.
fn sources() -> Result<Vec<(String, String)>> {
    let mut sources = Vec::new();
    for directory in ["agent", "common", "ebpf", "tests"] {
        for file in files::below(&workspace().join(directory))? {
            if file.extension().is_some_and(|extension| extension == "rs") {
                let path = file.strip_prefix(workspace())?.to_string_lossy().into_owned();
                sources.push((path, read(&file)?));
            }
        }
    }
    Ok(sources)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
