//! The findings of the bench, independent of how they are shown.

use std::time::Duration;

use serde_json::{Value, json};

use super::machine::Machine;
use super::plot::Plot;
use super::samples::Samples;

/// All findings of one run of the bench.
#[derive(Debug)]
pub struct Report {
    pub machine: Machine,
    /// Whether the run was quick. Its figures mean nothing then, and targets are not judged.
    pub quick: bool,
    pub sections: Vec<Section>,
}

/// The part of the report about one subject.
#[derive(Debug)]
pub struct Section {
    /// Name of the subject, as on the command line.
    pub name: &'static str,
    pub title: &'static str,
    pub took: Duration,
    /// Findings, or the error because of which there are none.
    pub findings: Result<Findings, String>,
}

/// The findings of a subject.
#[derive(Debug, Default)]
pub struct Findings {
    /// Description in a few sentences: what was measured, how, and with which resolution.
    pub how: String,
    pub rows: Vec<Row>,
    /// Notes for the reader: what cannot be compared, and what disturbs the measurement.
    pub notes: Vec<String>,
    pub plots: Vec<Plot>,
}

/// One quantity, measured for one or more programs.
#[derive(Clone, Debug)]
pub struct Row {
    pub what: String,
    pub unit: &'static str,
    pub figures: Vec<Figure>,
    /// Figure that the others are compared with. A ratio is that of the medians.
    pub reference: Option<Figure>,
    pub target: Option<Target>,
}

/// The samples of one program or variant.
#[derive(Clone, Debug)]
pub struct Figure {
    pub program: String,
    pub samples: Samples,
}

/// A target for a row.
#[derive(Clone, Debug)]
pub struct Target {
    /// Description, such as `median at most 1 ms`.
    pub what: String,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Met,
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

    #[must_use]
    pub fn target(mut self, what: impl Into<String>, met: bool) -> Self {
        let outcome = if met { Outcome::Met } else { Outcome::Missed };
        self.target = Some(Target { what: what.into(), outcome });
        self
    }

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
