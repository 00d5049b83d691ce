//! `cargo xtask test`: every test of the workspace.

use anyhow::{Result, bail};

use crate::process::{cargo, check, is_root};
use crate::{build, setup};

pub fn run(args: &[String]) -> Result<()> {
    setup::run()?;
    let agent = build::run(false)?;
    let mut test = cargo();
    test.args(["test", "--workspace", "--exclude", "xvrrp-ebpf", "--no-fail-fast"]);
    if !is_root() {
        test.args(["--exclude", "xvrrp-tests"]);
    }
    check(test.args(args).env("XVRRP_AGENT", agent))?;
    if !is_root() {
        bail!("the tests above passed, but those in tests/ need root (namespaces, BPF) and did not run");
    }
    Ok(())
}
