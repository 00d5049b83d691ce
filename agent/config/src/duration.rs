//! Parses durations such as `100ms`, `1.5s` and `2m`. Computes with integers, and does not round.

use xvrrp_common::units::Interval;

const UNITS: [(&str, u64); 3] = [("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000)];

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// It does not begin with a decimal number.
    Number,
    /// Nothing follows the number.
    NoUnit,
    /// Something other than `ms`, `s` or `m` follows the number.
    Unit,
    /// It has more nanoseconds than 64 bits can hold.
    TooLong,
    /// It is not a whole number of nanoseconds.
    TooFine,
}

impl Malformed {
    /// Completes "DURATION ..." in a message.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Number => "is not a duration",
            Self::NoUnit => "has no unit",
            Self::Unit => "has a unit other than ms, s and m",
            Self::TooLong => "is out of range",
            Self::TooFine => "is finer than a nanosecond",
        }
    }
}

/// Parses a duration.
pub(super) fn parse(text: &str) -> Result<Interval, Malformed> {
    let number_length = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(number_length);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(Malformed::Number);
    }
    if unit.is_empty() {
        return Err(Malformed::NoUnit);
    }
    let (_, nanos_per_unit) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(Malformed::Unit)?;

    let whole: u64 = whole.parse().map_err(|_| Malformed::TooLong)?;
    let nanos = whole.checked_mul(nanos_per_unit).ok_or(Malformed::TooLong)?;
    let nanos = nanos.checked_add(fraction_of(nanos_per_unit, fraction)?).ok_or(Malformed::TooLong)?;
    Ok(Interval::from_nanos(nanos))
}

/// Returns `0.fraction` times the unit, if that is a whole number of nanoseconds.
fn fraction_of(nanos_per_unit: u64, fraction: &str) -> Result<u64, Malformed> {
    let digits = fraction.trim_end_matches('0');
    // No unit has more significant digits than minutes, which have 11.
    let places = u32::try_from(digits.len()).ok().filter(|places| *places <= 11).ok_or(Malformed::TooFine)?;
    let numerator = digits.bytes().fold(0, |number, digit| number * 10 + u128::from(digit - b'0'));
    let (product, denominator) = (numerator * u128::from(nanos_per_unit), 10_u128.pow(places));
    if !product.is_multiple_of(denominator) {
        return Err(Malformed::TooFine);
    }
    u64::try_from(product / denominator).map_err(|_| Malformed::TooLong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_of_every_unit_are_parsed() {
        for (text, millis) in
            [("100ms", 100), ("1s", 1_000), ("1.5s", 1_500), ("40.950s", 40_950), ("2m", 120_000), ("0s", 0)]
        {
            assert_eq!(parse(text), Ok(Interval::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn fractions_are_exact_down_to_a_nanosecond() {
        assert_eq!(parse("0.000001ms"), Ok(Interval::from_nanos(1)));
        assert_eq!(parse("0.00000000005m"), Ok(Interval::from_nanos(3)));
        assert_eq!(parse("0.0000001ms"), Err(Malformed::TooFine));
        assert_eq!(parse("0.1234567891s"), Err(Malformed::TooFine));
        assert_eq!(parse("1.000000000000000000000000s"), Ok(Interval::from_seconds(1)));
    }

    #[test]
    fn the_error_says_why_a_text_is_not_a_duration() {
        for (text, malformed) in [
            ("", Malformed::Number),
            ("ms", Malformed::Number),
            (".5s", Malformed::Number),
            ("1.s", Malformed::Number),
            ("1.2.3s", Malformed::Number),
            ("-1s", Malformed::Number),
            ("1", Malformed::NoUnit),
            ("1.5", Malformed::NoUnit),
            ("1 s", Malformed::Unit),
            ("1S", Malformed::Unit),
            ("1h", Malformed::Unit),
            ("1s ", Malformed::Unit),
            ("1e3s", Malformed::Unit),
            ("18446744073709551615m", Malformed::TooLong),
            ("99999999999999999999s", Malformed::TooLong),
        ] {
            assert_eq!(parse(text), Err(malformed), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn no_text_that_resembles_a_duration_panics(text in "[0-9.]{0,30}(ms|s|m)?") {
            let _ = parse(&text);
        }

        #[test]
        fn every_number_of_nanoseconds_can_be_written_in_seconds(nanos in any::<u64>()) {
            let text = format!("{}.{:09}s", nanos / 1_000_000_000, nanos % 1_000_000_000);
            prop_assert_eq!(parse(&text), Ok(Interval::from_nanos(nanos)));
        }
    }
}
