//! The checked configuration: the other modules fill these types, and the agent uses them.

mod check;
mod disabled;
mod notify;
mod program;
mod routing;
mod text;
mod virtual_router;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xvrrp_common::units::{Family, Interval};

use super::index::CheckIndex;
use super::quote::quote;

pub use self::check::{ArgumentRule, CheckConfig, CheckKind, InitialNumber, ProcessCheck, ProcessMatch, Tracked};
pub(crate) use self::disabled::Item;
pub use self::notify::{Encryption, Login, MailConfig, NotifyConfig, NotifyFifo, NotifyProgram, Occasion};
pub use self::program::{CommandLine, Program, ScriptUser};
pub use self::routing::{
    Insertion, Metric, Named, Names, NextHop, Prefix, Realms, Route, RouteKind, RoutingConfig, Rule, RuleAction,
    StaticAddress, StaticConfig, Table, Written,
};
pub(crate) use self::text::show;
pub use self::text::{Original, Text};
pub use self::virtual_router::{
    Checksum, ElectionRules, Origin, Password, UnicastPeer, VirtualRouterConfig, VirtualRouterLines,
};

/// Maximum number of virtual routers of a configuration: as many as 16 interfaces can have, with at most 255 each
/// (RFC 9568 5.2.3).
pub const MAX_VIRTUAL_ROUTERS: usize = 16 * 255;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Path of the file that the user has named.
    pub file: PathBuf,
    /// Text of the whole file, or what was made of it.
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
            let name = quote(&check.name);
            let message = format!("check {name}: is not run, because no virtual router tracks it; track or remove it");
            self.show(check.lines.0, &message)
        };
        let left_out = self.text.original.iter().flat_map(|original| original.left_out.iter().cloned());
        let own = unused.map(warning).chain(self.lone_weights()).chain(self.unwritten_priorities());
        let own = own.chain(self.first_addresses());
        left_out.chain(own).collect()
    }

    /// Returns a message of the form `TABLE: KEY: ...` as users read it: after the file, and the line if there is one.
    /// If the configuration was made from that of another program, it has the line and the words that the user has
    /// written.
    pub fn show(&self, line: impl Into<Option<usize>>, message: &str) -> String {
        self.text.show(&self.file, line.into(), message)
    }

    /// Returns warnings about checks that change the priority of a member of a sync group differently from that of the
    /// others.
    fn lone_weights(&self) -> impl Iterator<Item = String> {
        let others = |router: &VirtualRouterConfig| {
            let (name, group) = (router.name.clone(), router.sync_group);
            let is_other =
                move |other: &&VirtualRouterConfig| group.is_some() && other.sync_group == group && other.name != name;
            self.virtual_routers.iter().filter(is_other)
        };
        self.virtual_routers.iter().flat_map(move |router| {
            let is_lone = move |tracked: &&Tracked| {
                tracked.weight != 0 && others(router).any(|other| !other.track.contains(tracked))
            };
            router.track.iter().filter(is_lone).map(|tracked| {
                let name = quote(&router.name);
                let check = tracked.check.of(&self.checks).map(|check| quote(&check.name)).unwrap_or_default();
                let message = format!(
                    "virtual_router {name}: track: {check} changes the priority of this member of its sync_group alone, \
                     so that hosts may disagree about who is better; list it in track of the sync_group instead"
                );
                self.show(router.lines.header, &message)
            })
        })
    }

    /// Returns warnings about IPv6 addresses that do not begin with a link-local one. The import of another program's
    /// file has reported that.
    fn first_addresses(&self) -> impl Iterator<Item = String> {
        let routers = self.virtual_routers.iter().filter(|_| self.text.original.is_none());
        routers.filter_map(|router| {
            let first = router.advertised_of(Family::Ipv6).next().filter(|first| !first.is_link_local())?;
            let (name, vrid) = (quote(&router.name), router.vrid.get());
            let message = format!(
                "virtual_router {name}: addresses: {first} is the first IPv6 address, and routers that follow RFC 9568 \
                 5.2.9 discard such adverts; put a link-local address before it on every router of the group, such as \
                 \"fe80::{vrid:x}/64\", and remove link_local_first"
            );
            Some(self.show(router.lines.addresses, &message))
        })
    }

    /// Returns warnings about changes of priorities that are to be written to FIFOs, of which there are none.
    fn unwritten_priorities(&self) -> impl Iterator<Item = String> {
        let is_unwritten =
            |router: &&VirtualRouterConfig| router.notify_priority_changes && self.agent.notify_fifos.is_empty();
        self.virtual_routers.iter().filter(is_unwritten).map(|router| {
            let name = quote(&router.name);
            let message = format!(
                "virtual_router {name}: notify_priority_changes: has no effect, because [agent] has no notify_fifo; add \
                 it, or remove this"
            );
            self.show(router.lines.header, &message)
        })
    }

    /// Returns all checks with their positions.
    pub fn numbered_checks(&self) -> impl Iterator<Item = (CheckIndex, &CheckConfig)> {
        self.checks.iter().enumerate().map(|(index, check)| (CheckIndex::new(index), check))
    }

    /// Replaces the name of each program by the path that `find` returns for it. Names without a path stay.
    pub fn find_programs(&mut self, find: impl Fn(&str) -> Option<PathBuf>) {
        for program in self.programs_mut() {
            let Some(name) = program.command.bare_name() else { continue };
            if let Some(path) = find(name).as_deref().and_then(Path::to_str) {
                path.clone_into(name);
            }
        }
    }

    /// Makes `script_user` the user of the programs that have none of their own.
    pub(crate) fn apply_script_user(&mut self) {
        let Some((default, _)) = self.agent.script_user.clone() else { return };
        for program in self.programs_mut() {
            program.user.get_or_insert_with(|| default.clone());
        }
        for fifo in &mut self.agent.notify_fifos {
            fifo.owner.get_or_insert_with(|| default.clone());
        }
    }

    fn programs_mut(&mut self) -> impl Iterator<Item = &mut Program> {
        let scripts = self.checks.iter_mut().filter_map(|check| match &mut check.kind {
            CheckKind::Script(program) => Some(program),
            _ => None,
        });
        let of_routers = self.virtual_routers.iter_mut().map(|router| &mut router.notify);
        let of_groups = self.sync_groups.iter_mut().map(|group| &mut group.notify);
        let notified = of_routers.chain(of_groups).flat_map(|notify| &mut notify.programs);
        let readers = self.agent.notify_fifos.iter_mut().filter_map(|fifo| fifo.reader.as_mut());
        scripts.chain(notified.map(|notified| &mut notified.program)).chain(readers)
    }

    /// Returns whether a virtual router tracks the check.
    pub fn is_tracked(&self, check: CheckIndex) -> bool {
        self.virtual_routers.iter().any(|router| router.track.iter().any(|tracked| tracked.check == check))
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
    /// Network namespace in which the agent works: a name that `ip netns` lists, or a path. Default: the one that it is
    /// started in.
    pub netns: Option<String>,
    /// Directory in which programs, links and maps are pinned. Default: [`Self::DEFAULT_BPFFS`].
    pub bpffs: PathBuf,
    /// Line of `bpffs`, if the file has this key.
    pub bpffs_line: Option<usize>,
    /// `SCHED_FIFO` priority of the election thread, 1 to 99; 0 means ordinary scheduling. Default:
    /// [`Self::DEFAULT_REALTIME_PRIORITY`].
    pub realtime_priority: u8,
    /// How long no virtual router takes over after a start: 0 to 60 min. Default: 0.
    pub startup_delay: Interval,
    /// How long after the host was booted no virtual router takes over: 0 to 60 min. Default: 0.
    pub boot_delay: Interval,
    /// User that runs the programs without a user of their own, and the line of this key. Default: the user that runs
    /// the agent.
    pub script_user: Option<(ScriptUser, usize)>,
    /// Whether a program that runs as root is refused if another user could replace it. Default: false.
    pub script_security: bool,
    /// FIFOs that get a line for each change of state, at most 8. Default: none.
    pub notify_fifos: Vec<NotifyFifo>,
    /// What is on the host whatever the roles are. Default: nothing.
    pub statics: Arc<StaticConfig>,
}

impl AgentConfig {
    /// The default of `control`.
    pub const DEFAULT_CONTROL: &'static str = "/run/xvrrp/xvrrp.sock";
    /// The default of `bpffs`.
    pub const DEFAULT_BPFFS: &'static str = "/sys/fs/bpf/xvrrp";
    /// The default of `realtime_priority`.
    pub const DEFAULT_REALTIME_PRIORITY: u8 = 50;
}

/// `[[sync_group]]`: virtual routers that change role together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroupConfig {
    /// Unique among the groups; 1 to 64 characters from `A-Z a-z 0-9 . _ -`. Required.
    pub name: String,
    /// Names of at least one virtual router. A virtual router is a member of at most one group. Required.
    pub members: Vec<String>,
    /// Programs that are run, and services that are started and stopped, when all members have changed their role.
    pub notify: NotifyConfig,
    /// The changes of the whole group for which mail is sent. Default: none.
    pub mail: Vec<Occasion>,
}
