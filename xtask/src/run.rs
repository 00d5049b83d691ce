//! `cargo xtask run`, `demo`, `soak` and `bench`: build, then hand over to the program.

use anyhow::Result;

use crate::process::{as_root, become_program, cargo, check};
use crate::{build, setup};

/// The agent, with these arguments.
pub fn agent(args: &[String]) -> Result<()> {
    setup::ensure()?;
    let agent = build::run(false)?;
    become_program(as_root(agent).args(args))
}

/// A program of the lab: `demo`, `soak` or `bench`. They show speed, so they run an optimized agent.
pub fn lab(program: &str, args: &[String]) -> Result<()> {
    setup::ensure()?;
    build::kernel_half()?;
    // Together, so that both are built from the same objects.
    check(cargo().args(["build", "--release", "--package", "xvrrp", "--package", "xvrrp-tests", "--bins"]))?;
    let directory = build::target_directory().join("release");
    become_program(as_root(directory.join(program)).args(args).env("XVRRP_AGENT", directory.join("xvrrp")))
}
