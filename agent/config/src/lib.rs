//! The configuration: what a TOML file says, checked as far as that goes without looking at the host.
//!
//! [`load`] reads everything before it complains, so that one run shows all that is wrong with a file. What
//! depends on the host's interfaces is checked by [`host::check`]. `docs/configuration.md` is the reference.

#![warn(missing_docs)]

mod address;
mod agent;
mod check;
mod duration;
mod error;
pub mod files;
pub mod host;
mod index;
pub mod keys;
pub mod mail;
mod notify;
mod peers;
mod section;
pub mod surroundings;
mod sync_group;
mod taken;
mod values;
mod virtual_router;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::de::DeTable;
use xvrrp_common::units::{Family, Interval, Priority, Version, Vrid};

use crate::files::FileError;

pub use self::address::Vip;
pub use self::agent::check_bpffs;
pub use self::error::{ConfigError, Problem};
use self::error::{Lines, Problems, Reported};
pub use self::index::{CheckIndex, GroupIndex};
pub use self::mail::{Encryption, Login, MailConfig};
use self::section::{Section, quote};
use self::taken::Taken;

/// As many virtual routers as 16 interfaces can have: each has at most 255 (RFC 9568 5.2.3).
pub const MAX_VIRTUAL_ROUTERS: usize = 16 * 255;

/// Room for [`MAX_VIRTUAL_ROUTERS`] with 255 addresses each. Keeps `/dev/zero` out of memory.
const MAX_FILE_SIZE: u64 = 64 << 20;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where it comes from, as messages name it.
    pub file: PathBuf,
    /// All of it, as it stood there.
    pub text: Text,
    /// `[agent]`; its defaults if the file has none.
    pub agent: AgentConfig,
    /// In the order of the file; those that nobody tracks are there too.
    pub checks: Vec<CheckConfig>,
    /// Without it no mail is sent.
    pub mail: Option<MailConfig>,
    /// 1 to [`MAX_VIRTUAL_ROUTERS`], in the order of the file.
    pub virtual_routers: Vec<VirtualRouterConfig>,
    /// In the order of the file.
    pub sync_groups: Vec<SyncGroupConfig>,
}

/// The text of a configuration. `Debug` does not show it, because passwords in it would end up in logs.
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
    /// Names this host in the status. Default: the host name.
    pub router_id: String,
    /// The control socket. Default: [`AgentConfig::DEFAULT_CONTROL`].
    pub control: PathBuf,
    /// Where metrics are served over HTTP. Default: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where programs, links and maps are pinned. Default: [`AgentConfig::DEFAULT_BPFFS`].
    pub bpffs: PathBuf,
    /// Where that stands, if it does.
    pub bpffs_line: Option<usize>,
    /// `SCHED_FIFO` priority of the election thread, 1 to 99; 0: ordinary scheduling. Default: 50.
    pub realtime_priority: u8,
}

