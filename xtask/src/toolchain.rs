//! Finds the compiler and the linker for BPF.
//!
//! A BPF target needs the source of `core`, which rustup's stable toolchain lacks. Two compilers can be used instead: a
//! nightly toolchain with `rust-src`, as usual; or, on Debian, the distribution's own compiler with its source, which
//! is registered with rustup as `xvrrp-bpf`. The linker must be built with the compiler's LLVM.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use crate::process::{cargo, output, workspace};

/// Name of the rustup toolchain with Debian's compiler.
pub const LINKED: &str = "xvrrp-bpf";
pub const NIGHTLY: &str = "nightly";
/// Linker that rustc calls for [`BPF`].
pub const LINKER: &str = "bpf-linker";
pub const LINKER_VERSION: &str = "0.13.0";
/// Target of the kernel half.
pub const BPF: &str = "bpfel-unknown-none";

/// A compiler that has the source of `core`.
#[derive(Debug)]
pub struct Compiler {
    /// Name of the rustup toolchain.
    pub toolchain: &'static str,
    rustc: PathBuf,
    /// Major version of the compiler's LLVM.
    pub llvm: String,
}

/// Returns the compiler that is installed, if there is one. Debian's compiler is preferred once it has been registered.
pub fn compiler() -> Option<Compiler> {
    [LINKED, NIGHTLY].into_iter().find_map(|toolchain| {
        let rustc =
            |arguments: &[&str]| output(Command::new("rustup").args(["run", toolchain, "rustc"]).args(arguments));
        let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?);
        let has_core = sysroot.join("lib/rustlib/src/rust/library/core").is_dir();
        let llvm = major_llvm(&rustc(&["--version", "--verbose"])?)?;
        let rustc = sysroot.join("bin/rustc");
        has_core.then_some(Compiler { toolchain, rustc, llvm })
    })
}

impl Compiler {
    pub fn describe(&self) -> String {
        let origin = match self.toolchain {
            LINKED => "Debian's rustc, in rustup's toolchain xvrrp-bpf",
            _ => "rustup's nightly with rust-src",
        };
        format!("{origin}, LLVM {}", self.llvm)
    }

    /// Makes a command that runs cargo with this compiler.
    pub fn cargo(&self) -> Command {
        if self.toolchain != LINKED {
            let mut command = Command::new("rustup");
            command.args(["run", self.toolchain, "cargo"]).env_remove("RUSTC");
            return command;
        }
        // Debian's cargo is much older than this rustc, and rustup might choose it.
        let mut command = cargo();
        command.env("RUSTC", &self.rustc);
        command
    }

    /// Returns a linker that works with this compiler: the one that set-up has built, or one on `PATH`.
    pub fn linker(&self) -> Option<PathBuf> {
        let ours = directory().join("bin").join(LINKER);
        if self.fits(&ours) {
            return Some(ours);
        }
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).map(|directory| directory.join(LINKER)).find(|linker| self.links_with(linker))
    }

    /// Returns whether set-up has built this linker, in the right version and with the LLVM of this compiler.
    fn fits(&self, ours: &Path) -> bool {
        let version = output(Command::new(ours).arg("--version"));
        // cargo records the features of programs that it has installed. A linker that was put there in another way has
        // no record.
        let record = fs::read_to_string(directory().join(".crates2.json")).unwrap_or_default();
        version.is_some_and(|version| version.contains(LINKER_VERSION))
            && (!record.contains(LINKER) || record.contains(&format!("\"llvm-{}\"", self.llvm)))
    }

    /// Returns whether a linker of unknown origin can read the output of this compiler. One with an older LLVM cannot.
    fn links_with(&self, linker: &Path) -> bool {
        linker.is_file() && self.link_nothing(linker).unwrap_or(false)
    }

    fn link_nothing(&self, linker: &Path) -> io::Result<bool> {
        let directory = directory().join(format!("try-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let (source, bitcode) = (directory.join("nothing.rs"), directory.join("nothing.bc"));
        fs::write(&source, "#![feature(no_core)]\n#![no_core]\n")?;
        let mut compile = Command::new(&self.rustc);
        compile.args(["--target", BPF, "--crate-type", "lib", "--emit", "llvm-bc", "-o"]).arg(&bitcode).arg(source);
        compile.env("RUSTC_BOOTSTRAP", "1");
        let mut link = Command::new(linker);
        link.args(["--btf", "--output"]).arg(directory.join("nothing.o")).arg(&bitcode);
        let is_linked = output(&mut compile).is_some() && output(&mut link).is_some();
        fs::remove_dir_all(directory)?;
        Ok(is_linked)
    }

    /// Returns the directory with the `llvm-config` of this compiler's LLVM, which building a linker needs.
    pub fn llvm_directory(&self) -> Option<PathBuf> {
        // The directories of Debian, Fedora and Arch come first, then those on `PATH`.
        let known = [
            format!("/usr/lib/llvm-{}/bin", self.llvm),
            format!("/usr/lib64/llvm{}/bin", self.llvm),
            format!("/usr/lib/llvm{}/bin", self.llvm),
        ];
        let mut directories: Vec<PathBuf> = known.map(PathBuf::from).into();
        directories.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        directories.into_iter().find(|directory| {
            let version = output(Command::new(directory.join("llvm-config")).arg("--version"));
            version.is_some_and(|version| version.split('.').next() == Some(&self.llvm))
        })
    }
}

fn major_llvm(rustc_version: &str) -> Option<String> {
    let llvm = rustc_version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    llvm.split('.').next().map(str::to_owned)
}

/// Returns the directory for the toolchain of this checkout.
pub fn directory() -> PathBuf {
    workspace().join("target/bpf-toolchain")
}

/// Returns `PATH` with this directory in front.
pub fn path_with(first: &Path) -> OsString {
    let old = env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(first.to_owned()).chain(env::split_paths(&old));
    env::join_paths(paths).unwrap_or(old)
}

/// Makes a rustup toolchain of links to Debian's files, and returns its directory.
pub fn make_link_directory() -> io::Result<PathBuf> {
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
