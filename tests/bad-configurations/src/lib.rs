//! The tables of wrong configurations: `*.txt` beside this file.
//!
//! ```text
//! == what is wrong
//! the configuration
//! --
//! the message, line by line, with FILE for the path of the configuration and INTERFACES for all that the host has
//! ```

/// A configuration and what is said about it.
#[derive(Debug)]
pub struct Case {
    pub title: &'static str,
    pub configuration: String,
    /// Exactly, without a newline at the end.
    pub messages: String,
}

/// Wrong by themselves.
const TABLES: &[&str] = &[
    include_str!("syntax.txt"),
    include_str!("keys.txt"),
    include_str!("agent.txt"),
    include_str!("identity.txt"),
    include_str!("election.txt"),
    include_str!("interval.txt"),
    include_str!("addresses.txt"),
    include_str!("peers.txt"),
    include_str!("tracking.txt"),
    include_str!("notify.txt"),
    include_str!("sync_group.txt"),
    include_str!("mail.txt"),
    include_str!("several.txt"),
];

/// Wrong on a host with the interfaces `lo`, `tun0`, which has no Ethernet framing, `eth0`, which has the address
/// 192.0.2.10, and `eth1`, which has none.
const HOST_TABLE: &str = include_str!("host.txt");

/// Right on that host, but with virtual routers that must wait for something.
const WAITING_TABLE: &str = include_str!("waiting.txt");

/// Configurations that are wrong on every host.
#[must_use]
pub fn wrong_anywhere() -> Vec<Case> {
    TABLES.iter().flat_map(|table| cases(table)).collect()
}

/// Configurations that are wrong on a host with these interfaces: `lo`; `tun0`, without Ethernet framing; `eth0`, which has
/// the address 192.0.2.10; `eth1`, which has none; and the bridge `br0`.
#[must_use]
pub fn wrong_on_the_host() -> Vec<Case> {
    cases(HOST_TABLE)
}

/// Configurations that are right on that host, and what is said about virtual routers that must wait.
#[must_use]
pub fn waited_for() -> Vec<Case> {
    cases(WAITING_TABLE)
}

fn cases(table: &'static str) -> Vec<Case> {
    let blocks = table.strip_prefix("== ").expect("a table begins with a case").split("\n== ");
    blocks.map(case).collect()
}

fn case(block: &'static str) -> Case {
    let (title, rest) = block.split_once('\n').expect("a title has a line of its own");
    // An empty configuration leaves no newline before the dashes.
    let (configuration, messages) = match rest.strip_prefix("--\n") {
        Some(messages) => ("", messages),
        None => rest.split_once("\n--\n").expect("two dashes end the configuration"),
    };
    let configuration = if configuration.is_empty() { String::new() } else { format!("{configuration}\n") };
    Case { title, configuration, messages: messages.trim_end().to_owned() }
}
