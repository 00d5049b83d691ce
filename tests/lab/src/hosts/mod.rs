//! Hosts around the routers, and what tests need on a host: files, scripts, a full directory, its state.

mod host_state;
mod hung_file;
mod machine;
mod mail_server;
mod memory_group;
mod process_connector;
mod script;
mod tiny;

pub use host_state::{host_state, wait_for_host_state};
pub use hung_file::HungFile;
pub use machine::{Machine, make_package};
pub use mail_server::{Habits, Mail, MailServer};
pub use memory_group::MemoryGroup;
pub use process_connector::ProcessConnector;
pub use script::script;
pub use tiny::{Shortage, TinyDirectory};

/// Removes what processes left that were killed.
pub(crate) fn sweep() {
    tiny::sweep();
    memory_group::sweep();
}
