//! Finds the kernel half, which `cargo xtask build` compiles, so that the agent can carry it inside.

use std::path::Path;
use std::time::SystemTime;
use std::{env, fs};

/// Names another object than the workspace's own, and hands its path to the source.
const OBJECT: &str = "XVRRP_EBPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={OBJECT}");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate lies two folders below the workspace");
    let given = env::var_os(OBJECT);
    let object = workspace.join(given.as_ref().map_or(Path::new("target/bpf/xvrrp-ebpf"), Path::new));
    println!("cargo::rerun-if-changed={}", object.display());
    let Ok(built) = fs::metadata(&object).and_then(|metadata| metadata.modified()) else {
        println!("cargo::error={} is missing: run `cargo xtask build`, which compiles it", object.display());
        return;
    };
    // Whoever names an object knows how old it is.
    if given.is_none() {
        warn_of_newer_sources(workspace, built);
    }
    println!("cargo::rustc-env={OBJECT}={}", object.display());
}

fn warn_of_newer_sources(workspace: &Path, built: SystemTime) {
    for source in ["ebpf", "common"].map(|directory| workspace.join(directory)) {
        println!("cargo::rerun-if-changed={}", source.display());
        if newest(&source).is_some_and(|changed| changed > built) {
            println!("cargo::warning={} is newer than the BPF object: run `cargo xtask build`", source.display());
        }
    }
}

/// When the latest change below `path` was made.
fn newest(path: &Path) -> Option<SystemTime> {
    let metadata = fs::metadata(path).ok()?;
    if metadata.is_file() {
        return metadata.modified().ok();
    }
    fs::read_dir(path).ok()?.flatten().filter_map(|entry| newest(&entry.path())).max()
}
