//! `cargo xtask test --kernel SERIES`: the kernel half, and a lab on real drivers, under another kernel than this host's.
//!
//! A guest of qemu's software emulation boots a Debian kernel, with this host's `/usr` and our programs, both read-only.

mod guest;
mod image;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::build::{self, Profile, WORKSPACE};
use crate::process::{cargo, output};
use crate::setup::{self, Needs};

/// Two CPUs are emulated: more tests than that at a time only wait for each other, and they have their deadlines.
const THREADS: u32 = 2;
/// The tests, and those among them that feed the kernel half frames.
const TESTS: &str = "suite";
const FILTER: &str = "kernel_half::";
/// Tests that ask for a pace (20 frames within a short lease, two within a pause) which emulation does not always have.
const LEFT_OUT: &[&str] =
    &["a_lease_serves_until_it_ends_and_not_longer", "the_agent_is_told_of_a_claim_now_and_then_while_we_are_active"];

pub fn run(series: &str, args: &[String]) -> Result<()> {
    ensure!(args.is_empty(), "--kernel takes no arguments for `cargo test`: {}", args.join(" "));
    let series = image::Series::find(series)?;
    setup::ensure(Needs::Tests)?;
    if output(Command::new(guest::QEMU).arg("--version")).is_none() {
        setup::install_packages(&["qemu-system-x86".to_owned()])?;
    }
    let image = image::fetch(series)?;
    build::kernel_half()?;
    let commands = commands(&build_programs()?)?;
    guest::run(&image, &commands)
}

/// Builds the agent, the lab on virtio and the tests; the path of the tests.
fn build_programs() -> Result<PathBuf> {
    let mut build = cargo();
    build.arg("build").args(WORKSPACE).args(["--bin", "xvrrp", "--bin", "virtio", "--test", TESTS]);
    build.arg("--message-format=json-render-diagnostics").stdin(Stdio::null()).stderr(Stdio::inherit());
    let built = build.output().with_context(|| format!("cannot run {build:?}"))?;
    if !built.status.success() {
        bail!("{build:?} failed: {}", built.status);
    }
    for line in built.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let message: serde_json::Value = serde_json::from_slice(line).context("cargo's messages are JSON")?;
        if message["target"]["name"] == TESTS
            && let Some(program) = message["executable"].as_str()
        {
            return Ok(PathBuf::from(program));
        }
    }
    bail!("cargo has not said where the tests are")
}

/// What the guest's shell runs, a line each.
fn commands(tests: &Path) -> Result<Vec<String>> {
    let tests = tests.strip_prefix(shared_directory()).with_context(|| format!("{} is elsewhere", tests.display()))?;
    let skip: String = LEFT_OUT.iter().map(|name| format!(" --skip {name}")).collect();
    Ok(vec![
        format!("XVRRP_AGENT={0}/xvrrp {0}/virtio", guest::PROGRAMS),
        format!("RUST_TEST_THREADS={THREADS} {}/{} {FILTER}{skip}", guest::PROGRAMS, tests.display()),
    ])
}

/// What the guest sees as [`guest::PROGRAMS`].
fn shared_directory() -> PathBuf {
    Profile::Dev.directory()
}

/// Where kernels and what belongs to them are kept.
fn kernels() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/kernels"))
}
