//! The bench, which measures xvrrp, and keepalived beside it where both can do the same; and the soak.
//!
//! Each subject of the bench is one file with a [`Subject`], which [`SUBJECTS`] lists. A subject measures and returns
//! [`Findings`]. The other files print, judge and write them.

#![warn(missing_docs)]
#![allow(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::unchecked_time_subtraction,
    reason = "whatever fails here fails a test or a measurement, with a message that says why"
)]

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
mod routes;
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

/// All subjects, in the order of the report.
pub const SUBJECTS: &[Subject] = &[
    outage::SUBJECT,
    fencing::SUBJECT,
    vips::SUBJECT,
    routes::SUBJECT,
    scale::SUBJECT,
    xdp::SUBJECT,
    arp::SUBJECT,
    throughput::SUBJECT,
    restart::SUBJECT,
    false_takeover::SUBJECT,
    junk::SUBJECT,
];

/// A subject of the bench.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// Word for the command line.
    pub name: &'static str,
    /// Heading in the report.
    pub title: &'static str,
    /// Measures the subject.
    pub run: fn(&Options) -> Result<Findings>,
}

/// Options of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Number of times that each thing is measured, instead of the subject's own number.
    pub runs: Option<usize>,
    /// Whether everything is made as small as possible, to check only that the bench works.
    pub quick: bool,
}

impl Options {
    /// Returns the number of times to measure: that of the command line, or else the subject's own.
    pub fn runs(&self, full: usize, quick: usize) -> usize {
        self.runs.unwrap_or(if self.quick { quick } else { full }).max(1)
    }

    /// Returns the value for a full or for a quick run.
    pub fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// Measures one subject after the other and prints its findings. If a subject fails, the others are still measured.
pub fn run(subjects: &[Subject], options: &Options) -> Result<Report> {
    let mut report = Report { machine: Machine::inspect()?, quick: options.quick, sections: Vec::new() };
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

/// Returns the directory for the report: `target/bench`, in the target directory of the agent that was measured.
pub fn directory() -> Result<PathBuf> {
    let agent = fs::canonicalize(agent_binary()?)?;
    let target =
        agent.parent().and_then(|profile| profile.parent()).context("the agent is not in a target directory")?;
    Ok(target.join("bench"))
}
