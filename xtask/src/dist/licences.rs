//! The licences of third-party code in the binary.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{cargo, output};

/// Packages of the workspace that the binary consists of: the agent, and the kernel half in it.
const ROOTS: [&str; 2] = ["xvrrp", "xvrrp-ebpf"];

/// Lists every crate with its licence, then each text once, with the crates that it belongs to.
pub fn list() -> Result<String> {
    let metadata = output(cargo().args(["metadata", "--format-version", "1", "--locked"])).context("cargo metadata")?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata")?;
    let packages: BTreeMap<&str, &Value> =
        array(&metadata["packages"]).filter_map(|package| Some((package["id"].as_str()?, package))).collect();
    let mut list =
        "xvrrp is linked with these crates, and with Rust's standard library (MIT OR Apache-2.0).\n\n".to_owned();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for id in linked(&metadata, &packages) {
        let package = packages.get(id).with_context(|| format!("cargo metadata has no {id}"))?;
        // Our own crates have the licences of this repository.
        if package["source"].is_null() {
            continue;
        }
        let word = |key: &str| package[key].as_str().unwrap_or("see below").to_owned();
        let name = format!("{} {}", word("name"), word("version"));
        let authors: Vec<&str> = array(&package["authors"]).filter_map(Value::as_str).collect();
        writeln!(list, "{name}: {}; {}; {}", word("license"), word("repository"), authors.join(", "))?;
        let manifest = word("manifest_path");
        for text in texts_in(Path::new(&manifest).parent().context("a manifest has a directory")?)? {
            texts.entry(text).or_default().insert(name.clone());
        }
    }
    for (text, names) in texts {
        let names: Vec<String> = names.into_iter().collect();
        write!(list, "\n{}\n{}:\n\n{}\n", "-".repeat(80), names.join(", "), text.trim_end())?;
    }
    Ok(list)
}

/// Returns the ids of all crates that are linked into the binary, without build and test dependencies and without
/// procedural macros.
fn linked<'a>(metadata: &'a Value, packages: &BTreeMap<&str, &'a Value>) -> BTreeSet<&'a str> {
    let nodes: BTreeMap<&str, &Value> =
        array(&metadata["resolve"]["nodes"]).filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let is_root = |package: &Value| package["source"].is_null() && ROOTS.iter().any(|root| package["name"] == *root);
    let mut waiting: Vec<&str> =
        packages.values().filter(|package| is_root(package)).filter_map(|package| package["id"].as_str()).collect();
    let mut found = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        let is_macro = packages.get(id).is_some_and(|package| {
            array(&package["targets"]).any(|target| array(&target["kind"]).any(|kind| kind == "proc-macro"))
        });
        if is_macro || !found.insert(id) {
            continue;
        }
        let node = nodes.get(id).copied().unwrap_or(&Value::Null);
        let normal = |dependency: &&Value| array(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null());
        waiting.extend(array(&node["deps"]).filter(normal).filter_map(|dependency| dependency["pkg"].as_str()));
    }
    found
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Reads the licences and notices in a crate's directory.
fn texts_in(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    let is_licence = |path: &&std::path::PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"].iter().any(|word| name.starts_with(word))
    };
    Ok(paths.iter().filter(is_licence).filter_map(|path| fs::read_to_string(path).ok()).collect())
}
