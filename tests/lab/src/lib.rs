//! The lab of tests and bench: routers, hosts and segments in network namespaces, the traffic between them, and the
//! kernel half without an agent.

#![warn(missing_docs)]
#![allow(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::unchecked_time_subtraction,
    reason = "whatever fails here fails a test or a measurement, with a message that says why"
)]

pub mod fencing;
mod hosts;
pub mod kernel_half;
pub mod load;
pub mod memory;
pub mod metronome;
mod network;
pub mod probe;
pub mod random;
mod routers;
mod terminal;
pub mod traffic;
mod turns;
pub mod usage;
mod wait;

use std::path::Path;

pub use hosts::{
    Habits, HungFile, Machine, Mail, MailServer, MemoryGroup, ProcessConnector, Shortage, TinyDirectory, host_state,
    make_package, script, wait_for_host_state,
};
pub use network::{
    CLIENT, INTERFACE, LINK_LOCAL_VIP, Lab, Namespace, SERVER, Segments, UPSTREAM, UPSTREAM_VIP, VIP, VIP_IPV6,
    first_and_last, ifindex, run, sweep,
};
pub use routers::{
    Daemon, Frr, FrrConfig, Group, Implementation, Imported, Keepalived, KeepalivedConfig, Pair, ServedPair, Side,
    VirtualRouter, Xvrrp, agent_binary,
};
pub use terminal::Terminal;
pub use turns::{Alone, alone};
pub use wait::{PATIENCE, eventually, interrupt_on_signals, is_interrupted, pause, wait_until, wait_until_is};

/// Returns the directory of the workspace that this program was built from.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
