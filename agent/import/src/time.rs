//! Parses times of keepalived and heartbeat, and formats them for xvrrp.

/// Parses decimal seconds, as keepalived has them. Returns microseconds, rounded down.
pub(super) fn seconds(text: &str) -> Option<u64> {
    scaled(text, 1_000_000)
}

/// Parses a number with `ms`, `us`, `s`, `m` or `h`, as heartbeat has it. Without a unit it means seconds. Returns
/// microseconds, rounded down.
pub(super) fn with_unit(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let scale = match unit.trim() {
        "us" | "usec" => 1,
        "ms" | "msec" => 1_000,
        "" | "s" | "sec" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" | "hr" => 3_600_000_000,
        _ => return None,
    };
    scaled(number, scale)
}

/// Parses a decimal number, and multiplies it by the scale.
fn scaled(text: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let (mut rest, mut unit) = (0, scale);
    for digit in fraction.bytes().take(9) {
        unit /= 10;
        rest += u64::from(digit - b'0') * unit;
    }
    whole.checked_mul(scale)?.checked_add(rest)
}

/// Formats microseconds as a configuration of xvrrp has them: `1s`, `100ms`.
pub(super) fn duration(micros: u64) -> String {
    match micros {
        seconds if seconds % 1_000_000 == 0 => format!("{}s", seconds / 1_000_000),
        millis if millis % 1_000 == 0 => format!("{}ms", millis / 1_000),
        micros => format!("{}.{:03}ms", micros / 1_000, micros % 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_seconds_are_parsed() {
        for (text, micros) in [("1", 1_000_000), ("0.1", 100_000), (".5", 500_000), ("2.", 2_000_000), ("0.0000019", 1)]
        {
            assert_eq!(seconds(text), Some(micros), "{text}");
        }
        for wrong in ["", ".", "-1", "1s", "1.2.3", "99999999999999999999"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_with_and_without_units_are_parsed() {
        for (text, micros) in [("500ms", 500_000), ("10", 10_000_000), ("1.5", 1_500_000), ("2m", 120_000_000)] {
            assert_eq!(with_unit(text), Some(micros), "{text}");
        }
        assert_eq!(with_unit("2 days"), None);
    }

    #[test]
    fn durations_are_formatted_with_the_largest_unit_that_fits() {
        assert_eq!([duration(2_000_000), duration(1_500_000), duration(10_500)], ["2s", "1500ms", "10.500ms"]);
    }
}
