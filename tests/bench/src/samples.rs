//! Repeated measurements of one quantity, and their distribution.

use std::time::Duration;

use anyhow::{Result, ensure};

/// One or more measured values, in the unit of their row.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// Values in ascending order.
    values: Vec<f64>,
}

impl Samples {
    /// Makes samples of these values. Fails if there are none, or if one of them is not finite.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Result<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        ensure!(!values.is_empty(), "nothing was measured");
        ensure!(values.iter().all(|value| value.is_finite()), "a measured value is not finite: {values:?}");
        values.sort_by(f64::total_cmp);
        Ok(Self { values })
    }

    /// Makes samples of a value that was measured or counted once.
    pub fn once(value: f64) -> Result<Self> {
        Self::of([value])
    }

    /// Makes samples of durations, in milliseconds.
    pub fn milliseconds(durations: impl IntoIterator<Item = Duration>) -> Result<Self> {
        Self::of(durations.into_iter().map(|duration| duration.as_secs_f64() * 1e3))
    }

    /// Returns the number of samples, which is at least 1.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// Returns the least value.
    pub fn min(&self) -> f64 {
        self.values[0]
    }

    /// Returns the median. Of an even number of values, it is the greater of the two in the middle.
    pub fn median(&self) -> f64 {
        self.values[self.values.len() / 2]
    }

    /// Returns the smallest value that 99 % of the samples do not exceed. With fewer than 100 samples, it is the
    /// maximum.
    pub fn p99(&self) -> f64 {
        self.values[(self.values.len() * 99).div_ceil(100) - 1]
    }

    /// Returns the greatest value.
    pub fn max(&self) -> f64 {
        self.values[self.values.len() - 1]
    }

    /// Returns all values in ascending order.
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}

/// Formats a number with about three significant digits, in at most eight characters.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.2}M", value / 1e6),
        size if size >= 1e4 => format!("{:.1}k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.3}"),
    }
}

/// Formats a ratio.
pub fn share(ratio: f64) -> String {
    if ratio < 0.01 { number(ratio) } else { format!("{ratio:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_measured_values() {
        let hundred = Samples::of((1..=200).rev().map(f64::from)).expect("numbers");
        assert_eq!((hundred.min(), hundred.median(), hundred.p99(), hundred.max()), (1.0, 101.0, 198.0, 200.0));
        let few = Samples::of([3.0, 1.0, 2.0]).expect("numbers");
        assert_eq!((few.min(), few.median(), few.p99(), few.max()), (1.0, 2.0, 3.0, 3.0));
    }

    #[test]
    fn no_values_and_values_that_are_not_finite_are_refused() {
        assert!(Samples::of([]).is_err());
        assert!(Samples::of([1.0, f64::NAN]).is_err());
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [(0.0, "0"), (0.0421, "0.042"), (-2.26, "-2.26"), (99.96, "100.0"), (2_261_000.0, "2.26M")]
        {
            assert_eq!(number(value), text);
        }
    }
}
