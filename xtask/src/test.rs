//! `cargo xtask test`: every test of the workspace.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use crate::build::{self, Profile, WORKSPACE};
use crate::process::{become_program, cargo, check, is_root};
use crate::setup::{self, Needs};

/// How many tests of one program run at a time.
const THREADS: &str = "RUST_TEST_THREADS";

/// The packages whose tests need root.
const NEED_ROOT: &[&str] = &["xvrrp-lab", "xvrrp-tests"];

/// How to look for tests that pass only on a quiet machine.
#[derive(Args, Clone, Copy, Debug)]
#[group(id = "load")]
pub struct Load {
    /// Run the tests this many times, also after a failure
    #[arg(long, value_name = "N", default_value_t = 1)]
    times: u32,
    /// Keep this many threads busy meanwhile
    #[arg(long, value_name = "N", default_value_t = 0)]
    busy_loops: u32,
}

pub fn run(load: Load, args: &[String]) -> Result<()> {
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
        test.args(args);
        return if load.is_plain() { become_program(&mut test) } else { load.run(&mut test) };
    }
    if !load.is_plain() {
        bail!("--times and --busy-loops are for all tests at once, which need root");
    }

    check(test.args(NEED_ROOT.iter().flat_map(|package| ["--exclude", package])).args(args))?;
    let left_out = "left out: the tests in tests/lab and tests/suite, which need root (namespaces, BPF, peers)";
    if std::env::var_os("CI").is_some() {
        bail!("{left_out}; CI must run them all");
    }
    println!("xtask test: {left_out}");
    Ok(())
}

impl Load {
    fn is_plain(self) -> bool {
        self.times == 1 && self.busy_loops == 0
    }

    /// The threads that this starts end with this process.
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
            bail!("{failures} of {} runs failed", self.times);
        }
        Ok(())
    }
}
