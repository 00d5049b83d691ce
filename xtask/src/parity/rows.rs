//! Reads the answers about directives that the import converts, docs/keepalived-parity/rows.toml.

use anyhow::{Context, Result, ensure};
use toml::{Table, Value};

use crate::checklist::{CitingItem, array, check_order, id, line_of, string};
use crate::complaint::Complaint;

/// Path of the rows in the workspace.
pub const ROWS: &str = "docs/keepalived-parity/rows.toml";

/// What a row can say.
const ANSWERS: &[&str] = &["taken over", "changed", "needs nothing", "left out"];

#[derive(Debug)]
pub struct Row {
    pub id: u32,
    /// Number of the line in the file.
    pub line: usize,
    pub part: String,
    /// Block that the directives stand in, or `-`.
    pub block: String,
    pub directives: Vec<String>,
    pub answer: String,
    pub how: String,
}

/// A row with the tests that cite it, in the order of their files.
pub struct ParityRow {
    pub row: Row,
    pub tests: Vec<CitingItem>,
}

impl Row {
    pub fn complaint(&self, what: &str) -> Complaint {
        Complaint { path: ROWS.to_owned(), line: self.line, what: format!("row {} {what}", self.id) }
    }
}

pub fn of(text: &str) -> Result<Vec<Row>> {
    let table: Table = text.parse()?;
    let mut rows = Vec::new();
    for part in array(&table, "part")? {
        let (title, block) = (string(part, "title")?, string(part, "block")?);
        for row in array(part, "row").with_context(|| format!("part \"{title}\""))? {
            rows.push(self::row(row, &title, &block, text)?);
        }
    }
    check_order(&rows.iter().map(|row| row.id).collect::<Vec<_>>())?;
    Ok(rows)
}

fn row(row: &Table, part: &str, block: &str, text: &str) -> Result<Row> {
    let id = id(row)?;
    let place = || format!("row {id}");
    let directives = row.get("directives").and_then(Value::as_array).context("directives is missing");
    let directives = directives.with_context(place)?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let answer = string(row, "answer").with_context(place)?;
    ensure!(ANSWERS.contains(&answer.as_str()), "row {id}: \"{answer}\" is none of {ANSWERS:?}");
    Ok(Row {
        id,
        line: line_of(text, id),
        part: part.to_owned(),
        block: block.to_owned(),
        directives,
        answer,
        how: string(row, "how").with_context(place)?,
    })
}
