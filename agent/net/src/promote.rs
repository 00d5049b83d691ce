//! Keeps the operator's addresses on an interface when one of ours is removed.

use std::fs;
use std::path::PathBuf;

/// While this exists, the kernel promotes the secondary addresses of a subnet when the primary one is deleted
/// (`net.ipv4.conf.*.promote_secondaries`). By default, it would delete them all.
#[derive(Debug)]
pub(super) struct Secondaries {
    restore: Option<(PathBuf, String)>,
}

impl Secondaries {
    /// Where the setting cannot be read or written, it is left as it is.
    pub(super) fn on(interface: &str) -> Self {
        // A dot in an interface's name is part of the name: the path takes it as it is, unlike sysctl(8).
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
            // Nothing can be done about a failure, and addresses that stay are the lesser harm.
            let _ = fs::write(path, before);
        }
    }
}
