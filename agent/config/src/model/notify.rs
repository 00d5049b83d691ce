//! Notify programs, services and mail.

use std::path::PathBuf;

use xvrrp_common::units::Interval;

use super::program::{Program, ScriptUser};

/// Programs and services that follow the state of a virtual router or a sync group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyConfig {
    /// Programs in the order in which they are run. Default: none.
    pub programs: Vec<NotifyProgram>,
    /// How long each program may run: 100 ms to 60 min. Default: [`Self::DEFAULT_TIMEOUT`].
    pub timeout: Interval,
    /// At most 64 systemd units that run while the state is Active. No two virtual routers or groups have the same
    /// unit. Default: none.
    pub services: Vec<String>,
    /// Whether a reload that removes the virtual router is notified as such, and not as a fault. Default: false.
    pub deleted: bool,
}

impl NotifyConfig {
    /// The default of `notify_timeout`.
    pub const DEFAULT_TIMEOUT: Interval = Interval::from_seconds(30);
}

/// A FIFO that gets a line for each change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyFifo {
    /// An absolute path. No two FIFOs have the same.
    pub path: PathBuf,
    /// User that owns the FIFO if the agent makes it. Default: as for programs.
    pub owner: Option<ScriptUser>,
    /// Program that the agent keeps running. Its last argument is the path. Default: none.
    pub reader: Option<Program>,
    /// Whether a reload writes the current states. Default: false.
    pub states_on_reload: bool,
    /// Line of the file, counted from 1.
    pub line: usize,
}

/// A program that is run when a virtual router or a sync group changes its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyProgram {
    /// The change that it is run for.
    pub on: Occasion,
    /// The program.
    pub program: Program,
    /// Line of the file, counted from 1.
    pub line: usize,
}

/// An event for which a program is run or mail is sent.
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
    /// A reload has removed the virtual router.
    Deleted,
    /// An advert with a lower priority was received while Active, which changes no state.
    LowerPriority,
    /// Any change of state.
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
    /// Name of this host that the server is given. Default: [`AgentConfig::router_id`](super::AgentConfig::router_id).
    pub helo: Option<String>,
    /// How long connecting to the server may take, and again how long each mail may take: 1 s to 255 s. Default:
    /// [`Self::DEFAULT_TIMEOUT`].
    pub timeout: Interval,
    /// Maximum number of mails of a virtual router within a minute, 1 to 60. Further changes are gathered. Default:
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
