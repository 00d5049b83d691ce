//! `cargo xtask conformance`: writes docs/conformance.md from the rows in docs/conformance/rows.toml and from the
//! comments in code and tests that cite them.

mod citations;
mod page;
mod rows;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::complaint::Complaint;
use crate::files;
use crate::process::workspace;
use citations::{Citation, Place};
use rows::Row;

const ROWS: &str = "docs/conformance/rows.toml";
const PAGE: &str = "docs/conformance.md";

/// A row of the checklist with the places that cite it, in the order of their files.
struct Entry {
    row: Row,
    code: Vec<Place>,
    tests: Vec<Place>,
}

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

fn entries() -> Result<(Vec<Entry>, Vec<Complaint>)> {
    let rows = rows::of(&read(&workspace().join(ROWS))?).with_context(|| format!("in {ROWS}"))?;
    let mut entries: Vec<Entry> =
        rows.into_iter().map(|row| Entry { row, code: Vec::new(), tests: Vec::new() }).collect();
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

/// Checks that the requirement stands beside its number. For a test, the name and the assertions say it.
fn check_style(citation: &Citation) -> Result<(), String> {
    if citation.is_bare && !citation.is_test {
        return Err(format!("the number alone says nothing: quote the requirement of row {} beside it", citation.row));
    }
    Ok(())
}

fn enter(entries: &mut [Entry], citation: Citation) -> Result<(), String> {
    let Some(entry) = entries.iter_mut().find(|entry| entry.row.id == citation.row) else {
        return Err(format!("there is no row {} in {ROWS}", citation.row));
    };
    let places = if citation.is_test { &mut entry.tests } else { &mut entry.code };
    if !places.contains(&citation.place) {
        places.push(citation.place);
    }
    Ok(())
}

/// Returns a complaint if a row lacks a citation in code or tests, and has no deviation.
fn lack(entry: &Entry) -> Option<Complaint> {
    let row = &entry.row;
    let what = match (entry.code.is_empty(), entry.tests.is_empty()) {
        _ if row.deviation.is_some() => return None,
        (false, false) => return None,
        (true, _) => "is not cited in code, and has no deviation",
        (false, true) => "is not cited in a test, and has no deviation",
    };
    Some(Complaint { path: ROWS.to_owned(), line: row.line, what: format!("row {} {what}", row.id) })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(row: &str, code: bool, test: bool) -> Entry {
        let text =
            format!("[[part]]\ntitle = \"Part\"\n[[part.row]]\nid = 7\nrequirement = \"R\"\nsection = \"1\"\n{row}");
        let row = rows::of(&text).expect("the snippet is valid").remove(0);
        let place = || vec![Place { path: "a.rs".to_owned(), item: None }];
        Entry { row, code: if code { place() } else { Vec::new() }, tests: if test { place() } else { Vec::new() } }
    }

    #[test]
    fn a_row_needs_code_and_a_test_or_a_deviation() {
        let complaint = |row, code, test| lack(&entry(row, code, test)).map(|complaint| complaint.what);
        assert_eq!(complaint("", true, true), None);
        assert_eq!(complaint("", false, true).as_deref(), Some("row 7 is not cited in code, and has no deviation"));
        assert_eq!(complaint("", true, false).as_deref(), Some("row 7 is not cited in a test, and has no deviation"));
        assert_eq!(complaint("deviation = \"not implemented\"", false, false), None);
    }

    fn citation(row: u32, is_test: bool, is_bare: bool) -> Citation {
        Citation { row, line: 1, is_test, is_bare, place: Place { path: "a.rs".to_owned(), item: None } }
    }

    #[test]
    fn code_quotes_the_requirement_beside_its_number() {
        assert!(check_style(&citation(7, false, true)).is_err());
        assert!(check_style(&citation(7, false, false)).is_ok());
        assert!(check_style(&citation(7, true, true)).is_ok());
    }

    #[test]
    fn a_row_that_does_not_exist_cannot_be_cited() {
        let citation = |row| citation(row, false, false);
        let mut entries = [entry("", false, false)];
        assert!(enter(&mut entries, citation(7)).is_ok());
        assert!(enter(&mut entries, citation(8)).is_err());
        assert_eq!(entries[0].code.len(), 1);
    }
}
