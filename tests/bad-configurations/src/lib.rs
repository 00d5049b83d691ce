//! Wrong configurations with their messages. They are in tables, `*.txt` beside this file, of this form:
//!
//! ```text
//! == what is wrong
//! the configuration
//! --
//! the messages, line by line, with FILE for the path of the configuration and INTERFACES for the host's interfaces
//! ```

#![warn(missing_docs)]

/// A configuration and its messages.
#[derive(Debug)]
pub struct Case {
    /// What is wrong.
    pub title: &'static str,
    /// Text of the configuration file.
    pub configuration: String,
    /// The exact messages, without a newline at the end.
    pub messages: String,
}

/// Configurations that are wrong on every host.
const TABLES: &[&str] = &[
    include_str!("syntax.txt"),
    include_str!("keys.txt"),
    include_str!("agent.txt"),
    include_str!("identity.txt"),
    include_str!("election.txt"),
    include_str!("interval.txt"),
    include_str!("addresses.txt"),
    include_str!("peers.txt"),
    include_str!("routing.txt"),
    include_str!("tracking.txt"),
    include_str!("notify.txt"),
    include_str!("sync_group.txt"),
    include_str!("mail.txt"),
    include_str!("several.txt"),
];

const HOST_TABLE: &str = include_str!("host.txt");
const WAITING_TABLE: &str = include_str!("waiting.txt");

/// Returns the configurations that are wrong on every host.
#[must_use]
pub fn wrong_anywhere() -> Vec<Case> {
    TABLES.iter().flat_map(|table| cases(table)).collect()
}

/// Returns the configurations that are wrong on a host with these interfaces: `lo`; `tun0`, without Ethernet framing;
/// `eth0`, which has the address 192.0.2.10; `eth1`, which has none; and the bridge `br0`. It has no names of routing
/// tables.
#[must_use]
pub fn wrong_on_the_host() -> Vec<Case> {
    cases(HOST_TABLE)
}

/// Returns the configurations that are accepted on that host, with the warnings about what must wait.
#[must_use]
pub fn that_must_wait() -> Vec<Case> {
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
