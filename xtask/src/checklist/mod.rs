//! What docs/conformance.md and docs/keepalived-parity.md have in common. Each is a page made from rows in a TOML file
//! and from the comments in code and tests that cite these rows by number.

mod citations;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

use crate::complaint::Complaint;
use crate::files;
use crate::process::workspace;

pub use citations::{Citation, CitingItem};

/// A generated page.
pub struct Page {
    /// Path in the workspace.
    pub path: &'static str,
    /// Subcommand of `cargo xtask` that writes it.
    pub command: &'static str,
}

impl Page {
    /// Writes the page, unless there are complaints.
    pub fn write(&self, text: &str, complaints: &[Complaint]) -> Result<()> {
        for complaint in complaints {
            eprintln!("{complaint}");
        }
        if !complaints.is_empty() {
            bail!("{} complaints; {} was not written", complaints.len(), self.path);
        }
        let path = workspace().join(self.path);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Checks for `cargo xtask tidy` that there are no complaints, and that the page is up to date.
    pub fn check(&self, text: &str, mut complaints: Vec<Complaint>) -> Vec<Complaint> {
        let current = fs::read_to_string(workspace().join(self.path)).unwrap_or_default();
        if complaints.is_empty() && current != text {
            let what = format!("does not match what it is made from: run `cargo xtask {}`", self.command);
            complaints.push(Complaint { path: self.path.to_owned(), line: 1, what });
        }
        complaints
    }
}

/// Returns every citation in the sources.
pub fn citations(mark: &str) -> Result<Vec<Citation>> {
    let mut citations = Vec::new();
    for directory in ["agent", "common", "ebpf", "tests"] {
        for file in files::below(&workspace().join(directory))? {
            if file.extension().is_some_and(|extension| extension == "rs") {
                let path = file.strip_prefix(workspace())?.to_string_lossy().into_owned();
                citations.extend(citations::of(mark, &path, &read(&file)?));
            }
        }
    }
    Ok(citations)
}

/// Reads a file of the workspace.
pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Formats places as the cell of a table.
pub fn cell(places: &[CitingItem]) -> String {
    let cells: Vec<String> = places.iter().map(place).collect();
    cells.join("<br>")
}

fn place(CitingItem { path, item }: &CitingItem) -> String {
    let file = path.replace("/src/", "/");
    match item {
        Some(item) => format!("[{file}](../{path}): `{item}`"),
        None => format!("[{file}](../{path})"),
    }
}

/// Reads `id` of a row.
pub fn id(row: &Table) -> Result<u32> {
    let id = row.get("id").and_then(Value::as_integer).context("a row has no id")?;
    Ok(u32::try_from(id)?)
}

/// Returns the number of the line that has an id.
pub fn line_of(text: &str, id: u32) -> usize {
    text.lines().position(|line| line == format!("id = {id}")).map_or(1, |index| index + 1)
}

/// Checks that ids ascend.
pub fn check_order(ids: &[u32]) -> Result<()> {
    match ids.windows(2).find(|pair| pair[0] >= pair[1]) {
        Some(pair) => bail!("row {} comes after row {}, but ids must ascend", pair[1], pair[0]),
        None => Ok(()),
    }
}

/// Reads an array of tables.
pub fn array<'a>(table: &'a Table, key: &str) -> Result<Vec<&'a Table>> {
    let array = table.get(key).and_then(Value::as_array).with_context(|| format!("there is no [[{key}]]"))?;
    Ok(array.iter().filter_map(Value::as_table).collect())
}

/// Reads a string.
pub fn string(table: &Table, key: &str) -> Result<String> {
    let string = table.get(key).and_then(Value::as_str);
    string.map(str::to_owned).with_context(|| format!("{key} is missing"))
}
