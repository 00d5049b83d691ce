//! `cargo xtask setup`: says what is missing, then installs it. With nothing missing it does nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{as_root, cargo, check, has_sudo, is_root, output, workspace};
use crate::toolchain::{self, LINKED, LINKER, LINKER_VERSION, NIGHTLY};

/// What a command needs: each of these needs what those above it need too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// The BPF compiler and linker.
    Build,
    /// What makes network namespaces.
    Demo,
    /// Peers, and other programs that the tests, the bench and the soak call.
    Tests,
}

/// What the demo calls; Debian's names.
const DEMO_PACKAGES: &[&str] = &["iproute2"];
/// What tests, bench and soak call.
const TEST_PACKAGES: &[&str] = &[
    "curl",
    "ethtool",
    "frr",
    "iperf3",
    "iputils-ping",
    "jq",
    "keepalived",
    "nginx-light",
    "procps",
    "systemd",
    "tcpdump",
    "tshark",
    "util-linux",
];
/// The BPF compiler and the source of `core`.
const COMPILER_PACKAGES: &[&str] = &["rustc-web", "rust-web-src"];
/// The LLVM of Debian 12's `rustc-web`, until it is installed and can be asked itself.
const DEBIAN_LLVM: &str = "22";

/// `cargo xtask setup`: all that any command needs. Also says that there was nothing to do.
pub fn run() -> Result<()> {
    if missing(Needs::Tests).is_empty() {
        println!("xtask setup: nothing to do (BPF compiler: {})", describe_compiler());
    }
    ensure(Needs::Tests)?;
    for component in ["clippy", "fmt"] {
        if output(cargo().args([component, "--version"])).is_none() {
            let name = if component == "fmt" { "rustfmt" } else { component };
            println!("xtask setup: `cargo {component}` is not installed; to lint: rustup component add {name}");
        }
    }
    Ok(())
}

/// Installs what is missing of what a command needs, and nothing else.
pub fn ensure(needs: Needs) -> Result<()> {
    let steps = missing(needs);
    if steps.is_empty() {
        return Ok(());
    }
    println!("xtask setup: missing on this machine; about to");
    for step in &steps {
        println!("  - {}", step.describe());
    }
    steps.iter().try_for_each(Step::execute)?;
    if let Some(step) = missing(needs).first() {
        bail!("set-up is still incomplete: could not {}", step.describe());
    }
    println!("xtask setup: complete (BPF compiler: {})", describe_compiler());
    Ok(())
}

#[derive(Debug)]
enum Step {
    InstallPackages(Vec<String>),
    FetchPromtool,
    LinkToolchain,
    InstallNightly,
    BuildLinker,
}

fn missing(needs: Needs) -> Vec<Step> {
    let compiler = toolchain::compiler();
    let has_linker = compiler.as_ref().is_some_and(|compiler| compiler.linker().is_some());
    let mut steps = Vec::new();
    if Path::new("/usr/bin/apt-get").exists() {
        let mut packages = Vec::new();
        for (for_whom, names) in [(Needs::Demo, DEMO_PACKAGES), (Needs::Tests, TEST_PACKAGES)] {
            if needs >= for_whom {
                packages.extend(names.iter().copied().map(str::to_owned));
            }
        }
        if is_debian() && compiler.is_none() {
            packages.extend(COMPILER_PACKAGES.iter().copied().map(str::to_owned));
        }
        if is_debian() && !has_linker {
            let llvm = compiler.as_ref().map_or(DEBIAN_LLVM, |compiler| &compiler.llvm);
            packages.push(format!("llvm-{llvm}-dev"));
        }
        let packages = absent(packages);
        if !packages.is_empty() {
            steps.push(Step::InstallPackages(packages));
        }
        if needs >= Needs::Tests && !promtool().exists() && output(Command::new("promtool").arg("--version")).is_none()
        {
            steps.push(Step::FetchPromtool);
        }
    }
    if compiler.is_none() {
        steps.push(if is_debian() { Step::LinkToolchain } else { Step::InstallNightly });
    }
    if !has_linker {
        steps.push(Step::BuildLinker);
    }
    steps
}

