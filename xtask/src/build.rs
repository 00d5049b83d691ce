//! `cargo xtask build`: the kernel half, then the agent that carries it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs};

use anyhow::{Context, Result};

use crate::process::{cargo, check, workspace};
use crate::toolchain;

/// What every build for this host selects. The features of a dependency are those that all selected packages ask for: with
/// another selection it would be compiled again. The kernel half has no tests of its own: `tests/` feeds it frames.
pub const WORKSPACE: &[&str] = &["--workspace", "--exclude", "xvrrp-ebpf"];

/// The profile of the tests and of the demo, or the one that is measured and packaged.
#[derive(Clone, Copy, Debug)]
pub enum Profile {
    Dev,
    Release,
}

/// Builds the kernel half and these programs; the directory that they are in.
pub fn run(profile: Profile, programs: &[&str]) -> Result<PathBuf> {
    kernel_half()?;
    let mut build = cargo();
    build.arg("build").args(WORKSPACE).args(programs.iter().flat_map(|program| ["--bin", program]));
    if matches!(profile, Profile::Release) {
        build.arg("--release");
    }
    check(&mut build)?;
    Ok(profile.directory())
}

impl Profile {
    /// Where cargo puts what it builds.
    pub fn directory(self) -> PathBuf {
        target_directory().join(match self {
            Self::Dev => "debug",
            Self::Release => "release",
        })
    }
}

/// Compiles `ebpf/` to `target/bpf/xvrrp-ebpf`, where the agent's build looks for it.
pub fn kernel_half() -> Result<()> {
    let compiler = toolchain::compiler().context("there is no BPF compiler: run `cargo xtask setup`")?;
    let workspace = workspace();
    // Apart from the host's objects: the two compilers differ, and a cargo that waits for this one holds that lock.
    let target = workspace.join("target/bpf-build");
    let mut build = compiler.cargo();
    build.args(["build", "--package", "xvrrp-ebpf", "--release", "--target", toolchain::BPF]);
    build.args(["-Z", "build-std=core", "--target-dir"]).arg(&target).current_dir(workspace);
    let linker = compiler.linker().context("there is no bpf-linker: run `cargo xtask setup`")?;
    build.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker);
    build.env("RUSTC_BOOTSTRAP", "1");
    // The object carries type information (BTF), which maps with typed keys and readable verifier logs need.
    build.env("RUSTFLAGS", "-C debuginfo=2 -C link-arg=--btf");
    build.env("CARGO_PROFILE_RELEASE_LTO", "false");
    // What is meant for the host would mislead this compiler.
    for variable in ["CARGO", "RUSTC_WRAPPER", "RUSTUP_TOOLCHAIN", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        build.env_remove(variable);
    }
    check(&mut build)?;

    let built = target.join(toolchain::BPF).join("release/xvrrp-ebpf");
    let destination = workspace.join("target/bpf/xvrrp-ebpf");
    // The agent's build compares times: an object that is up to date must be newer than its sources (a changed test among
    // them does not make cargo build it again), and otherwise keep its time, or the agent would be built again.
    let sources = newest(&workspace.join("ebpf")).max(newest(&workspace.join("common")));
    if newest(&built).max(sources) > newest(&destination) {
        fs::create_dir_all(workspace.join("target/bpf"))?;
        // By another name first: an agent that is built at the same time must not read half of it.
        let copy = destination.with_extension(std::process::id().to_string());
        fs::copy(&built, &copy).with_context(|| format!("cannot write {}", copy.display()))?;
        fs::rename(&copy, &destination)?;
    }
    Ok(())
}

/// When the file, or the latest one below the directory, was changed; `None`, earlier than all else, if there is none.
fn newest(path: &Path) -> Option<SystemTime> {
    if !path.is_dir() {
        return fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    }
    let entries = fs::read_dir(path).ok()?;
    entries.flatten().filter_map(|entry| newest(&entry.path())).max()
}

/// Where the host's binaries go.
pub fn target_directory() -> PathBuf {
    // Relative to the directory that cargo was called in, which for our calls is the workspace.
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), |target| workspace().join(target))
}
