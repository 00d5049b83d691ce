//! `cargo xtask fuzz`: the wire decoders under cargo-fuzz, one after the other.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::build;
use crate::process::{cargo, check, output, workspace};

/// Longer inputs only repeat what is in shorter ones, and make the corpus big.
const MOST_BYTES: &str = "-max_len=160";

/// Each of the targets, or all, for so many seconds. With `keep`, what was found goes into the corpus that is committed, which
/// is reduced to the smallest inputs that reach as much.
pub fn run(seconds: u32, keep: bool, targets: &[String]) -> Result<()> {
    if output(cargo().args(["fuzz", "--version"])).is_none() {
        bail!("cargo-fuzz is missing: `cargo install cargo-fuzz --locked`");
    }
    let all = output(cargo().args(["fuzz", "list"])).context("cargo-fuzz finds no targets in fuzz/")?;
    let all: Vec<&str> = all.lines().collect();
    if let Some(unknown) = targets.iter().find(|target| !all.contains(&target.as_str())) {
        bail!("there is no target {unknown}; there are {}", all.join(", "));
    }
    for target in all.into_iter().filter(|target| targets.is_empty() || targets.iter().any(|named| named == target)) {
        let found = &build::target_directory().join("fuzz/corpus").join(target);
        let committed = &workspace().join("fuzz/corpus").join(target);
        make(found)?;
        make(committed)?;
        println!("xtask fuzz: {target} for {seconds} s; what is new goes to {}", found.display());
        fuzz(target, &[found, committed], &[&format!("-max_total_time={seconds}"), MOST_BYTES])?;
        if keep {
            let smallest = &build::target_directory().join("fuzz/smallest").join(target);
            make_empty(smallest)?;
            fuzz(target, &[smallest, found, committed], &["-merge=1", MOST_BYTES])?;
            replace(committed, smallest)?;
        }
    }
    Ok(())
}

/// The sanitizers want a nightly compiler, and there is nothing for them to find: the decoders have no `unsafe`. Without one a
/// stable compiler does.
fn fuzz(target: &str, corpora: &[&Path], options: &[&str]) -> Result<()> {
    let mut command = cargo();
    command.args(["fuzz", "run", "--sanitizer", "none", "--target-dir"]);
    command.arg(build::target_directory().join("fuzz/build")).arg(target).args(corpora);
    check(command.arg("--").args(options))
}

fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))
}

fn make_empty(directory: &Path) -> Result<()> {
    make(directory)?;
    fs::remove_dir_all(directory)?;
    make(directory)
}

/// The files of one directory take the place of another one's.
fn replace(directory: &Path, with: &Path) -> Result<()> {
    make_empty(directory)?;
    let mut count = 0;
    for entry in fs::read_dir(with)? {
        let entry = entry?;
        fs::copy(entry.path(), directory.join(entry.file_name()))?;
        count += 1;
    }
    println!("xtask fuzz: {count} inputs in {}", directory.display());
    Ok(())
}
