//! The boot-time clock, which the kernel half stamps adverts with.

use nix::time::{ClockId, clock_gettime};
use xvrrp_common::units::Instant;

/// The present moment. Only the election and what reports on it read the clock; the state machine is told.
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has had CLOCK_BOOTTIME since 2.6.39");
    let nanos = u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0);
    Instant::from_nanos(nanos)
}
