//! `cargo xtask test`: every test of the workspace.

use anyhow::{Result, bail};

use crate::build::{self, Profile, WORKSPACE};
use crate::process::{become_program, cargo, check, is_root};
use crate::setup::{self, Needs};

/// How many tests of one program run at a time.
const THREADS: &str = "RUST_TEST_THREADS";

/// The packages whose tests need root.
const NEED_ROOT: &[&str] = &["xvrrp-lab", "xvrrp-tests"];

pub fn run(args: &[String]) -> Result<()> {
    setup::ensure(Needs::Tests)?;
    build::kernel_half()?;
    // The agent too, from the same objects as the tests that run it.
    check(cargo().arg("build").args(WORKSPACE).args(["--bin", "xvrrp", "--tests"]))?;
    let mut test = cargo();
    test.arg("test").args(WORKSPACE).arg("--no-fail-fast");
    test.env("XVRRP_AGENT", Profile::Dev.directory().join("xvrrp"));
    // The tests in namespaces wait far more than they compute.
    if std::env::var_os(THREADS).is_none() {
        test.env(THREADS, "6");
    }
    if is_root() {
        return become_program(test.args(args));
    }

    check(test.args(NEED_ROOT.iter().flat_map(|package| ["--exclude", package])).args(args))?;
    let left_out = "left out: the tests in tests/lab and tests/suite, which need root (namespaces, BPF, peers)";
    if std::env::var_os("CI").is_some() {
        bail!("{left_out}; CI must run them all");
    }
    println!("xtask test: {left_out}");
    Ok(())
}
