//! `cargo xtask setup`: says what is missing, then installs it. With nothing missing it does nothing.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, check, is_root, output};
use crate::toolchain::{self, LINKED, LINKER_VERSION, NIGHTLY};

/// What the tests, the demo and the bench call; Debian's names.
const TEST_PACKAGES: &[&str] = &[
    "bpftool",
    "ethtool",
    "iproute2",
    "iputils-arping",
    "iputils-ping",
    "keepalived",
    "netsniff-ng",
    "procps",
    "tcpdump",
    "tshark",
    "util-linux",
];
/// The BPF compiler with the source of `core`, and what the linker is built against.
const COMPILER_PACKAGES: &[&str] = &["rustc-web", "rust-web-src"];
const LINKER_PACKAGES: &[&str] = &["llvm-22-dev"];

/// Debian's way of asking whether a package that has just been installed may start its daemon.
const POLICY: &str = "/usr/sbin/policy-rc.d";

pub fn run() -> Result<()> {
    let steps = missing()?;
    if steps.is_empty() {
        return Ok(());
    }
    println!("xtask setup: missing on this machine; about to");
    for step in &steps {
        println!("  - {}", step.describe());
    }
    steps.iter().try_for_each(Step::execute)?;
    if let Some(step) = missing()?.first() {
        bail!("set-up is still incomplete: could not {}", step.describe());
    }
    println!("xtask setup: complete, BPF compiler: {}", describe_compiler());
    Ok(())
}

#[derive(Debug)]
enum Step {
    InstallPackages(Vec<&'static str>),
    LinkToolchain,
    InstallNightly,
    BuildLinker,
}

fn missing() -> Result<Vec<Step>> {
    let debian = Path::new("/usr/bin/dpkg-query").exists();
    let mut steps = Vec::new();
    let mut packages = Vec::new();
    let needs_compiler = toolchain::compiler().is_none();
    if debian {
        packages.extend(TEST_PACKAGES);
        if needs_compiler {
            packages.extend(COMPILER_PACKAGES);
        }
        if !toolchain::has_linker() {
            packages.extend(LINKER_PACKAGES);
        }
        let packages = absent(packages);
        if !packages.is_empty() {
            steps.push(Step::InstallPackages(packages));
        }
    }
    if needs_compiler {
        steps.push(if debian {
            Step::LinkToolchain
        } else {
            Step::InstallNightly
        });
    }
    if !toolchain::has_linker() {
        steps.push(Step::BuildLinker);
    }
    Ok(steps)
}

fn absent(wanted: Vec<&'static str>) -> Vec<&'static str> {
    let query = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status} ${Package}\n"])
        .output();
    let installed = query
        .map(|query| String::from_utf8_lossy(&query.stdout).into_owned())
        .unwrap_or_default();
    let is_installed = |package: &&str| installed.lines().any(|line| line == format!("installed {package}"));
    wanted.into_iter().filter(|package| !is_installed(package)).collect()
}

fn describe_compiler() -> &'static str {
    match toolchain::compiler() {
        Some(LINKED) => "Debian's rustc, as the rustup toolchain xvrrp-bpf",
        Some(_) => "rustup's nightly with rust-src",
        None => "none",
    }
}

impl Step {
    fn describe(&self) -> String {
        match self {
            Self::InstallPackages(packages) => format!("install Debian's packages {}", packages.join(", ")),
            Self::LinkToolchain => format!("make Debian's rustc known to rustup as the toolchain {LINKED}"),
            Self::InstallNightly => format!("install rustup's {NIGHTLY} toolchain with rust-src"),
            Self::BuildLinker => {
                format!(
                    "build bpf-linker {LINKER_VERSION} into {}",
                    toolchain::directory().display()
                )
            }
        }
    }

    fn execute(&self) -> Result<()> {
        println!("xtask setup: {}", self.describe());
        match self {
            Self::InstallPackages(packages) => install_packages(packages),
            Self::LinkToolchain => {
                let directory = toolchain::make_link_directory().context("cannot link Debian's rustc")?;
                check(
                    Command::new("rustup")
                        .args(["toolchain", "link", LINKED])
                        .arg(directory),
                )
            }
            Self::InstallNightly => check(Command::new("rustup").args([
                "toolchain",
                "install",
                NIGHTLY,
                "--profile",
                "minimal",
                "--component",
                "rust-src",
            ]))
            .context("without Debian's packages, the BPF compiler needs rustup's nightly toolchain with rust-src"),
            Self::BuildLinker => build_linker(),
        }
    }
}

fn install_packages(packages: &[&'static str]) -> Result<()> {
    let install: Vec<&OsStr> = ["install", "--yes", "--no-install-recommends"]
        .iter()
        .chain(packages)
        .map(OsStr::new)
        .collect();
    if !is_root() && output(Command::new("sudo").arg("--version")).is_none() {
        bail!("needs root: run `apt-get {}`", install.join(OsStr::new(" ")).display());
    }
    // Peers are started by the tests, in namespaces; never by their packages.
    let _policy = NoDaemons::forbid();
    // Fresh machines have no package lists, and old lists name files that are gone.
    check(&mut apt(&[OsStr::new("update")]))?;
    check(&mut apt(&install))
}

/// As root, or through sudo.
fn apt(arguments: &[&OsStr]) -> Command {
    let mut command = if is_root() {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("apt-get");
        sudo
    };
    command
        .args(["-qq", "-o", "Dpkg::Use-Pty=0"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn build_linker() -> Result<()> {
    let mut install = cargo();
    install.args([
        "install",
        "bpf-linker",
        "--version",
        LINKER_VERSION,
        "--locked",
        "--root",
    ]);
    install.arg(toolchain::directory());
    // Its objects are of no use to anything else in the workspace.
    install.arg("--target-dir").arg(toolchain::directory().join("build"));
    // The linker reads what the compiler writes, so both must have the same LLVM.
    let compiler = toolchain::compiler().context("there is no BPF compiler to match the linker with")?;
    let llvm = toolchain::llvm_of(compiler).context("cannot tell the LLVM version of the BPF compiler")?;
    install.args(["--no-default-features", "--features", &format!("llvm-{llvm}")]);
    install.env("PATH", prepend(&format!("/usr/lib/llvm-{llvm}/bin"))?);
    check(&mut install)?;
    // Some hundred megabytes.
    let _ = fs::remove_dir_all(toolchain::directory().join("build"));
    Ok(())
}

fn prepend(directory: &str) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(
        std::iter::once(directory.into()).chain(std::env::split_paths(&path)),
    )?)
}

/// While this lives, packages that are installed start no daemon.
struct NoDaemons {
    made: bool,
}

impl NoDaemons {
    /// A policy that the machine has already is left as it is.
    fn forbid() -> Self {
        use std::os::unix::fs::PermissionsExt;

        let made = !Path::new(POLICY).exists() && fs::write(POLICY, "#!/bin/sh\nexit 101\n").is_ok();
        if made {
            let _ = fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755));
        }
        Self { made }
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if self.made {
            let _ = fs::remove_file(POLICY);
        }
    }
}
