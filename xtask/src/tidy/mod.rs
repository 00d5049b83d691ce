//! `cargo xtask tidy`: the rules of ARCHITECTURE.md that no compiler checks.

mod manifests;
mod mentions;
mod rules;
mod text;

use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use anyhow::{Context, Result, bail};

use crate::conformance;
use crate::process::workspace;

#[derive(Debug, PartialEq, Eq)]
pub struct Complaint {
    pub path: String,
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.what)
    }
}

pub fn run() -> Result<()> {
    let crates = manifests::crates(&fs::read_to_string(workspace().join("Cargo.toml"))?)?;
    let machine = directories_of_this_machine();
    let mut complaints = Vec::new();
    for file in files(workspace())? {
        // What is no text is not ours to judge.
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let path = file.strip_prefix(workspace())?.to_string_lossy().into_owned();
        complaints.extend(text::check(&path, &text, &machine));
        complaints.extend(manifests::check(&path, &text)?);
        if path.ends_with(".rs") {
            complaints.extend(rules::check(&path, &mentions::of(&path, &text)?, &crates));
            let lines = text.lines().count();
            if (text::LONG..=text::TOO_LONG).contains(&lines) {
                println!("xtask tidy: {path} has {lines} lines: look for two subjects in it");
            }
        }
    }
    complaints.extend(conformance::check()?);
    if complaints.is_empty() {
        println!("xtask tidy: no complaints");
        return Ok(());
    }
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    bail!("{} complaints", complaints.len());
}

/// Where the workspace and its user live; a directory at the root, as in a container, is too common a name to tell.
fn directories_of_this_machine() -> Vec<String> {
    let home = env::var("HOME").unwrap_or_default();
    let directories = [workspace().to_string_lossy().into_owned(), format!("{home}/.cargo"), format!("{home}/.rustup")];
    directories.into_iter().filter(|directory| Path::new(directory).components().count() > 2).collect()
}

/// Every file below a directory.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))?;
        for entry in entries {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                files.push(entry.path());
            } else if entry.file_name() != "target" && entry.file_name() != ".git" {
                directories.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}
