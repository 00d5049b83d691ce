//! `cargo xtask parity`: writes docs/keepalived-parity.md from the rows in docs/keepalived-parity/rows.toml, the
//! import's own list of directives in docs/keepalived-parity/directives.txt, and the comments in tests that cite the
//! rows.

mod directives;
mod page;
mod rows;

use anyhow::{Context, Result};

use crate::checklist::{self, Citation, Page};
use crate::complaint::Complaint;
use crate::process::{cargo, check as check_status, workspace};
use directives::{DIRECTIVES, Directive};
use rows::{ParityRow, ROWS, Row};

const PAGE: Page = Page { path: "docs/keepalived-parity.md", command: "parity" };

/// Records the list of directives, and writes the page, unless there are complaints.
pub fn run() -> Result<()> {
    let mut test = cargo();
    test.args(["test", "--quiet", "--package", "xvrrp-import", "--lib", "catalogue::"]).env("XVRRP_RECORD", "1");
    check_status(&mut test)?;
    let (entries, directives, complaints) = entries()?;
    PAGE.write(&page::of(&entries, &directives), &complaints)?;
    println!("xtask parity: wrote {} directives to {}", directives.len(), PAGE.path);
    Ok(())
}

/// Checks for `cargo xtask tidy` that each directive has an answer, each row is cited in a test, and the page is up to
/// date. A test of the import checks that the list of directives is.
pub fn check() -> Result<Vec<Complaint>> {
    let (entries, directives, complaints) = entries()?;
    Ok(PAGE.check(&page::of(&entries, &directives), complaints))
}

fn entries() -> Result<(Vec<ParityRow>, Vec<Directive>, Vec<Complaint>)> {
    let rows = rows::of(&checklist::read(&workspace().join(ROWS))?).with_context(|| format!("in {ROWS}"))?;
    let directives =
        directives::of(&checklist::read(&workspace().join(DIRECTIVES))?).with_context(|| format!("in {DIRECTIVES}"))?;
    let mut complaints = compare(&rows, &directives);
    let mut entries: Vec<ParityRow> = rows.into_iter().map(|row| ParityRow { row, tests: Vec::new() }).collect();
    for citation in checklist::citations("parity")? {
        if let Err(what) = enter(&mut entries, &citation) {
            complaints.push(Complaint { path: citation.place.path, line: citation.line, what });
        }
    }
    for ParityRow { row, .. } in entries.iter().filter(|entry| entry.tests.is_empty()) {
        complaints.push(row.complaint("is not cited in a test"));
    }
    Ok((entries, directives, complaints))
}

fn enter(entries: &mut [ParityRow], citation: &Citation) -> Result<(), String> {
    if !citation.is_test {
        return Err(format!("only tests cite rows of {ROWS}"));
    }
    let Some(entry) = entries.iter_mut().find(|entry| entry.row.id == citation.row) else {
        return Err(format!("there is no row {} in {ROWS}", citation.row));
    };
    if !entry.tests.contains(&citation.place) {
        entry.tests.push(citation.place.clone());
    }
    Ok(())
}

/// Returns a complaint for each directive that the import reads and no row has, or several have, and for each that only
/// a row has.
fn compare(rows: &[Row], directives: &[Directive]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for directive in directives {
        let Directive { block, keyword, is_read, line, .. } = directive;
        let count = rows.iter().filter(|row| row.block == *block && row.directives.contains(keyword)).count();
        let what = match (is_read, count) {
            (true, 1) | (false, 0) => continue,
            (true, 0) => format!("{keyword} has no row in {ROWS}"),
            (true, _) => format!("{keyword} has {count} rows in {ROWS}"),
            (false, _) => format!("{keyword} is not converted, but has a row in {ROWS}"),
        };
        complaints.push(Complaint { path: DIRECTIVES.to_owned(), line: *line, what });
    }
    for row in rows.iter().filter(|row| directives.iter().any(|directive| directive.block == row.block)) {
        let is_known = |keyword: &&String| {
            directives.iter().any(|directive| directive.block == row.block && directive.keyword == **keyword)
        };
        for keyword in row.directives.iter().filter(|keyword| !is_known(keyword)) {
            complaints.push(row.complaint(&format!("names {keyword}, which the import does not know there")));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checklist::CitingItem;

    fn rows(text: &str) -> Vec<Row> {
        let text = format!("[[part]]\ntitle = \"Part\"\nblock = \"b\"\n{text}");
        rows::of(&text).expect("the snippet is valid")
    }

    fn row(id: u32, directives: &str) -> String {
        format!("[[part.row]]\nid = {id}\ndirectives = [{directives}]\nanswer = \"taken over\"\nhow = \"key\"\n")
    }

    #[test]
    fn each_directive_that_is_read_has_exactly_one_row() {
        let directives = directives::of("b x read\nb y read\nb z note why\n").expect("the list is valid");
        let complaints = |text: &str| {
            let complaints = compare(&rows(text), &directives);
            complaints.into_iter().map(|complaint| complaint.what).collect::<Vec<_>>()
        };
        assert_eq!(complaints(&row(1, "\"x\", \"y\"")), [""; 0]);
        assert_eq!(complaints(&row(1, "\"x\"")), [format!("y has no row in {ROWS}")]);
        assert_eq!(complaints(&(row(1, "\"x\", \"y\"") + &row(2, "\"y\""))), [format!("y has 2 rows in {ROWS}")]);
        assert_eq!(
            complaints(&row(1, "\"x\", \"y\", \"z\"")),
            [format!("z is not converted, but has a row in {ROWS}")]
        );
        assert_eq!(complaints(&row(7, "\"x\", \"y\", \"w\"")), ["row 7 names w, which the import does not know there"]);
    }

    #[test]
    fn only_tests_cite_rows() {
        let mut entries: Vec<ParityRow> =
            rows(&row(7, "\"x\"")).into_iter().map(|row| ParityRow { row, tests: Vec::new() }).collect();
        let place = CitingItem { path: "a.rs".to_owned(), item: None };
        let citation = |row, is_test| Citation { row, line: 1, is_test, is_bare: true, place: place.clone() };
        assert!(enter(&mut entries, &citation(7, false)).is_err());
        assert!(enter(&mut entries, &citation(8, true)).is_err());
        assert!(enter(&mut entries, &citation(7, true)).is_ok());
        assert_eq!(entries[0].tests.len(), 1);
    }
}
