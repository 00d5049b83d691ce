//! `cargo xtask test --kernel SERIES`: the kernel half, and a lab on real drivers, under another kernel than this host's.
//!
//! A guest of qemu's software emulation boots a Debian kernel, with this host's `/usr` and our programs, both read-only.

mod guest;
mod image;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::process::{cargo, output, workspace};
use crate::{build, setup, test};

/// Two CPUs are emulated: more tests than that at a time only wait for each other, and they have their deadlines.
const THREADS: u32 = 2;
/// Tests that ask for a pace (20 frames within a short lease, two within a pause) which emulation does not always have.
const LEFT_OUT: &[&str] =
    &["a_lease_serves_until_it_ends_and_not_longer", "the_agent_is_told_of_a_claim_now_and_then_while_we_are_active"];

pub fn run(series: &str, args: &[String]) -> Result<()> {
    ensure!(args.is_empty(), "--kernel takes no arguments for `cargo test`: {}", args.join(" "));
    let series = image::Series::find(series)?;
    setup::ensure()?;
    if output(Command::new(guest::QEMU).arg("--version")).is_none() {
        setup::install_packages(&["qemu-system-x86".to_owned()])?;
    }
    let image = image::fetch(series)?;
    build::kernel_half()?;
    let commands = commands(&build_programs()?)?;
    guest::run(&image, &commands)
}

/// Builds the agent, the lab on virtio and every test that feeds the kernel half frames; the tests' paths.
fn build_programs() -> Result<Vec<PathBuf>> {
    let directory = workspace().join("tests/tests");
    let mut tests = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("xdp_") || name.starts_with("egress_") {
            tests.push(name.to_owned());
        }
    }
    tests.sort();
    // As `cargo xtask test` builds them, so that both use the same objects.
    let mut build = cargo();
    build.arg("build").args(test::WORKSPACE).args(["--bin", "xvrrp", "--bin", "virtio"]);
    build.args(tests.iter().flat_map(|name| ["--test", name]));
    build.arg("--message-format=json-render-diagnostics").stdin(Stdio::null()).stderr(Stdio::inherit());
    let built = build.output().with_context(|| format!("cannot run {build:?}"))?;
    if !built.status.success() {
        bail!("{build:?} failed: {}", built.status);
    }
    let mut programs = Vec::new();
    for line in built.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let message: serde_json::Value = serde_json::from_slice(line).context("cargo's messages are JSON")?;
        if let Some(program) = message["executable"].as_str()
            && message["target"]["name"].as_str().is_some_and(|name| tests.iter().any(|test| test == name))
        {
            programs.push(PathBuf::from(program));
        }
    }
    ensure!(programs.len() == tests.len(), "cargo built {programs:?} of the tests {tests:?}");
    programs.sort();
    Ok(programs)
}

/// What the guest's shell runs, a line each.
fn commands(tests: &[PathBuf]) -> Result<Vec<String>> {
    let shared = shared_directory();
    let skip: String = LEFT_OUT.iter().map(|name| format!(" --skip {name}")).collect();
    let mut commands = vec![format!("XVRRP_AGENT={0}/xvrrp {0}/virtio", guest::PROGRAMS)];
    for test in tests {
        let test = test.strip_prefix(&shared).with_context(|| format!("{} is elsewhere", test.display()))?;
        commands.push(format!("RUST_TEST_THREADS={THREADS} {}/{}{skip}", guest::PROGRAMS, test.display()));
    }
    Ok(commands)
}

/// What the guest sees as [`guest::PROGRAMS`].
fn shared_directory() -> PathBuf {
    build::target_directory().join("debug")
}

/// Where kernels and what belongs to them are kept.
fn kernels() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/kernels"))
}
