//! `cargo xtask run`, `demo` and `bench`: build, then hand over to the program.

use std::process::Command;

use anyhow::Result;

use crate::process::{cargo, check, is_root, output};
use crate::{build, setup};

/// The agent, with these arguments.
pub fn agent(args: &[String]) -> Result<()> {
    setup::run()?;
    let agent = build::run(false)?;
    let mut command = if is_root() || output(Command::new("sudo").arg("--version")).is_none() {
        Command::new(agent)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg(agent);
        sudo
    };
    check(command.args(args))
}

/// A program of the lab: `demo` or `bench`. Both show speed, so both run an optimized agent.
pub fn lab(program: &str, args: &[String]) -> Result<()> {
    setup::run()?;
    let agent = build::run(true)?;
    let mut command = cargo();
    command
        .args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "xvrrp-tests",
            "--bin",
            program,
            "--",
        ])
        .args(args);
    check(command.env("XVRRP_AGENT", agent))
}
