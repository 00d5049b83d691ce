//! The limit on open files: thousands of virtual routers may need more files than the 1,024 that a process may have
//! open by default.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files besides those of the virtual routers: maps, netlink, clients.
const OTHERS: u64 = 512;

/// Raises the soft limit on open files, up to the hard limit, if there is no room for this many `files` of virtual
/// routers and everything else. Programs that the agent starts inherit the limit.
pub fn make_room(files: usize) {
    let needed = u64::try_from(files).unwrap_or(u64::MAX).saturating_add(OTHERS);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft >= needed {
        return;
    }
    if hard < needed {
        tracing::warn!(
            "up to {needed} files may have to be open at a time, but the hard limit is {hard}; raise the limit (`ulimit \
             -Hn`, systemd: LimitNOFILE=)"
        );
    }
    if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard) {
        tracing::warn!("cannot raise the limit of {soft} open files, although {needed} may be needed: {error}");
    }
}
