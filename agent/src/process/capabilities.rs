//! Capabilities of the process (capabilities(7)), which are checked before the agent changes anything.

use std::fs;
use std::io;

/// A capability, with its number in linux/capability.h and what the agent needs it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Capability {
    name: &'static str,
    number: u8,
    purpose: &'static str,
}

const NET_ADMIN: Capability =
    Capability { name: "CAP_NET_ADMIN", number: 12, purpose: "attach to interfaces and put addresses on them" };
const NET_RAW: Capability = Capability { name: "CAP_NET_RAW", number: 13, purpose: "send adverts" };
const SYS_ADMIN: Capability =
    Capability { name: "CAP_SYS_ADMIN", number: 21, purpose: "enter another network namespace" };
const PERFMON: Capability =
    Capability { name: "CAP_PERFMON", number: 38, purpose: "load BPF programs that compute packet pointers" };
const BPF: Capability = Capability { name: "CAP_BPF", number: 39, purpose: "load BPF programs and use their maps" };

/// Why the capabilities do not suffice.
#[derive(Debug, thiserror::Error)]
pub enum CapabilityError {
    /// Some are missing.
    #[error("missing {}; run as root, or give them to the service (systemd: CapabilityBoundingSet=, AmbientCapabilities=)", describe(.0))]
    Missing(Vec<Missing>),
    /// They cannot be determined.
    #[error("cannot read the process's capabilities: {0}; is /proc mounted?")]
    Read(#[source] io::Error),
}

/// A capability that the agent needs and the process lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name, such as `CAP_BPF`.
    pub name: &'static str,
    /// What it is needed for, as the end of "to ...".
    pub purpose: &'static str,
}

/// Checks that the calling thread has the capabilities that a running agent needs. `enters_namespace`: the agent is
/// going to enter another network namespace. The capabilities for real-time scheduling are not checked:
/// without them the agent runs and logs a warning.
///
/// # Errors
/// A capability is missing, or the capabilities cannot be read. [`CapabilityError::Missing`] names all that are
/// missing.
pub fn check(enters_namespace: bool) -> Result<(), CapabilityError> {
    match missing(effective().map_err(CapabilityError::Read)?, enters_namespace) {
        missing if missing.is_empty() => Ok(()),
        missing => Err(CapabilityError::Missing(missing)),
    }
}

fn missing(effective: u64, enters_namespace: bool) -> Vec<Missing> {
    let has = |capability: Capability| effective & (1 << capability.number) != 0;
    // The kernel accepts CAP_SYS_ADMIN in place of both, as before they existed (bpf_capable, perfmon_capable).
    let has_bpf = |capability| has(capability) || has(SYS_ADMIN);
    let needed = [
        (BPF, has_bpf(BPF)),
        (PERFMON, has_bpf(PERFMON)),
        (NET_ADMIN, has(NET_ADMIN)),
        (NET_RAW, has(NET_RAW)),
        (SYS_ADMIN, has(SYS_ADMIN) || !enters_namespace),
    ];
    let absent = needed.into_iter().filter(|(_, present)| !present);
    absent.map(|(Capability { name, purpose, .. }, _)| Missing { name, purpose }).collect()
}

fn effective() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn describe(missing: &[Missing]) -> String {
    let each: Vec<String> = missing.iter().map(|Missing { name, purpose }| format!("{name} (to {purpose})")).collect();
    each.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = 1 << 12 | 1 << 13 | 1 << 38 | 1 << 39;

    fn names(effective: u64, enters_namespace: bool) -> Vec<&'static str> {
        missing(effective, enters_namespace).into_iter().map(|missing| missing.name).collect()
    }

    #[test]
    fn each_missing_capability_is_named() {
        assert_eq!(names(0, true), ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_ADMIN"]);
        assert_eq!(names(ALL & !(1 << 13), false), ["CAP_NET_RAW"]);
        assert_eq!(names(ALL, false), Vec::<&str>::new());
    }

    #[test]
    fn another_namespace_needs_sys_admin() {
        assert_eq!(names(ALL, true), ["CAP_SYS_ADMIN"]);
    }

    #[test]
    fn sys_admin_stands_in_for_bpf_and_perfmon() {
        assert_eq!(names(1 << 12 | 1 << 13 | 1 << 21, true), Vec::<&str>::new());
    }

    #[test]
    fn the_message_says_what_a_capability_is_for_and_how_to_get_it() {
        let error = CapabilityError::Missing(missing(ALL & !(1 << 13), false));
        assert_eq!(
            error.to_string(),
            "missing CAP_NET_RAW (to send adverts); run as root, or give them to the service (systemd: CapabilityBoundingSet=, AmbientCapabilities=)"
        );
    }

    #[test]
    fn the_capabilities_of_this_process_can_be_read() {
        assert!(effective().is_ok());
    }
}
