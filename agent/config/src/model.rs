//! The checked configuration, as the other modules fill it and as the agent uses it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use xvrrp_common::units::{Family, Interval, Priority, Version, Vrid};
use xvrrp_common::wire::vrrp::IpAddress;

use super::address::Vip;
use super::index::{CheckIndex, GroupIndex};
use super::quote::quote;

/// Most virtual routers of a configuration: as many as 16 interfaces can have, with at most 255 each (RFC 9568 5.2.3).
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
    /// In the order of the file, including those that no virtual router tracks.
    pub checks: Vec<CheckConfig>,
    /// `[mail]`; without it, no mail is sent.
    pub mail: Option<MailConfig>,
    /// 1 to [`MAX_VIRTUAL_ROUTERS`], in the order of the file.
    pub virtual_routers: Vec<VirtualRouterConfig>,
    /// In the order of the file.
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

/// `[[virtual_router]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualRouterConfig {
    /// Unique; 1 to 64 characters from `A-Z a-z 0-9 . _ -`. Required.
    pub name: String,
    /// 1 to 15 bytes. Required.
    pub interface: String,
    /// 1 to 255, unique on the interface for each address family (RFC 9568 5.2.3). Required.
    pub vrid: Vrid,
    /// 2 (RFC 3768) or 3 (RFC 9568). Default: 3.
    pub version: Version,
    /// 1 to 255; 255 is the address owner (RFC 9568 5.2.4). Default: 100 (RFC 9568 6.1).
    pub priority: Priority,
    /// Version 3: 10 ms to 40.95 s in steps of 10 ms (RFC 9568 5.2.7); version 2: 1 s to 255 s in steps of 1 s
    /// (RFC 3768 5.3.7). Default: [`Self::DEFAULT_ADVERT_INTERVAL`].
    pub advert_interval: Interval,
    /// 1 to [`Self::MAX_ADDRESSES`] different addresses, in the order in which adverts list them. At most
    /// [`Self::MAX_IPV6_ADDRESSES`] of them are IPv6, and the first of these is link-local (RFC 9568 5.2.9). Addresses
    /// of both families make two virtual routers, which change role together. Required.
    pub addresses: Vec<Vip>,
    /// `Preempt_Mode` (RFC 9568 6.1); always true for the owner. Default: true.
    pub preempt: bool,
    /// How long a Backup that hears a lower priority waits before it preempts: 0 to 1000 s. Default: 0.
    pub preempt_delay: Interval,
    /// `Accept_Mode` (RFC 9568 6.1). Default: true, where the RFC has false.
    pub accept: bool,
    /// Whether this host serves only while its own adverts are being sent. Default: true.
    pub lease: bool,
    /// Whether the addresses use the virtual router MAC address (RFC 9568 7.3). Default: true.
    pub virtual_mac: bool,
    /// Form of the checksum of version 3 that is accepted and sent (RFC 9568 5.2.8, RFC 5798 5.2.8). Default: auto.
    pub checksum: Checksum,
    /// Only adverts from these sources are accepted, unless the list is empty. A list that is not empty has at least
    /// one source of each address family of this virtual router; its IPv6 sources are link-local. Default: empty.
    pub allowed_sources: Vec<IpAddr>,
    /// Unless the list is empty, adverts are sent to these routers by unicast, and only adverts from them are accepted.
    /// A list that is not empty has at least one peer of each address family of this virtual router, and excludes
    /// [`Self::allowed_sources`]. Default: empty.
    pub unicast_peers: Vec<UnicastPeer>,
    /// Version 2 only: authentication type 1 (RFC 2338 5.3.6). Default: none.
    pub password: Option<Password>,
    /// How many times each gratuitous ARP or unsolicited Neighbor Advertisement is sent after a takeover: 1 to 60.
    /// Default: [`Self::DEFAULT_ANNOUNCE_COUNT`].
    pub announce_count: u8,
    /// Time between two of these announcements: 10 ms to 60 s. Default: [`Self::DEFAULT_ANNOUNCE_INTERVAL`].
    pub announce_interval: Interval,
    /// Checks that may change the priority or cause a fault, including those that other members of its sync group
    /// track. Default: none.
    pub track: Vec<Tracked>,
    /// The sync group that it is a member of. Default: none.
    pub sync_group: Option<GroupIndex>,
    /// Programs that are run, and services that are started and stopped, when its state changes. Default: none.
    pub notify: NotifyConfig,
    /// Changes of state that mail is sent for. Default: all of them if there is a [`MailConfig`], otherwise none.
    pub mail: Vec<Occasion>,
    /// Lines of the file.
    pub lines: VirtualRouterLines,
}

