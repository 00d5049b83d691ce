//! `cargo xtask setup`: prints what is missing, then installs it. Does nothing if nothing is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{as_root, cargo, check, has_sudo, is_root, output, workspace};
use crate::toolchain::{self, LINKED, LINKER, LINKER_VERSION, NIGHTLY};

/// Programs that a command needs. Each level includes those above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// The BPF compiler and linker.
    Build,
    /// The program that creates network namespaces.
    Demo,
    /// Peers, and other programs that the tests, the bench and the soak call.
    Tests,
}

/// Debian packages with the programs that the demo calls.
const DEMO_PACKAGES: &[&str] = &["iproute2"];
/// Debian packages with the programs that tests, bench and soak call.
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
    "psmisc",
    "systemd",
    "tcpdump",
    "tshark",
    "util-linux",
];
/// Debian packages with the BPF compiler and the source of `core`.
const COMPILER_PACKAGES: &[&str] = &["rustc-web", "rust-web-src"];
/// LLVM version of Debian 12's `rustc-web`. It is assumed until the compiler is installed and can report its version.
const DEBIAN_LLVM: &str = "22";
/// Archive of Debian 12 that has the compiler and its LLVM, as a line of apt's sources.
const DEBIAN_COMPILER_SOURCE: &str = "deb http://deb.debian.org/debian-security bookworm-security main";

/// Installs everything that any command needs, or prints that there is nothing to do.
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

/// Installs what is missing for a command, and nothing else.
pub fn ensure(needs: Needs) -> Result<()> {
    let steps = missing(needs);
    if steps.is_empty() {
        return Ok(());
    }
    println!("xtask setup: this machine lacks some programs. These steps follow:");
    for step in &steps {
        println!("  - {}", step.describe());
    }
    steps.iter().try_for_each(Step::execute)?;
    if let Some(step) = missing(needs).first() {
        bail!(
            "set-up is incomplete, although all steps have succeeded. This step has had no effect: {}",
            step.describe()
        );
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
        for (level, names) in [(Needs::Demo, DEMO_PACKAGES), (Needs::Tests, TEST_PACKAGES)] {
            if needs >= level {
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

/// Returns whether this is Debian itself. Systems that derive from it have other compilers.
fn is_debian() -> bool {
    os_release().lines().any(|line| line == "ID=debian")
}

fn os_release() -> String {
    fs::read_to_string("/etc/os-release").unwrap_or_default()
}

/// Returns those of the packages that are not installed.
fn absent(wanted: Vec<String>) -> Vec<String> {
    let query = ["-W", "-f", "${db:Status-Status} ${Package}\n"];
    let installed = output(Command::new("dpkg-query").args(query)).unwrap_or_default();
    let is_installed = |package: &str| installed.lines().any(|line| line.strip_prefix("installed ") == Some(package));
    wanted.into_iter().filter(|package| !is_installed(package)).collect()
}

/// Returns the path at which the tests look for promtool if it is not installed.
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
            Self::LinkToolchain => format!("register Debian's rustc with rustup as the toolchain {LINKED}"),
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

/// Installs Debian packages.
pub fn install_packages(packages: &[String]) -> Result<()> {
    let script = workspace().join("scripts/install-packages");
    if !is_root() && !has_sudo() {
        bail!(
            "installing packages needs root. Run this as root, then repeat the command:\n  {} {}",
            script.display(),
            packages.join(" ")
        );
    }
    let installed = check(as_root(script).args(packages));
    if installed.is_err() {
        let is_known = |package: &&String| output(Command::new("apt-cache").arg("show").arg(package)).is_some();
        let unknown: Vec<&str> = packages.iter().filter(|package| !is_known(package)).map(String::as_str).collect();
        if let Some(remedy) = remedy(&os_release(), &unknown) {
            return installed.context(remedy);
        }
    }
    installed
}

/// Returns what to do about packages that apt does not know, if they are the compiler's on Debian 12.
fn remedy(os_release: &str, unknown: &[&str]) -> Option<String> {
    let says = |wanted: &str| os_release.lines().any(|line| line == wanted);
    let is_debian_12 = says("ID=debian") && (says("VERSION_ID=\"12\"") || says("VERSION_ID=12"));
    let is_compiler = |package: &&&str| COMPILER_PACKAGES.contains(package) || package.starts_with("llvm-");
    let lacking: Vec<&str> = unknown.iter().filter(is_compiler).copied().collect();
    (is_debian_12 && !lacking.is_empty()).then(|| {
        format!(
            "apt does not know {}, which Debian 12 has in its security archive. Add this line to \
             /etc/apt/sources.list, then repeat the command:\n  {DEBIAN_COMPILER_SOURCE}\napt has failed",
            lacking.join(", ")
        )
    })
}

fn fetch_promtool() -> Result<()> {
    let directory = promtool().with_file_name("");
    check(Command::new(workspace().join("scripts/fetch-promtool")).arg(directory))
}

fn link_toolchain() -> Result<()> {
    let directory = toolchain::make_link_directory().context("cannot make a toolchain from Debian's rustc")?;
    check(Command::new("rustup").args(["toolchain", "link", LINKED]).arg(directory))
}

fn install_nightly() -> Result<()> {
    let install = ["toolchain", "install", NIGHTLY, "--profile", "minimal", "--component", "rust-src"];
    check(Command::new("rustup").args(install))
        .context("the BPF target needs the source of core, which on this system comes with rustup's nightly toolchain")
}

fn build_linker() -> Result<()> {
    let compiler = toolchain::compiler().context("there is no BPF compiler to match the linker with")?;
    let llvm = &compiler.llvm;
    let directory = toolchain::directory();
    let Some(llvm_config) = compiler.llvm_directory() else {
        bail!(
            "there is no llvm-config of LLVM {llvm}. bpf-linker must be built with the LLVM of the compiler ({}): \
             install the development files of LLVM {llvm} (apt.llvm.org has them for many systems), or put a prebuilt \
             bpf-linker of that LLVM on PATH",
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
    // The objects take a few hundred megabytes, and no other build can use them.
    let _ = fs::remove_dir_all(build);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN_12: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n";

    #[test]
    fn the_archive_is_named_if_debian_12_does_not_know_the_compilers_packages() {
        let remedy = remedy(DEBIAN_12, &["keepalived", "rustc-web", "llvm-22-dev"]).expect("there is a remedy");
        assert!(remedy.contains("apt does not know rustc-web, llvm-22-dev,"), "{remedy}");
        assert!(remedy.contains("\n  deb http://deb.debian.org/debian-security bookworm-security main\n"), "{remedy}");
    }

    #[test]
    fn the_archive_is_not_named_for_other_packages_and_systems() {
        assert_eq!(remedy(DEBIAN_12, &["keepalived"]), None);
        assert_eq!(remedy(DEBIAN_12, &[]), None);
        assert_eq!(remedy("VERSION_ID=\"13\"\nID=debian\n", &["llvm-22-dev"]), None);
        assert_eq!(remedy("VERSION_ID=\"12\"\nID=other\n", &["llvm-22-dev"]), None);
    }
}
