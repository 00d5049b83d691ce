//! A row of the checklist with the places that cite it, and what is wrong with a row or a citation.

use super::rows::{ROWS, Row};
use crate::checklist::{Citation, CitingItem};
use crate::complaint::Complaint;

/// A row of the checklist with the places that cite it, in the order of their files.
pub struct CitedRow {
    pub row: Row,
    pub code: Vec<CitingItem>,
    pub tests: Vec<CitingItem>,
}

/// Checks that the requirement stands beside its number. For a test, the name and the assertions say it.
pub fn check_style(citation: &Citation) -> Result<(), String> {
    if citation.is_bare && !citation.is_test {
        return Err(format!("the number alone says nothing: quote the requirement of row {} beside it", citation.row));
    }
    Ok(())
}

pub fn enter(entries: &mut [CitedRow], citation: Citation) -> Result<(), String> {
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
pub fn lack(entry: &CitedRow) -> Option<Complaint> {
    let row = &entry.row;
    let what = match (entry.code.is_empty(), entry.tests.is_empty()) {
        _ if row.deviation.is_some() => return None,
        (false, false) => return None,
        (true, _) => "is not cited in code, and has no deviation",
        (false, true) => "is not cited in a test, and has no deviation",
    };
    Some(Complaint { path: ROWS.to_owned(), line: row.line, what: format!("row {} {what}", row.id) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(row: &str, code: bool, test: bool) -> CitedRow {
        let text =
            format!("[[part]]\ntitle = \"Part\"\n[[part.row]]\nid = 7\nrequirement = \"R\"\nsection = \"1\"\n{row}");
        let row = crate::conformance::rows::of(&text).expect("the snippet is valid").remove(0);
        let place = || vec![CitingItem { path: "a.rs".to_owned(), item: None }];
        CitedRow { row, code: if code { place() } else { Vec::new() }, tests: if test { place() } else { Vec::new() } }
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
        Citation { row, line: 1, is_test, is_bare, place: CitingItem { path: "a.rs".to_owned(), item: None } }
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