impl VirtualRouterConfig {
    /// The default of `advert_interval` (RFC 9568 6.1).
    pub const DEFAULT_ADVERT_INTERVAL: Interval = Interval::from_seconds(1);
    /// The default of `announce_count`.
    pub const DEFAULT_ANNOUNCE_COUNT: u8 = 3;
    /// The default of `announce_interval`.
    pub const DEFAULT_ANNOUNCE_INTERVAL: Interval = Interval::from_seconds(1);
    /// Most addresses: the count in an advert has 8 bits (RFC 9568 5.2.5).
    pub const MAX_ADDRESSES: usize = 255;
    /// Most IPv6 addresses: as many as fit in an advert that is not fragmented.
    pub const MAX_IPV6_ADDRESSES: usize = <[u8; 16]>::MAX_ADDRESSES;
    /// Most elements of `allowed_sources`.
    pub const MAX_ALLOWED_SOURCES: usize = 255;
    /// Most elements of `unicast_peers`.
    pub const MAX_UNICAST_PEERS: usize = 255;

    /// Returns the address families that it has addresses of. Each is a virtual router of its own (RFC 9568 1.7).
    pub fn families(&self) -> impl Iterator<Item = Family> {
        let has = |family: &Family| self.addresses.iter().any(|vip| vip.family() == *family);
        [Family::Ipv4, Family::Ipv6].into_iter().filter(has)
    }

    /// Returns the kind of address that adverts of this family are sent from.
    ///
    /// A peer that is not on the link cannot be reached from a link-local address.
    pub fn origin(&self, family: Family) -> Origin {
        let routed = |peer: &UnicastPeer| matches!(peer.address, IpAddr::V6(peer) if !peer.is_unicast_link_local());
        match family {
            Family::Ipv4 => Origin::Ipv4,
            Family::Ipv6 if self.unicast_peers.iter().any(routed) => Origin::Ipv6,
            Family::Ipv6 => Origin::LinkLocal,
        }
    }

    /// Returns the unicast peers of one family.
    pub fn peers_of(&self, family: Family) -> impl Iterator<Item = UnicastPeer> {
        self.unicast_peers.iter().copied().filter(move |peer| Family::of(peer.address) == family)
    }

    /// Returns the addresses of one family, in their order.
    pub fn addresses_of(&self, family: Family) -> impl Iterator<Item = Vip> {
        self.addresses.iter().copied().filter(move |vip| vip.family() == family)
    }
}

/// Another router, to which adverts are sent by unicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnicastPeer {
    /// Its address. The IPv6 addresses of all peers are link-local, or none is.
    pub address: IpAddr,
    /// Lowest TTL or hop limit of its adverts that is accepted: 1 to 255. Default: 255, which no routed packet has
    /// (RFC 9568 5.1.1.3).
    pub min_ttl: u8,
}

/// Kind of interface address that adverts are sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The primary IPv4 address of the interface.
    Ipv4,
    /// A link-local IPv6 address (RFC 9568 5.1.2.1).
    LinkLocal,
    /// An IPv6 address that is not link-local, which routers forward packets to.
    Ipv6,
}

/// Lines of the file that describe a virtual router, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualRouterLines {
    /// Line of `[[virtual_router]]`.
    pub header: usize,
    /// Line of `interface`.
    pub interface: usize,
    /// Line of `addresses`.
    pub addresses: usize,
    /// Line of `unicast_peers`, or of the header if there is no such key.
    pub unicast_peers: usize,
}

/// Form of the checksum of version 3 over IPv4, for which RFC 9568 and RFC 5798 5.2.8 differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Accepts both forms. Sends the form with the pseudo-header, unless a peer is heard to use the other one.
    Auto,
    /// Covers the pseudo-header and the message (RFC 5798).
    PseudoHeader,
    /// Covers only the message (RFC 9568).
    Plain,
}

/// Simple password of version 2, padded with zeros (RFC 2338 5.3.10).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password(pub [u8; 8]);

/// Hides the password, which would end up in logs.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
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

/// `[[check]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckConfig {
    /// Unique among the checks; 1 to 64 characters from `A-Z a-z 0-9 . _ -`. Required.
    pub name: String,
    /// What is checked. Required.
    pub kind: CheckKind,
    /// Time from the start of one probe to the start of the next: 10 ms to 60 min. Default:
    /// [`Self::DEFAULT_INTERVAL`].
    pub interval: Interval,
    /// Time after which a script or a ping has failed: 10 ms to 60 min. Default: the interval.
    pub timeout: Interval,
    /// How many successes in a row end a failure: 1 to 255. Default: 1.
    pub rise: u8,
    /// How many failed probes in a row are a failure: 1 to 255. Default: 1.
    pub fall: u8,
    /// Lines of the file: of the header, and of the key that says what is checked.
    pub lines: (usize, usize),
}

