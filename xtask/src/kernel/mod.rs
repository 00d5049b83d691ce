//! `cargo xtask test --kernel SERIES`: tests the kernel half, and a lab on real drivers, under another kernel than the
//! host's.
//!
//! A guest in qemu's software emulation boots a Debian kernel. It sees the host's `/usr` and our programs, both
//! read-only.

mod directories;
mod guest;
mod image;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::build::{self, WORKSPACE};
use crate::process::{cargo, output};
use crate::setup::{self, Needs};

/// Number of tests that run at a time. Two CPUs are emulated, and with more tests, each would take longer and might
/// miss its deadlines.
const THREADS: u32 = 2;
/// Program with the tests.
const TESTS: &str = "suite";
/// Filter that selects the tests which send frames through the kernel half.
const FILTER: &str = "kernel_half::";
/// Tests that emulation is sometimes too slow for: they send 20 frames within a short lease, or two within a pause.
const LEFT_OUT: &[&str] = &[
    "an_active_router_serves_until_the_end_of_its_lease_and_no_longer",
    "claims_are_reported_to_the_agent_only_while_active_and_with_a_pause",
];

pub fn run(series: &str, args: &[String]) -> Result<()> {
    ensure!(args.is_empty(), "--kernel cannot be combined with arguments for `cargo test`: {}", args.join(" "));
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

/// Builds the agent, the lab on virtio and the tests. Returns the path of the tests.
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
    bail!("cargo has not reported the path of the tests")
}

/// Returns the commands for the guest's shell, one per line.
fn commands(tests: &Path) -> Result<Vec<String>> {
    let shared = directories::shared();
    let tests = tests
        .strip_prefix(&shared)
        .with_context(|| format!("{} is not in {}, which the guest sees", tests.display(), shared.display()))?;
    let skip: String = LEFT_OUT.iter().map(|name| format!(" --skip {name}")).collect();
    Ok(vec![
        format!("XVRRP_AGENT={0}/xvrrp {0}/virtio", guest::PROGRAMS),
        format!("RUST_TEST_THREADS={THREADS} {}/{} {FILTER}{skip}", guest::PROGRAMS, tests.display()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;
    use crate::process::workspace;

    #[test]
    fn every_test_that_is_left_out_exists() -> Result<()> {
        let mut sources = String::new();
        for file in files::below(&workspace().join("tests/suite/kernel_half"))? {
            sources.push_str(&std::fs::read_to_string(file)?);
        }
        for name in LEFT_OUT {
            assert!(sources.contains(&format!("fn {name}(")), "there is no test {name}");
        }
        Ok(())
    }
}
