//! Collects everything that is wrong with a configuration, one line for each problem, in the order of the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::model::{Config, Original, Text, show};

/// A configuration that cannot be used. Displays as one line for each problem, without a newline at the end:
/// `FILE:LINE: virtual_router "NAME": KEY: what is wrong; what is expected`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(file, original.as_deref(), problems))]
pub struct ConfigError {
    file: PathBuf,
    /// What the text was made from: the problems are shown with its lines and words.
    original: Option<Arc<Original>>,
    problems: Vec<Problem>,
}

impl ConfigError {
    /// Returns the problems, in the order of the lines that the user has written. There is at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Shows the lines and words of the file that the text was made from, if it was.
    pub(super) fn made_from(mut self, text: &Text) -> Self {
        self.original.clone_from(&text.original);
        if let Some(original) = &self.original {
            self.problems.sort_by_key(|problem| original.order(problem.line));
        }
        self
    }
}

fn lines(file: &Path, original: Option<&Original>, problems: &[Problem]) -> String {
    let line = |Problem { line, message }: &Problem| show(original, file, *line, message);
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line of the TOML, counted from 1; `None` if the problem concerns the whole file.
    pub line: Option<usize>,
    /// `TABLE "NAME": KEY: what is wrong; what is expected`.
    pub message: String,
}

/// Proves that a problem was reported, so that a value that is missing because of it needs no further message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reported(());

/// Reads all elements. Does not stop at the first error, so that every error is reported.
pub(super) fn all<T>(read: impl IntoIterator<Item = Result<T, Reported>>) -> Result<Vec<T>, Reported> {
    let read: Vec<_> = read.into_iter().collect();
    read.into_iter().collect()
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// Adds a problem.
    pub fn report(&mut self, line: impl Into<Option<usize>>, message: String) -> Reported {
        self.0.push(Problem { line: line.into(), message });
        Reported(())
    }

    /// Returns the outcome of a check of this configuration if no problem was reported, otherwise the problems.
    pub fn conclude_check(self, config: &Config, outcome: Result<(), Reported>) -> Result<(), ConfigError> {
        self.conclude(&config.file, outcome).map_err(|error| error.made_from(&config.text))
    }

    /// Returns the outcome if no problem was reported, otherwise the problems.
    pub fn conclude<T>(mut self, file: &Path, outcome: Result<T, Reported>) -> Result<T, ConfigError> {
        match outcome {
            Ok(value) if self.0.is_empty() => Ok(value),
            Ok(_) | Err(Reported(())) => {
                // The sort is stable: problems of one line stay in the order in which they were found.
                self.0.sort_by_key(|problem| problem.line);
                Err(ConfigError { file: file.to_owned(), original: None, problems: self.0 })
            }
        }
    }
}

/// Positions at which the lines of a text begin, in bytes.
#[derive(Debug)]
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub fn new(text: &str) -> Self {
        let after_newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(after_newlines).collect())
    }

    /// Returns the line of a byte, counted from 1.
    pub fn line(&self, at: usize) -> usize {
        self.0.partition_point(|start| *start <= at)
    }

    /// Returns the first line, counted from 1, at whose end `holds` is true; the last line if it is true for none of
    /// the others. `holds` gets the position of the end and stays true for later ones.
    pub fn first(&self, holds: impl Fn(usize) -> bool) -> usize {
        self.0.partition_point(|start| !holds(*start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        let lines = Lines::new("a\nb\n\nc");
        assert_eq!([0, 1, 2, 3, 4, 5, 99].map(|at| lines.line(at)), [1, 1, 2, 2, 3, 4, 4]);
    }

    #[test]
    fn the_first_line_whose_end_meets_a_condition_is_found() {
        let lines = Lines::new("a\nb\n\nc");
        assert_eq!([1, 2, 3, 4, 5, 99].map(|at| lines.first(|end| end >= at)), [1, 1, 2, 2, 3, 4]);
    }

    #[test]
    fn problems_are_sorted_by_line() {
        let mut problems = Problems::default();
        problems.report(7, "third".into());
        problems.report(None, "first".into());
        problems.report(2, "second".into());
        let error = problems.conclude(Path::new("x.toml"), Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "x.toml: first\nx.toml:2: second\nx.toml:7: third");
    }

    #[test]
    fn problems_are_sorted_by_the_line_that_they_come_from() {
        let mut original = Original::default();
        let file = original.add_file("x.conf");
        for line in [Some(9), None, Some(2)] {
            original.push(line.map(|line| (file, line)), None);
        }
        let mut problems = Problems::default();
        for (line, message) in [(1, "third"), (2, "first"), (3, "second")] {
            problems.report(line, message.into());
        }
        let error = problems.conclude(Path::new("x"), Ok(())).unwrap_err();
        let error = error.made_from(&Text { toml: String::new(), original: Some(Arc::new(original)) });
        assert_eq!(error.to_string(), "x: first\nx.conf:2: second\nx.conf:9: third");
    }

    #[test]
    fn without_a_problem_the_outcome_is_returned() {
        assert_eq!(Problems::default().conclude(Path::new("x.toml"), Ok(5)), Ok(5));
    }
}
