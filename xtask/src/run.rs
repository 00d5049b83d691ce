//! `cargo xtask run`, `demo`, `screenshot`, `soak` and `bench`: build, then hand over to the program.

use anyhow::Result;

use crate::build::{self, Profile};
use crate::process::{as_root, become_program};
use crate::setup::{self, Needs};

/// The agent, with these arguments.
pub fn agent(args: &[String]) -> Result<()> {
    setup::ensure(Needs::Build)?;
    let directory = build::run(Profile::Dev, &["xvrrp"])?;
    become_program(as_root(directory.join("xvrrp")).args(args))
}

/// The demo, from the objects that the tests use too.
pub fn demo(args: &[String]) -> Result<()> {
    setup::ensure(Needs::Demo)?;
    lab("demo", Profile::Dev, args)
}

/// The picture of `xvrrp status --watch`.
pub fn screenshot() -> Result<()> {
    setup::ensure(Needs::Demo)?;
    lab("screenshot", Profile::Dev, &[])
}

/// The bench or the soak, which show speed: with an optimized agent.
pub fn measure(program: &str, args: &[String]) -> Result<()> {
    setup::ensure(Needs::Tests)?;
    lab(program, Profile::Release, args)
}

/// A program of the lab, with the agent that it starts.
fn lab(program: &str, profile: Profile, args: &[String]) -> Result<()> {
    let directory = build::run(profile, &["xvrrp", program])?;
    become_program(as_root(directory.join(program)).args(args).env("XVRRP_AGENT", directory.join("xvrrp")))
}
