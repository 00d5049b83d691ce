//! Hosts around the routers, and what tests need on a host: files, scripts, a full directory, its state.

mod host_state;
mod hung_file;
mod machine;
mod mail_server;
mod script;
mod tiny;

pub use host_state::{host_state, wait_for_host_state};
pub use hung_file::HungFile;
pub use machine::{Machine, make_package};
pub use mail_server::{Habits, Mail, MailServer};
pub use script::script;
pub(crate) use tiny::sweep;
pub use tiny::{Shortage, TinyDirectory};