/// `[[virtual_router]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualRouterConfig {
    /// Unique; 1 to 64 characters out of `A-Z a-z 0-9 . _ -`. Required.
    pub name: String,
    /// 1 to 15 bytes. Required.
    pub interface: String,
    /// 1 to 255, unique on the interface for each family of addresses (RFC 9568 5.2.3). Required.
    pub vrid: Vrid,
    /// 2 (RFC 3768) or 3 (RFC 9568). Default: 3.
    pub version: Version,
    /// 1 to 255, 255 being the address owner (RFC 9568 5.2.4). Default: 100 (RFC 9568 6.1).
    pub priority: Priority,
    /// Version 3: 10 ms to 40.95 s in steps of 10 ms (RFC 9568 5.2.7); version 2: 1 s to 255 s in steps of 1 s
    /// (RFC 3768 5.3.7). Default: 1 s (RFC 9568 6.1).
    pub advert_interval: Interval,
    /// 1 to 255 different ones (RFC 9568 5.2.5), in the order in which adverts list them; at most
    /// [`VirtualRouterConfig::MAX_IPV6_ADDRESSES`] of IPv6, of which the first is link-local (5.2.9). With addresses of
    /// both families these are two virtual routers, which change role together. Required.
    pub addresses: Vec<Vip>,
    /// `Preempt_Mode` (RFC 9568 6.1); true for the owner. Default: true.
    pub preempt: bool,
    /// How long a Backup that hears a lower priority waits before it preempts: 0 to 1000 s. Default: 0.
    pub preempt_delay: Interval,
    /// `Accept_Mode` (RFC 9568 6.1). Default: true, where the RFC has false.
    pub accept: bool,
    /// Whether this host serves only as long as its own adverts are sent. Default: true.
    pub lease: bool,
    /// Whether the addresses live on the virtual router MAC address (RFC 9568 7.3). Default: true.
    pub virtual_mac: bool,
    /// Which forms of the checksum version 3 takes and sends (RFC 9568 5.2.8, RFC 5798 5.2.8). Default: auto.
    pub checksum: Checksum,
    /// If not empty: adverts from any other source are ignored. For each family of addresses then one at least, over IPv6
    /// link-local. Default: empty.
    pub allowed_sources: Vec<IpAddr>,
    /// If not empty: adverts go to these routers by unicast, and only theirs are heard. For each family of addresses then one
    /// at least, and no [`Self::allowed_sources`]. Default: empty.
    pub unicast_peers: Vec<UnicastPeer>,
    /// Version 2 only: authentication type 1 (RFC 2338 5.3.6). Default: none.
    pub password: Option<Password>,
    /// How many times each gratuitous ARP or unsolicited Neighbor Advertisement is sent after a takeover: 1 to 60. Default: 3.
    pub announce_count: u8,
    /// Time between those: 10 ms to 60 s. Default: 1 s.
    pub announce_interval: Interval,
    /// What may change the priority or be a fault, with all that other members of the sync group track. Default: nothing.
    pub track: Vec<Tracked>,
    /// Its sync group. Default: none.
    pub sync_group: Option<GroupIndex>,
    /// Programs and services that follow its state. Default: none.
    pub notify: NotifyConfig,
    /// When mail is sent. Default: at each change of state, if there is a [`MailConfig`].
    pub mail: Vec<Occasion>,
    /// Where it stands in the file.
    pub lines: VirtualRouterLines,
}

impl VirtualRouterConfig {
    /// Lists the families that it has addresses of: each is a virtual router of its own (RFC 9568 1.7).
    pub fn families(&self) -> impl Iterator<Item = Family> {
        let has = |family: &Family| self.addresses.iter().any(|vip| vip.family() == *family);
        [Family::Ipv4, Family::Ipv6].into_iter().filter(has)
    }

    /// Returns the kind of address that adverts of this family leave from: peers that are not on the link hear no link-local one.
    pub fn origin(&self, family: Family) -> Origin {
        let routed = |peer: &UnicastPeer| matches!(peer.address, IpAddr::V6(peer) if !peer.is_unicast_link_local());
        match family {
            Family::Ipv4 => Origin::Ipv4,
            Family::Ipv6 if self.unicast_peers.iter().any(routed) => Origin::Ipv6,
            Family::Ipv6 => Origin::LinkLocal,
        }
    }

    /// Lists the other routers of one family, if adverts are unicast.
    pub fn peers_of(&self, family: Family) -> impl Iterator<Item = UnicastPeer> {
        self.unicast_peers.iter().copied().filter(move |peer| Family::of(peer.address) == family)
    }

    /// Lists the addresses of one family, in their order.
    pub fn addresses_of(&self, family: Family) -> impl Iterator<Item = Vip> {
        self.addresses.iter().copied().filter(move |vip| vip.family() == family)
    }
}

/// Another router, to which adverts go by unicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnicastPeer {
    /// Over IPv6 all are link-local, or none.
    pub address: IpAddr,
    /// The least TTL or hop limit of its adverts: 1 to 255. Default: 255, so that none has been routed (RFC 9568 5.1.1.3).
    pub min_ttl: u8,
}

