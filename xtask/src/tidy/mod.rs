//! `cargo xtask tidy`: checks the rules of ARCHITECTURE.md that no compiler checks.

mod circles;
mod imports;
mod layers;
mod paths;
mod text;
mod width;

use std::path::Path;
use std::{env, fs};

use anyhow::{Result, bail};

use crate::process::workspace;
use crate::{conformance, files, parity};

pub fn run() -> Result<()> {
    let machine = directories_of_this_machine();
    let mut complaints = Vec::new();
    let mut sources = Vec::new();
    for file in files::below(workspace())? {
        // Files that are not text are skipped.
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let path = file.strip_prefix(workspace())?.to_string_lossy().into_owned();
        complaints.extend(text::check(&path, &text, &machine));
        complaints.extend(width::check(&path, &text));
        if path.ends_with(".rs") {
            let lines = text.lines().count();
            if (text::LONG..=text::TOO_LONG).contains(&lines) {
                println!("xtask tidy: {path} has {lines} lines: consider splitting it by subject");
            }
            sources.push((path, text));
        }
    }
    let imports = imports::of(&sources)?;
    complaints.extend(circles::check(&imports));
    complaints.extend(layers::check(&sources, &imports)?);
    complaints.extend(conformance::check()?);
    complaints.extend(parity::check()?);
    if complaints.is_empty() {
        println!("xtask tidy: no complaints");
        return Ok(());
    }
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    bail!("{} complaints", complaints.len());
}

/// Returns the directories of the workspace and of its user. A directory at the root, as in a container, is left out,
/// because its name is too common.
fn directories_of_this_machine() -> Vec<String> {
    let home = env::var("HOME").unwrap_or_default();
    let directories = [workspace().to_string_lossy().into_owned(), format!("{home}/.cargo"), format!("{home}/.rustup")];
    directories.into_iter().filter(|directory| Path::new(directory).components().count() > 2).collect()
}
