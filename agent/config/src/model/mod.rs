//! The checked configuration: the other modules fill these types, and the agent uses them.

mod check;
mod notify;
mod virtual_router;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::index::CheckIndex;
use super::quote::quote;

pub use self::check::{CheckConfig, CheckKind, Tracked};
pub use self::notify::{Encryption, Login, MailConfig, NotifyConfig, NotifyProgram, Occasion};
pub use self::virtual_router::{Checksum, Origin, Password, UnicastPeer, VirtualRouterConfig, VirtualRouterLines};

/// Maximum number of virtual routers of a configuration: as many as 16 interfaces can have, with at most 255 each
/// (RFC 9568 5.2.3).
pub const MAX_VIRTUAL_ROUTERS: usize = 16 * 255;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Path of the file, as messages show it.
    pub file: PathBuf,
    /// Text of the whole file.
    pub text: Text,
    /// `[agent]`; the defaults if the file has no such table.
    pub agent: AgentConfig,
    /// `[[check]]` in the order of the file, including those that no virtual router tracks.
    pub checks: Vec<CheckConfig>,
    /// `[mail]`; without it, no mail is sent.
    pub mail: Option<MailConfig>,
    /// `[[virtual_router]]` in the order of the file: 1 to [`MAX_VIRTUAL_ROUTERS`].
    pub virtual_routers: Vec<VirtualRouterConfig>,
    /// `[[sync_group]]` in the order of the file.
    pub sync_groups: Vec<SyncGroupConfig>,
}

impl Config {
    /// Returns warnings about a configuration that can be used, as `FILE:LINE: ...`.
    pub fn warnings(&self) -> Vec<String> {
        let unused = self.numbered_checks().filter(|(index, _)| !self.is_tracked(*index));
        let warning = |(_, check): (CheckIndex, &CheckConfig)| {
            let (file, line, name) = (self.file.display(), check.lines.0, quote(&check.name));
            format!("{file}:{line}: check {name}: is not run, because no virtual router tracks it; track or remove it")
        };
        unused.map(warning).collect()
    }

    /// Returns all checks with their positions.
    pub fn numbered_checks(&self) -> impl Iterator<Item = (CheckIndex, &CheckConfig)> {
        self.checks.iter().enumerate().map(|(index, check)| (CheckIndex::new(index), check))
    }

    /// Returns whether a virtual router tracks the check.
    pub fn is_tracked(&self, check: CheckIndex) -> bool {
        self.virtual_routers.iter().any(|router| router.track.iter().any(|tracked| tracked.check == check))
    }
}

/// Text of a configuration. `Debug` does not show it, because passwords in it would end up in logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text(pub String);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text(..)")
    }
}

/// `[agent]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// Name of this host in the status. Default: the host name.
    pub router_id: String,
    /// Path of the control socket. Default: [`Self::DEFAULT_CONTROL`].
    pub control: PathBuf,
    /// Line of `control`, if the file has this key.
    pub control_line: Option<usize>,
    /// Address at which metrics are served over HTTP. Default: none.
    pub metrics: Option<SocketAddr>,
    /// Directory in which programs, links and maps are pinned. Default: [`Self::DEFAULT_BPFFS`].
    pub bpffs: PathBuf,
    /// Line of `bpffs`, if the file has this key.
    pub bpffs_line: Option<usize>,
    /// `SCHED_FIFO` priority of the election thread, 1 to 99; 0 means ordinary scheduling. Default:
    /// [`Self::DEFAULT_REALTIME_PRIORITY`].
    pub realtime_priority: u8,
}

impl AgentConfig {
    /// The default of `control`.
    pub const DEFAULT_CONTROL: &'static str = "/run/xvrrp/xvrrp.sock";
    /// The default of `bpffs`.
    pub const DEFAULT_BPFFS: &'static str = "/sys/fs/bpf/xvrrp";
    /// The default of `realtime_priority`.
    pub const DEFAULT_REALTIME_PRIORITY: u8 = 50;
}

/// `[[sync_group]]`: virtual routers that change role together. They have the same priority, interval and preemption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroupConfig {
    /// Unique among the groups; 1 to 64 characters from `A-Z a-z 0-9 . _ -`. Required.
    pub name: String,
    /// Names of at least two virtual routers. A virtual router is a member of at most one group. Required.
    pub members: Vec<String>,
    /// Programs that are run, and services that are started and stopped, when all members have changed their role.
    pub notify: NotifyConfig,
}
