//! `cargo xtask build`: builds the kernel half, then the agent that contains it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs};

use anyhow::{Context, Result};

use crate::process::{cargo, check, workspace};
use crate::toolchain;

/// Package selection of every build for this host. cargo enables the features of a dependency that any selected package
/// enables, so another selection would compile dependencies again. The kernel half has no tests of its own: those in
/// `tests/` send it frames.
pub const WORKSPACE: &[&str] = &["--workspace", "--exclude", "xvrrp-ebpf"];

/// Build profile.
#[derive(Clone, Copy, Debug)]
pub enum Profile {
    /// Profile of the tests and of the demo.
    Dev,
    /// Profile of programs that are measured or packaged.
    Release,
}

/// Builds the kernel half and these programs. Returns the directory of the programs.
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
    /// Returns the directory for the programs of this profile.
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
    // This directory is separate from the host's, because the compilers differ, and because a cargo that waits for this
    // one holds the lock of the other directory.
    let target = workspace.join("target/bpf-build");
    let mut build = compiler.cargo();
    build.args(["build", "--package", "xvrrp-ebpf", "--release", "--target", toolchain::BPF]);
    build.args(["-Z", "build-std=core", "--target-dir"]).arg(&target).current_dir(workspace);
    let linker = compiler.linker().context("there is no bpf-linker: run `cargo xtask setup`")?;
    build.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker);
    build.env("RUSTC_BOOTSTRAP", "1");
    // Maps with typed keys and readable verifier logs need type information (BTF) in the object.
    build.env("RUSTFLAGS", "-C debuginfo=2 -C link-arg=--btf");
    build.env("CARGO_PROFILE_RELEASE_LTO", "false");
    // These variables are for the host's compiler and would mislead this one.
    for variable in ["CARGO", "RUSTC_WRAPPER", "RUSTUP_TOOLCHAIN", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        build.env_remove(variable);
    }
    check(&mut build)?;

    let built = target.join(toolchain::BPF).join("release/xvrrp-ebpf");
    let destination = workspace.join("target/bpf/xvrrp-ebpf");
    // The agent's build compares times. An object that is up to date must be newer than its sources, even if cargo has
    // not built it again because only a test among them has changed. Otherwise it must keep its time, or the agent
    // would be built again.
    let sources = newest(&workspace.join("ebpf")).max(newest(&workspace.join("common")));
    if newest(&built).max(sources) > newest(&destination) {
        fs::create_dir_all(workspace.join("target/bpf"))?;
        // The object is renamed when it is complete, so that an agent that is built at the same time never reads half
        // of it.
        let copy = destination.with_extension(std::process::id().to_string());
        fs::copy(&built, &copy).with_context(|| format!("cannot write {}", copy.display()))?;
        fs::rename(&copy, &destination)?;
    }
    Ok(())
}

/// Returns the time of the last change of a file, or of any file below a directory. Returns `None`, which compares as
/// earlier than any time, if there is no file.
fn newest(path: &Path) -> Option<SystemTime> {
    if !path.is_dir() {
        return fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    }
    let entries = fs::read_dir(path).ok()?;
    entries.flatten().filter_map(|entry| newest(&entry.path())).max()
}

/// Returns the target directory of builds for the host.
pub fn target_directory() -> PathBuf {
    // A relative path is relative to the directory in which cargo runs, which is the workspace.
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), |target| workspace().join(target))
}
