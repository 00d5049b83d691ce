//! The boot-time clock, with which the kernel half stamps adverts, and the wall clock.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use xvrrp_common::units::Instant;
use xvrrp_config::files;

/// Returns the current boot time. Only the election and its reports read the clock; the state machine gets the time as
/// an argument.
///
/// # Panics
/// The kernel has no `CLOCK_BOOTTIME`. Linux has had it since 2.6.39.
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has had CLOCK_BOOTTIME since 2.6.39");
    let nanos = u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0);
    Instant::from_nanos(nanos)
}

/// Returns the wall-clock time in seconds since 1970.
pub fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Error: this process is in a time namespace whose boot-time clock differs from the kernel's.
#[derive(Debug, thiserror::Error)]
#[error(
    "this process is in a time namespace whose boot-time clock is {offset} s off the kernel's, which XDP programs read: start \
     the agent in the host's time namespace, or in one without an offset"
)]
pub struct OtherClock {
    /// Difference in seconds.
    offset: String,
}

/// Checks that this process and the kernel half read the same clock. XDP programs ignore time namespaces
/// (time_namespaces(7)): with an offset, every stamp and every lease would be wrong by that offset, and a lease would
/// never end, or never begin.
///
/// # Errors
/// The time namespace of this process has an offset.
pub fn check() -> Result<(), OtherClock> {
    // Kernels without time namespaces do not have this file.
    let offsets = files::read_text(Path::new("/proc/self/timens_offsets"), 4096).unwrap_or_default();
    boot_time_offset(&offsets).map_or(Ok(()), |offset| Err(OtherClock { offset }))
}

/// Returns the offset of the boot-time clock in seconds, unless it is 0.
fn boot_time_offset(offsets: &str) -> Option<String> {
    let mut line = offsets.lines().find_map(|line| line.strip_prefix("boottime"))?.split_whitespace();
    let (seconds, nanoseconds) = (line.next()?.parse::<i64>().ok()?, line.next()?.parse::<i64>().ok()?);
    let sum = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let (sign, sum) = (if sum < 0 { "-" } else { "" }, sum.unsigned_abs());
    (sum != 0).then(|| format!("{sign}{}.{:09}", sum / 1_000_000_000, sum % 1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_offset_of_the_boot_time_clock_is_reported() {
        for (offsets, expected) in [
            ("", None),
            ("monotonic           0         0\nboottime            0         0\n", None),
            ("monotonic        1000         0\nboottime            0         0\n", None),
            ("monotonic           0         0\nboottime         1000         0\n", Some("1000.000000000")),
            ("monotonic           0         0\nboottime           -1 500000000\n", Some("-0.500000000")),
            ("monotonic           0         0\nboottime            0         1\n", Some("0.000000001")),
        ] {
            assert_eq!(boot_time_offset(offsets).as_deref(), expected, "{offsets:?}");
        }
    }
}
