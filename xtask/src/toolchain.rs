//! The compiler and linker for BPF: where they are, and whether they are there.
//!
//! rustup's stable toolchain lacks the source of `core` that a BPF target needs. Two ways lead to it:
//! a nightly toolchain with `rust-src`, the usual one; or, on Debian, the distribution's own compiler with its source,
//! linked into rustup as `xvrrp-bpf`. The linker must be built against the LLVM that the compiler has.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::process::{output, workspace};

/// The name under which rustup knows Debian's compiler.
pub const LINKED: &str = "xvrrp-bpf";
pub const NIGHTLY: &str = "nightly";
pub const LINKER_VERSION: &str = "0.13.0";

/// Where set-up puts what belongs to this checkout alone.
pub fn directory() -> PathBuf {
    workspace().join("target/bpf-toolchain")
}

pub fn linker() -> PathBuf {
    directory().join("bin/bpf-linker")
}

/// The rustup toolchain to compile for BPF with, if one is complete.
pub fn compiler() -> Option<&'static str> {
    [LINKED, NIGHTLY]
        .into_iter()
        .find(|toolchain| has_core_source(toolchain))
}

fn has_core_source(toolchain: &str) -> bool {
    let sysroot = output(Command::new("rustup").args(["run", toolchain, "rustc", "--print", "sysroot"]));
    sysroot.is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").is_dir())
}

pub fn has_linker() -> bool {
    output(Command::new(linker()).arg("--version")).is_some_and(|version| version.contains(LINKER_VERSION))
}

/// `PATH` with our linker first.
pub fn path() -> std::ffi::OsString {
    let old = env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(directory().join("bin")).chain(env::split_paths(&old));
    env::join_paths(paths).unwrap_or(old)
}

/// A rustup toolchain made of links to Debian's files.
pub fn make_link_directory() -> std::io::Result<PathBuf> {
    let directory = directory().join("debian");
    fs::create_dir_all(directory.join("bin"))?;
    for (link, target) in [("bin/rustc", "/usr/bin/rustc"), ("lib", "/usr/lib")] {
        let link = directory.join(link);
        if fs::read_link(&link).ok().as_deref() != Some(Path::new(target)) {
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(target, &link)?;
        }
    }
    Ok(directory)
}

/// The major version of the LLVM in a toolchain's compiler.
pub fn llvm_of(toolchain: &str) -> Option<String> {
    let version = output(Command::new("rustup").args(["run", toolchain, "rustc", "--version", "--verbose"]))?;
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    llvm.split('.').next().map(str::to_owned)
}
