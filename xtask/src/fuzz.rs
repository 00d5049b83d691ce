//! `cargo xtask fuzz`: runs the wire decoders under cargo-fuzz, one after the other.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::build;
use crate::process::{cargo, check, output, workspace};

/// Option that limits the length of inputs. Longer inputs reach nothing new, and make the corpus big.
const MAX_BYTES: &str = "-max_len=160";

/// Runs these targets, or all of them, for this number of seconds each. With `keep`, adds the inputs that were found to
/// the committed corpus, which is reduced to the smallest inputs that reach as much code.
pub fn run(seconds: u32, keep: bool, targets: &[String]) -> Result<()> {
    if output(cargo().args(["fuzz", "--version"])).is_none() {
        bail!("cargo-fuzz is not installed: run `cargo install cargo-fuzz --locked`");
    }
    let all = output(cargo().args(["fuzz", "list"])).context("cargo-fuzz finds no targets in fuzz/")?;
    let all: Vec<&str> = all.lines().collect();
    if let Some(unknown) = targets.iter().find(|target| !all.contains(&target.as_str())) {
        bail!("there is no target {unknown:?}; the targets are {}", all.join(", "));
    }
    for target in all.into_iter().filter(|target| targets.is_empty() || targets.iter().any(|named| named == target)) {
        let found = &build::target_directory().join("fuzz/corpus").join(target);
        let committed = &workspace().join("fuzz/corpus").join(target);
        make(found)?;
        make(committed)?;
        println!("xtask fuzz: runs {target} for {seconds} s; new inputs go to {}", found.display());
        fuzz(target, &[found, committed], &[&format!("-max_total_time={seconds}"), MAX_BYTES])?;
        if keep {
            let smallest = &build::target_directory().join("fuzz/smallest").join(target);
            make_empty(smallest)?;
            fuzz(target, &[smallest, found, committed], &["-merge=1", MAX_BYTES])?;
            replace(committed, smallest)?;
        }
    }
    Ok(())
}

/// Runs a target without a sanitizer, so that a stable compiler suffices. A sanitizer would find nothing, because the
/// decoders contain no `unsafe` code.
fn fuzz(target: &str, corpora: &[&Path], options: &[&str]) -> Result<()> {
    let mut command = cargo();
    command.args(["fuzz", "run", "--sanitizer", "none", "--target-dir"]);
    command.arg(build::target_directory().join("fuzz/build")).arg(target).args(corpora);
    check(command.arg("--").args(options))
}

fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))
}

fn make_empty(directory: &Path) -> Result<()> {
    make(directory)?;
    fs::remove_dir_all(directory)?;
    make(directory)
}

/// Replaces the files of a directory by those of another one.
fn replace(directory: &Path, with: &Path) -> Result<()> {
    make_empty(directory)?;
    let mut count = 0;
    for entry in fs::read_dir(with)? {
        let entry = entry?;
        fs::copy(entry.path(), directory.join(entry.file_name()))?;
        count += 1;
    }
    println!("xtask fuzz: {} now has {count} inputs", directory.display());
    Ok(())
}
