//! Reads the checklist, docs/conformance/rows.toml.

use anyhow::{Context, Result};
use toml::Table;

use crate::checklist::{array, check_order, id, line_of, string};

/// Path of the checklist in the workspace.
pub const ROWS: &str = "docs/conformance/rows.toml";

#[derive(Debug)]
pub struct Row {
    pub id: u32,
    /// Number of the line in the file.
    pub line: usize,
    pub part: String,
    pub requirement: String,
    pub section: String,
    /// Difference between xvrrp and the requirement, with the reason.
    pub deviation: Option<String>,
}

pub fn of(text: &str) -> Result<Vec<Row>> {
    let table: Table = text.parse()?;
    let mut rows = Vec::new();
    for part in array(&table, "part")? {
        let title = string(part, "title")?;
        for row in array(part, "row").with_context(|| format!("part \"{title}\""))? {
            let id = id(row)?;
            let row = Row {
                id,
                line: line_of(text, id),
                part: title.clone(),
                requirement: string(row, "requirement").with_context(|| format!("row {id}"))?,
                section: string(row, "section").with_context(|| format!("row {id}"))?,
                deviation: string(row, "deviation").ok(),
            };
            rows.push(row);
        }
    }
    check_order(&rows.iter().map(|row| row.id).collect::<Vec<_>>())?;
    Ok(rows)
}