/// Debian itself: what derives from it has other compilers.
fn is_debian() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|release| release.lines().any(|line| line == "ID=debian"))
}

fn absent(wanted: Vec<String>) -> Vec<String> {
    let query = ["-W", "-f", "${db:Status-Status} ${Package}\n"];
    let installed = output(Command::new("dpkg-query").args(query)).unwrap_or_default();
    let is_installed = |package: &str| installed.lines().any(|line| line.strip_prefix("installed ") == Some(package));
    wanted.into_iter().filter(|package| !is_installed(package)).collect()
}

/// Where the tests look for it, beside the machine's own.
fn promtool() -> PathBuf {
    workspace().join("target/promtool/promtool")
}

fn describe_compiler() -> String {
    toolchain::compiler().map_or("none".to_owned(), |compiler| compiler.describe())
}

impl Step {
    fn describe(&self) -> String {
        match self {
            Self::InstallPackages(packages) => format!("install the packages {}", packages.join(", ")),
            Self::FetchPromtool => format!("fetch promtool to {}", promtool().display()),
            Self::LinkToolchain => format!("make Debian's rustc known to rustup as the toolchain {LINKED}"),
            Self::InstallNightly => format!("install rustup's {NIGHTLY} toolchain with rust-src"),
            Self::BuildLinker => {
                format!("build {LINKER} {LINKER_VERSION} into {}", toolchain::directory().display())
            }
        }
    }

    fn execute(&self) -> Result<()> {
        println!("xtask setup: {}", self.describe());
        match self {
            Self::InstallPackages(packages) => install_packages(packages),
            Self::FetchPromtool => fetch_promtool(),
            Self::LinkToolchain => link_toolchain(),
            Self::InstallNightly => install_nightly(),
            Self::BuildLinker => build_linker(),
        }
    }
}

/// Debian's, by name.
pub fn install_packages(packages: &[String]) -> Result<()> {
    let script = workspace().join("scripts/install-packages");
    if !is_root() && !has_sudo() {
        bail!("that needs root; run this as root, then set up again:\n  {} {}", script.display(), packages.join(" "));
    }
    check(as_root(script).args(packages))
}

fn fetch_promtool() -> Result<()> {
    let directory = promtool().with_file_name("");
    check(Command::new(workspace().join("scripts/fetch-promtool")).arg(directory))
}

fn link_toolchain() -> Result<()> {
    let directory = toolchain::make_link_directory().context("cannot make a toolchain of Debian's rustc")?;
    check(Command::new("rustup").args(["toolchain", "link", LINKED]).arg(directory))
}

fn install_nightly() -> Result<()> {
    let install = ["toolchain", "install", NIGHTLY, "--profile", "minimal", "--component", "rust-src"];
    check(Command::new("rustup").args(install))
        .context("the BPF target needs the source of core: on Debian from packages, elsewhere from rustup's nightly")
}

fn build_linker() -> Result<()> {
    let compiler = toolchain::compiler().context("there is no BPF compiler to match the linker with")?;
    let llvm = &compiler.llvm;
    let directory = toolchain::directory();
    let Some(llvm_config) = compiler.llvm_directory() else {
        bail!(
            "no llvm-config of LLVM {llvm}, which rustc ({}) has and bpf-linker must be built with: install LLVM {llvm}'s \
             development files (apt.llvm.org has them for many systems), or put a prebuilt bpf-linker of that LLVM on \
             PATH",
            compiler.toolchain
        );
    };
    let build = directory.join("build");
    let mut install = cargo();
    install.args(["install", LINKER, "--version", LINKER_VERSION, "--locked", "--force"]);
    install.args(["--no-default-features", "--features", &format!("llvm-{llvm}")]);
    install.arg("--root").arg(&directory).arg("--target-dir").arg(&build);
    install.env("PATH", toolchain::path_with(&llvm_config));
    check(&mut install)?;
    // Some hundred megabytes that nothing else in the workspace has use for.
    let _ = fs::remove_dir_all(build);
    Ok(())
}
