//! The clock that leases and stamps are measured by.

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;

/// Returns the time in nanoseconds since boot (`CLOCK_BOOTTIME`), which includes the time that the machine was
/// suspended.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_boot_ns() }
}