/// What address of an interface adverts leave from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The interface's primary IPv4 address.
    Ipv4,
    /// RFC 9568 5.1.2.1.
    LinkLocal,
    /// One that can be routed to.
    Ipv6,
}

/// `[[sync_group]]`: virtual routers that change role together. They have the same priority, interval and preemption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroupConfig {
    /// Unique among the groups; 1 to 64 characters out of `A-Z a-z 0-9 . _ -`. Required.
    pub name: String,
    /// Names of its virtual routers, at least two, each of one group at most. Required.
    pub members: Vec<String>,
    /// Who is told when all of them have changed their role.
    pub notify: NotifyConfig,
}

/// `[[check]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckConfig {
    /// Unique among the checks; 1 to 64 characters out of `A-Z a-z 0-9 . _ -`. Required.
    pub name: String,
    /// What is checked. Required.
    pub kind: CheckKind,
    /// From the start of one look to the next: 10 ms to 60 min. Default: 1 s.
    pub interval: Interval,
    /// Time after which a script or a ping has failed: 10 ms to 60 min. Default: the interval.
    pub timeout: Interval,
    /// How many successes in a row end a failure: 1 to 255. Default: 1.
    pub rise: u8,
    /// How many failures in a row are one: 1 to 255. Default: 1.
    pub fall: u8,
    /// Lines of the file: of the header, and of what is checked.
    pub lines: (usize, usize),
}

/// What is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// A program and its arguments, run as this user, or as the agent's own; it succeeds with exit status 0.
    Script {
        /// The program's absolute path, and its arguments.
        command: Vec<String>,
        /// The user that runs it. Default: the agent's own.
        user: Option<String>,
    },
    /// Up and with a carrier.
    Interface(String),
    /// There is a process of this name (`/proc/PID/comm`).
    Process(String),
    /// There is a process with the id that stands in this file.
    PidFile(PathBuf),
    /// The number in this file, 0 if there is none, multiplies the weight.
    File(PathBuf),
    /// Answers an echo request.
    Ping(IpAddr),
}

/// A check, as a virtual router tracks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The check.
    pub check: CheckIndex,
    /// -253 to 253: what a success adds to the priority, or with a negative one a failure; 0: a failure is a fault.
    pub weight: i16,
}

/// Lines of the file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualRouterLines {
    /// Line of `[[virtual_router]]`.
    pub header: usize,
    /// Line of `interface`.
    pub interface: usize,
    /// Line of `addresses`.
    pub addresses: usize,
    /// Line of the header, if there are none.
    pub unicast_peers: usize,
}

/// Who is told of changes of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyConfig {
    /// In the order in which they are run. Default: none.
    pub programs: Vec<NotifyProgram>,
    /// How long each may run: 100 ms to 60 min. Default: 30 s.
    pub timeout: Interval,
    /// Units of systemd that run while Active, at most 64, each of one virtual router only. Default: none.
    pub services: Vec<String>,
}

/// A program that is run when a virtual router or a sync group changes its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyProgram {
    /// The state that it is run for.
    pub on: Occasion,
    /// An absolute path.
    pub path: PathBuf,
    /// Line in the file, counted from 1.
    pub line: usize,
}

/// What a program is run on, and mail is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// The state became Active.
    Active,
    /// The state became Backup.
    Backup,
    /// The state became Initialize because of a fault.
    Fault,
    /// The agent ends.
    Stop,
    /// Each of those.
    Any,
}

/// The form of the checksum of version 3 over IPv4, where RFC 9568 and RFC 5798 5.2.8 differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Takes both; sends the one with pseudo-header until a peer is heard to use the other.
    Auto,
    /// Over pseudo-header and message (RFC 5798).
    PseudoHeader,
    /// Over the message only (RFC 9568).
    Plain,
}

/// The simple password of version 2, padded with zeros (RFC 2338 5.3.10).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password(pub [u8; 8]);

