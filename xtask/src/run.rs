//! `cargo xtask run`, `demo`, `screenshot`, `soak` and `bench`: builds a program, then runs it in place of this one.

use anyhow::Result;

use crate::build::{self, Profile};
use crate::process::{as_root, become_program};
use crate::setup::{self, Needs};

/// Runs the agent with these arguments.
pub fn agent(args: &[String]) -> Result<()> {
    setup::ensure(Needs::Build)?;
    let directory = build::run(Profile::Dev, &["xvrrp"])?;
    become_program(as_root(directory.join("xvrrp")).args(args))
}

/// Runs the demo, built from the same objects as the tests.
pub fn demo(args: &[String]) -> Result<()> {
    setup::ensure(Needs::Demo)?;
    lab("demo", Profile::Dev, args)
}

/// Draws the picture of `xvrrp status --watch`.
pub fn screenshot() -> Result<()> {
    setup::ensure(Needs::Demo)?;
    lab("screenshot", Profile::Dev, &[])
}

/// Runs the bench or the soak with an optimized agent, because they measure times.
pub fn measure(program: &str, args: &[String]) -> Result<()> {
    setup::ensure(Needs::Tests)?;
    lab(program, Profile::Release, args)
}

/// Builds and runs a program of the lab, with the agent that it starts.
fn lab(program: &str, profile: Profile, args: &[String]) -> Result<()> {
    let directory = build::run(profile, &["xvrrp", program])?;
    become_program(as_root(directory.join(program)).args(args).env("XVRRP_AGENT", directory.join("xvrrp")))
}
