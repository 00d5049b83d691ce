//! The bench: xvrrp, and keepalived beside it where both can do the same.
//!
//! A subject is one file with a [`Subject`], which [`SUBJECTS`] lists. It measures, and hands over [`Findings`]; how they
//! are shown, judged and written is not its concern.

mod arp;
mod bare_xdp;
mod false_takeover;
mod fencing;
mod html;
mod junk;
mod machine;
mod memory;
mod outage;
mod pages;
mod plot;
mod report;
mod restart;
mod routers;
mod samples;
mod scale;
pub mod soak;
mod takeover;
mod text;
mod throughput;
mod vips;
mod wires;
mod xdp;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};

pub use machine::Machine;
pub use plot::{Body, Group, Line, Plot};
pub use report::{Figure, Findings, Outcome, Report, Row, Section, Target};
pub use samples::Samples;

use xvrrp_lab::agent_binary;

/// Everything that can be measured, in the order of the report.
pub const SUBJECTS: &[Subject] = &[
    outage::SUBJECT,
    fencing::SUBJECT,
    vips::SUBJECT,
    scale::SUBJECT,
    xdp::SUBJECT,
    arp::SUBJECT,
    throughput::SUBJECT,
    restart::SUBJECT,
    false_takeover::SUBJECT,
    junk::SUBJECT,
];

/// One thing to measure.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// A word for the command line.
    pub name: &'static str,
    pub title: &'static str,
    pub run: fn(&Options) -> Result<Findings>,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How many times each thing is measured, instead of the subject's own number.
    pub runs: Option<usize>,
    /// Everything as small as can be: only whether the bench works.
    pub quick: bool,
}

impl Options {
    /// How many times a subject that would measure `full` times, or `quick` times, should.
    pub fn runs(&self, full: usize, quick: usize) -> usize {
        self.runs.unwrap_or(if self.quick { quick } else { full }).max(1)
    }

    /// One value for a full run, or another.
    pub fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// Measures one subject after the other, and prints what each has found. One that fails does not keep the others from
/// their turn.
pub fn run(subjects: &[Subject], options: &Options) -> Result<Report> {
    let mut report = Report { machine: Machine::look()?, quick: options.quick, sections: Vec::new() };
    for subject in subjects {
        eprintln!("bench: {} ...", subject.name);
        let start = Instant::now();
        let findings = catch_unwind(AssertUnwindSafe(|| (subject.run)(options)))
            .unwrap_or_else(|panic| {
                let literal = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                Err(anyhow!("panicked: {:?}", panic.downcast_ref::<String>().cloned().or(literal)))
            })
            .map_err(|error| format!("{error:#}"));
        let Subject { name, title, .. } = *subject;
        report.sections.push(Section { name, title, took: start.elapsed(), findings });
        if options.quick {
            report.unjudge();
        }
        if let Some(section) = report.sections.last() {
            print!("{}", text::section(section));
        }
    }
    println!("\n{}", text::summary(&report));
    Ok(report)
}

/// Where the report goes: `target/bench`, beside the agent that was measured.
pub fn directory() -> Result<PathBuf> {
    let agent = fs::canonicalize(agent_binary()?)?;
    let target = agent.parent().and_then(|profile| profile.parent()).context("the agent is in no target directory")?;
    Ok(target.join("bench"))
}
