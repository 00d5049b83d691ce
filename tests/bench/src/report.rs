//! The findings of the bench, independent of how they are shown.

use std::time::Duration;

use serde_json::{Value, json};

use super::machine::Machine;
use super::plot::Plot;
use super::samples::Samples;

/// All findings of one run of the bench.
#[derive(Debug)]
pub struct Report {
    /// Machine that the figures are from.
    pub machine: Machine,
    /// Whether the run was quick. Its figures mean nothing then, and targets are not judged.
    pub quick: bool,
    /// Subjects, in the order in which they were measured.
    pub sections: Vec<Section>,
}

/// The part of the report about one subject.
#[derive(Debug)]
pub struct Section {
    /// Name of the subject, as on the command line.
    pub name: &'static str,
    /// Heading of the section.
    pub title: &'static str,
    /// Time that the measurement took.
    pub took: Duration,
    /// Findings, or the error because of which there are none.
    pub findings: Result<Findings, String>,
}

/// The findings of a subject.
#[derive(Debug, Default)]
pub struct Findings {
    /// Description in a few sentences: what was measured, how, and with which resolution.
    pub how: String,
    /// Figures, in the order in which they are printed.
    pub rows: Vec<Row>,
    /// Notes for the reader: what cannot be compared, and what disturbs the measurement.
    pub notes: Vec<String>,
    /// Plots that illustrate the rows.
    pub plots: Vec<Plot>,
}

/// One quantity, measured for one or more programs.
#[derive(Clone, Debug)]
pub struct Row {
    /// Description of the quantity.
    pub what: String,
    /// Unit of all samples of the row.
    pub unit: &'static str,
    /// Samples of each program.
    pub figures: Vec<Figure>,
    /// Figure that the others are compared with. A ratio is that of the medians.
    pub reference: Option<Figure>,
    /// Target of the row, if it has one.
    pub target: Option<Target>,
}

/// The samples of one program or variant.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Name of the program, with the variant if there are several.
    pub program: String,
    /// Samples in the unit of the row.
    pub samples: Samples,
}

/// A target for a row.
#[derive(Clone, Debug)]
pub struct Target {
    /// Description, such as `median at most 1 ms`.
    pub what: String,
    /// Whether it is met.
    pub outcome: Outcome,
}

/// Whether a target is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The figures meet the target.
    Met,
    /// The figures do not meet the target, so the bench fails.
    Missed,
    /// Not comparable, for this reason.
    NotComparable(String),
    /// Not judged, because the run was quick.
    NotJudged,
}

impl Row {
    /// Makes a row without figures. `what` is unique among the rows of a subject, and at most 44 characters long.
    pub fn new(what: impl Into<String>, unit: &'static str) -> Self {
        Self { what: what.into(), unit, figures: Vec::new(), reference: None, target: None }
    }

    /// Adds the samples of a program.
    #[must_use]
    pub fn figure(mut self, program: impl Into<String>, samples: Samples) -> Self {
        self.figures.push(Figure { program: program.into(), samples });
        self
    }

    /// Sets the figure that the others are compared with.
    #[must_use]
    pub fn beside(mut self, program: impl Into<String>, samples: Samples) -> Self {
        self.reference = Some(Figure { program: program.into(), samples });
        self
    }

    /// Sets the target and whether it is met.
    #[must_use]
    pub fn target(mut self, what: impl Into<String>, met: bool) -> Self {
        let outcome = if met { Outcome::Met } else { Outcome::Missed };
        self.target = Some(Target { what: what.into(), outcome });
        self
    }

    /// Sets a target that cannot be judged, with the reason.
    #[must_use]
    pub fn not_comparable(mut self, what: impl Into<String>, reason: impl Into<String>) -> Self {
        self.target = Some(Target { what: what.into(), outcome: Outcome::NotComparable(reason.into()) });
        self
    }

    /// Returns the ratio of a figure's median to the reference's median.
    pub fn ratio(&self, figure: &Figure) -> Option<f64> {
        let reference = self.reference.as_ref()?.samples.median();
        (reference != 0.0).then(|| figure.samples.median() / reference)
    }
}

impl Target {
    /// Returns the outcome in one word.
    pub fn verdict(&self) -> &'static str {
        match self.outcome {
            Outcome::Met => "met",
            Outcome::Missed => "MISSED",
            Outcome::NotComparable(_) => "n/c",
            Outcome::NotJudged => "-",
        }
    }
}

impl Section {
    /// Returns the rows. There are none if the subject could not be measured.
    pub fn rows(&self) -> &[Row] {
        self.findings.as_ref().map_or(&[], |findings| &findings.rows)
    }
}

impl Report {
    /// Marks all targets as not judged.
    pub fn unjudge(&mut self) {
        let findings = self.sections.iter_mut().filter_map(|section| section.findings.as_mut().ok());
        for target in findings.flat_map(|findings| &mut findings.rows).filter_map(|row| row.target.as_mut()) {
            target.outcome = Outcome::NotJudged;
        }
    }

    /// Returns every target with its section and row.
    pub fn targets(&self) -> impl Iterator<Item = (&Section, &Row, &Target)> {
        let rows = self.sections.iter().flat_map(|section| section.rows().iter().map(move |row| (section, row)));
        rows.filter_map(|(section, row)| Some((section, row, row.target.as_ref()?)))
    }

    /// Returns the number of targets that are not met.
    pub fn missed(&self) -> usize {
        self.targets().filter(|(_, _, target)| target.outcome == Outcome::Missed).count()
    }

    /// Returns the names of the subjects that could not be measured.
    pub fn failed(&self) -> Vec<&'static str> {
        self.sections.iter().filter(|section| section.findings.is_err()).map(|section| section.name).collect()
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "machine": self.machine.json(),
            "quick": self.quick,
            "subjects": self.sections.iter().map(Section::json).collect::<Vec<_>>(),
        })
    }
}

impl Section {
    fn json(&self) -> Value {
        let mut value = json!({"name": self.name, "title": self.title, "seconds": self.took.as_secs_f64()});
        match &self.findings {
            Ok(findings) => {
                value["how"] = json!(findings.how);
                value["notes"] = json!(findings.notes);
                value["rows"] = findings.rows.iter().map(Row::json).collect();
            }
            Err(error) => value["error"] = json!(error),
        }
        value
    }
}

impl Row {
    fn json(&self) -> Value {
        let figure = |figure: &Figure| {
            let samples = &figure.samples;
            json!({
                "program": figure.program,
                "count": samples.count(),
                "min": samples.min(),
                "median": samples.median(),
                "p99": samples.p99(),
                "max": samples.max(),
                "ratio": self.ratio(figure),
                "values": samples.values(),
            })
        };
        let target = self.target.as_ref().map(|target| {
            let reason = match &target.outcome {
                Outcome::NotComparable(reason) => Some(reason),
                _ => None,
            };
            json!({"what": target.what, "verdict": target.verdict(), "reason": reason})
        });
        json!({
            "what": self.what,
            "unit": self.unit,
            "figures": self.figures.iter().map(figure).collect::<Vec<_>>(),
            "reference": self.reference.as_ref().map(figure),
            "target": target,
        })
    }
}
