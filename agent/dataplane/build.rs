//! Finds the kernel half, which `cargo xtask build` compiles, so that the agent can contain it.

use std::path::Path;
use std::time::SystemTime;
use std::{env, fs};

/// Environment variable that names another object than the workspace's own. The source code reads the path of the
/// object from it.
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
    // An object that was named on purpose may be older than the sources.
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

/// Returns the time of the latest change at or below `path`.
fn newest(path: &Path) -> Option<SystemTime> {
    let metadata = fs::metadata(path).ok()?;
    if metadata.is_file() {
        return metadata.modified().ok();
    }
    fs::read_dir(path).ok()?.flatten().filter_map(|entry| newest(&entry.path())).max()
}
