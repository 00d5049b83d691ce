//! What the agent asks of the operating system for itself as a process.

pub mod aside;
pub mod capabilities;
pub mod clock;
pub mod open_files;
pub mod program;
pub mod realtime;
pub mod signals;
