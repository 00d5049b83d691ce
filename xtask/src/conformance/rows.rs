//! Reads the checklist, docs/conformance/rows.toml.

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

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
            let id = row.get("id").and_then(Value::as_integer).context("a row has no id")?;
            let id = u32::try_from(id)?;
            let row = Row {
                id,
                line: text.lines().position(|line| line == format!("id = {id}")).map_or(1, |index| index + 1),
                part: title.clone(),
                requirement: string(row, "requirement").with_context(|| format!("row {id}"))?,
                section: string(row, "section").with_context(|| format!("row {id}"))?,
                deviation: string(row, "deviation").ok(),
            };
            rows.push(row);
        }
    }
    if let Some(pair) = rows.windows(2).find(|pair| pair[0].id >= pair[1].id) {
        bail!("row {} comes after row {}, but ids must ascend", pair[1].id, pair[0].id);
    }
    Ok(rows)
}

fn array<'a>(table: &'a Table, key: &str) -> Result<Vec<&'a Table>> {
    let array = table.get(key).and_then(Value::as_array).with_context(|| format!("there is no [[{key}]]"))?;
    Ok(array.iter().filter_map(Value::as_table).collect())
}

fn string(table: &Table, key: &str) -> Result<String> {
    let string = table.get(key).and_then(Value::as_str);
    string.map(str::to_owned).with_context(|| format!("{key} is missing"))
}