impl CheckConfig {
    /// The default of `interval`.
    pub const DEFAULT_INTERVAL: Interval = Interval::from_seconds(1);
}

/// What a check looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// Succeeds if the program ends with exit status 0.
    Script {
        /// Absolute path of the program, and its arguments.
        command: Vec<String>,
        /// User that runs the program. Default: the user that runs the agent.
        user: Option<String>,
    },
    /// Succeeds if the interface is up and has a carrier.
    Interface(String),
    /// Succeeds if a process has this name (`/proc/PID/comm`).
    Process(String),
    /// Succeeds if a process has the id that this file holds.
    PidFile(PathBuf),
    /// Multiplies the weight by the number that this file holds, or by 0 if the file is missing or holds no number.
    File(PathBuf),
    /// Succeeds if the address answers an echo request.
    Ping(IpAddr),
}

/// A check that a virtual router tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The check.
    pub check: CheckIndex,
    /// -253 to 253. A success adds a positive weight to the priority, a failure adds a negative one. With 0, a failure
    /// is a fault.
    pub weight: i16,
}

/// Programs and services that follow the state of a virtual router or a sync group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyConfig {
    /// In the order in which they are run. Default: none.
    pub programs: Vec<NotifyProgram>,
    /// How long each program may run: 100 ms to 60 min. Default: [`Self::DEFAULT_TIMEOUT`].
    pub timeout: Interval,
    /// At most 64 systemd units that run while the state is Active. No two virtual routers or groups have the same
    /// unit. Default: none.
    pub services: Vec<String>,
}

impl NotifyConfig {
    /// The default of `notify_timeout`.
    pub const DEFAULT_TIMEOUT: Interval = Interval::from_seconds(30);
}

/// A program that is run when a virtual router or a sync group changes its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyProgram {
    /// The change that it is run for.
    pub on: Occasion,
    /// An absolute path.
    pub path: PathBuf,
    /// Line of the file, counted from 1.
    pub line: usize,
}

/// A change of state for which a program is run or mail is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// The state became Active.
    Active,
    /// The state became Backup.
    Backup,
    /// The state became Initialize because of a fault.
    Fault,
    /// The agent stops.
    Stop,
    /// Any of these.
    Any,
}

/// `[mail]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailConfig {
    /// Name or address of the server. Required.
    pub host: String,
    /// Port of the server. Default: 587, 465 or 25, depending on [`Self::tls`].
    pub port: u16,
    /// How the connection is encrypted. Default: STARTTLS.
    pub tls: Encryption,
    /// File with the only certificates that the server is verified against, and the line of this key. Default: the
    /// certificates that the host trusts.
    pub ca_file: Option<(PathBuf, usize)>,
    /// Login at the server. Default: none.
    pub login: Option<Login>,
    /// Address of the sender. Required.
    pub from: String,
    /// Addresses of 1 to 64 recipients. Required.
    pub to: Vec<String>,
    /// Name of this host that the server is given. Default: [`AgentConfig::router_id`].
    pub helo: Option<String>,
    /// How long connecting to the server may take, and again how long each mail may take: 1 s to 255 s. Default:
    /// [`Self::DEFAULT_TIMEOUT`].
    pub timeout: Interval,
    /// Most mails of a virtual router within a minute, 1 to 60. Further changes are gathered. Default:
    /// [`Self::DEFAULT_LIMIT`].
    pub limit: u8,
    /// How long changes are gathered at most, 1 s to 60 min. A fifth of this time without a change ends it, too.
    /// Default: [`Self::DEFAULT_GATHER`].
    pub gather: Interval,
}

impl MailConfig {
    /// The default of `timeout`, which is also that of keepalived.
    pub const DEFAULT_TIMEOUT: Interval = Interval::from_seconds(30);
    /// The default of `limit`.
    pub const DEFAULT_LIMIT: u8 = 4;
    /// The default of `gather`.
    pub const DEFAULT_GATHER: Interval = Interval::from_millis(300_000);
}

/// How the connection to a mail server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// The connection begins in plain text, and is encrypted before any mail is sent, or else no mail is sent
    /// (RFC 3207).
    StartTls,
    /// The connection is encrypted from the beginning (RFC 8314 3.3).
    Implicit,
    /// The connection is in plain text.
    None,
}

/// Login at a mail server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Name of the user.
    pub username: String,
    /// File whose first line is the password. It is read for each connection.
    pub password_file: PathBuf,
    /// Line of `password_file`, counted from 1.
    pub line: usize,
}
