//! Room for the files of all virtual routers: the sockets of thousands of them may be more than the 1,024 files that a process
//! may have open by default.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// For everything that is no virtual router's: maps, netlink, clients.
const OTHERS: u64 = 512;

/// Raises the soft limit, as far as the hard one goes, where it has no room for this many `files` beside everything else.
/// Programs that the agent starts have that limit too.
pub fn make_room(files: usize) {
    let needed = u64::try_from(files).unwrap_or(u64::MAX).saturating_add(OTHERS);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft >= needed {
        return;
    }
    if hard < needed {
        tracing::warn!(
            "{needed} files may have to be open at a time, and at most {hard} are allowed; raise the limit (`ulimit -Hn`, \
             systemd: LimitNOFILE=)"
        );
    }
    if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard) {
        tracing::warn!("no more than {soft} files may be open, {needed} may be needed: {error}");
    }
}
