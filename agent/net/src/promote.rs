//! Keeps the operator's addresses on an interface while one of ours is removed.

use std::fs;
use std::path::PathBuf;

/// Setting of an interface, as long as this exists, that makes the kernel promote the secondary addresses of a subnet
/// when the primary one is deleted (`net.ipv4.conf.*.promote_secondaries`). By default, the kernel deletes them all.
#[derive(Debug)]
pub(super) struct Secondaries {
    restore: Option<(PathBuf, String)>,
}

impl Secondaries {
    /// Turns the setting on, unless it cannot be read or written.
    pub(super) fn on(interface: &str) -> Self {
        // Unlike sysctl(8), the path takes a dot in an interface's name as it is.
        let path = PathBuf::from(format!("/proc/sys/net/ipv4/conf/{interface}/promote_secondaries"));
        let restore = match fs::read_to_string(&path) {
            Ok(before) if before.trim() == "0" && fs::write(&path, "1").is_ok() => Some((path, before)),
            _ => None,
        };
        Self { restore }
    }
}

impl Drop for Secondaries {
    fn drop(&mut self) {
        if let Some((path, before)) = &self.restore {
            // A failure leaves the setting on, so that addresses stay. That is the lesser harm.
            let _ = fs::write(path, before);
        }
    }
}
