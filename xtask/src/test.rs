//! `cargo xtask test`: runs every test of the workspace.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use crate::build::{self, Profile, WORKSPACE};
use crate::process::{become_program, cargo, check, is_root};
use crate::setup::{self, Needs};

/// Variable with the number of tests of one program that run at a time.
const THREADS: &str = "RUST_TEST_THREADS";

/// Packages whose tests need root.
const NEED_ROOT: &[&str] = &["xvrrp-lab", "xvrrp-tests"];

/// Options that find tests which pass only on a quiet machine.
#[derive(Args, Clone, Copy, Debug)]
#[group(id = "load")]
pub struct Load {
    /// Run the tests N times, even after a failure
    #[arg(long, value_name = "N", default_value_t = 1)]
    times: u32,
    /// Keep N threads busy meanwhile
    #[arg(long, value_name = "N", default_value_t = 0)]
    busy_loops: u32,
}

pub fn run(load: Load, args: &[String]) -> Result<()> {
    setup::ensure(Needs::Tests)?;
    build::kernel_half()?;
    // This builds the agent too, from the same objects as the tests that run it.
    check(cargo().arg("build").args(WORKSPACE).args(["--bin", "xvrrp", "--tests"]))?;
    let mut test = cargo();
    test.arg("test").args(WORKSPACE).arg("--no-fail-fast");
    test.env("XVRRP_AGENT", Profile::Dev.directory().join("xvrrp"));
    // The tests in namespaces mostly wait, so more of them run at a time than there are processors.
    if std::env::var_os(THREADS).is_none() {
        test.env(THREADS, "6");
    }
    if is_root() {
        test.args(args);
        return if load.is_plain() { become_program(&mut test) } else { load.run(&mut test) };
    }
    if !load.is_plain() {
        bail!("--times and --busy-loops run all tests, which needs root");
    }

    check(test.args(NEED_ROOT.iter().flat_map(|package| ["--exclude", package])).args(args))?;
    let left_out =
        "the tests in tests/lab and tests/suite were left out, because they need root (namespaces, BPF, peers)";
    if std::env::var_os("CI").is_some() {
        bail!("{left_out}, and CI must run all tests");
    }
    println!("xtask test: {left_out}");
    Ok(())
}

impl Load {
    fn is_plain(self) -> bool {
        self.times == 1 && self.busy_loops == 0
    }

    /// Runs the tests beside busy threads, which end with this process.
    fn run(self, test: &mut Command) -> Result<()> {
        for _ in 0..self.busy_loops {
            std::thread::spawn(|| {
                loop {
                    std::hint::spin_loop();
                }
            });
        }
        let mut failures = 0;
        for run in 1..=self.times {
            let start = Instant::now();
            let passed = test.status()?.success();
            failures += u32::from(!passed);
            let outcome = if passed { "passed" } else { "FAILED" };
            println!("xtask test: run {run} of {}: {outcome} after {} s", self.times, start.elapsed().as_secs());
        }
        if failures > 0 {
            bail!("{failures} of {} runs have failed", self.times);
        }
        Ok(())
    }
}
