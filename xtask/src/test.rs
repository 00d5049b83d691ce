//! `cargo xtask test`: every test of the workspace.

use anyhow::{Result, bail};

use crate::process::{become_program, cargo, check, is_root};
use crate::{build, setup};

/// The kernel half has no tests of its own: `tests/` feeds it frames.
pub const WORKSPACE: &[&str] = &["--workspace", "--exclude", "xvrrp-ebpf"];

/// How many tests of one file run at a time.
const THREADS: &str = "RUST_TEST_THREADS";

pub fn run(args: &[String]) -> Result<()> {
    setup::ensure()?;
    build::kernel_half()?;
    // The agent too, from the same objects as the tests that run it.
    check(cargo().arg("build").args(WORKSPACE).args(["--bins", "--tests"]))?;
    let mut test = cargo();
    test.arg("test").args(WORKSPACE).arg("--no-fail-fast");
    test.env("XVRRP_AGENT", build::target_directory().join("debug/xvrrp"));
    // The tests in namespaces wait far more than they compute.
    if std::env::var_os(THREADS).is_none() {
        test.env(THREADS, "6");
    }
    if is_root() {
        return become_program(test.args(args));
    }

    check(test.args(["--exclude", "xvrrp-tests"]).args(args))?;
    let left_out = "left out: the tests in tests/, which need root (namespaces, BPF, peers)";
    if std::env::var_os("CI").is_some() {
        bail!("{left_out}; CI must run them all");
    }
    println!("xtask test: {left_out}");
    Ok(())
}