/// Does not show the password, which would end up in logs.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl Config {
    /// Lists what an operator should know although the configuration can be used: `FILE:LINE: ...`.
    pub fn warnings(&self) -> Vec<String> {
        let unused = self.numbered_checks().filter(|(index, _)| !self.is_tracked(*index));
        let warning = |(_, check): (CheckIndex, &CheckConfig)| {
            let (file, line, name) = (self.file.display(), check.lines.0, quote(&check.name));
            format!("{file}:{line}: check {name}: no virtual router tracks it, so it is not run; track or remove it")
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

/// Reads and checks a file.
///
/// # Errors
///
/// Fails with everything that is wrong with the file.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let mut problems = Problems::default();
    let outcome = read(path, &mut problems).and_then(|text| document(path, &text, &mut problems));
    problems.conclude(path, outcome)
}

/// Reads the text of a file, unchecked.
///
/// # Errors
///
/// Fails if the file cannot be read or is no UTF-8 text.
pub fn read_text(path: &Path) -> Result<Text, ConfigError> {
    let mut problems = Problems::default();
    let outcome = read(path, &mut problems).map(Text);
    problems.conclude(path, outcome)
}

/// Checks the text of a file; `path` is for the messages.
///
/// # Errors
///
/// Fails with everything that is wrong with the text.
pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let mut problems = Problems::default();
    let outcome = document(path, text, &mut problems);
    problems.conclude(path, outcome)
}

fn read(path: &Path, problems: &mut Problems) -> Result<String, Reported> {
    match files::read(path, MAX_FILE_SIZE) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|error| {
            let valid =
                String::from_utf8_lossy(error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or(&[]));
            let line = Lines::new(&valid).line(valid.len());
            problems.report(line, "is not UTF-8 text; save the file as UTF-8".into())
        }),
        Err(FileError { fault, .. }) => {
            let remedy = if fault.is_not_found() { "; give the path of a configuration" } else { "" };
            let reason = format!("{fault}{remedy}");
            Err(problems.report(None, format!("cannot be read: {reason}")))
        }
    }
}

fn document(path: &Path, text: &str, problems: &mut Problems) -> Result<Config, Reported> {
    let lines = Lines::new(text);
    let root = DeTable::parse(text).map_err(|error| report_syntax(&error, text, &lines, problems))?;
    let mut root = Section { place: String::new(), line: 1, table: root.get_ref(), lines: &lines, problems };

    let agent = agent::read(&mut root);
    let mail = mail::read(&mut root);
    let has_mail = !matches!(mail, Ok(None));
    let mut names = check::Names::default();
    let checks = check::read_all(&mut root, &mut names);
    let mut taken = Taken::default();
    let mut virtual_routers = virtual_router::read_all(&mut root, &names, has_mail, &mut taken);
    let routers = virtual_routers.as_deref_mut().ok();
    let sync_groups = sync_group::read_all(&mut root, routers, &checks, &mut taken);
    root.report_unknown_keys(keys::TOP_LEVEL);
    Ok(Config {
        file: path.to_owned(),
        text: Text(text.to_owned()),
        agent: agent?,
        checks: checks?,
        mail: mail?,
        virtual_routers: virtual_routers?,
        sync_groups: sync_groups?,
    })
}

/// Reports the first error only: the parser goes on after it, but what it then complains about is mostly a consequence.
fn report_syntax(error: &toml::de::Error, text: &str, lines: &Lines, problems: &mut Problems) -> Reported {
    let message = error
        .message()
        .replace('\n', " ")
        .replacen(", expected ", "; expected ", 1)
        .replace("duplicate key", "duplicate key; remove one");
    let Some(span) = error.span() else {
        return problems.report(None, format!("not valid TOML: {message}"));
    };
    let culprit = match text.get(span.clone()) {
        Some(culprit) if !culprit.trim().is_empty() => format!(" at {}", quote(culprit)),
        _ => String::new(),
    };
    problems.report(lines.line(span.start), format!("not valid TOML{culprit}: {message}"))
}
