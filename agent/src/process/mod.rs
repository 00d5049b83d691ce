//! What the agent sets up and asks for as a process of the operating system: capabilities, signals, clock, child
//! programs.

pub mod access;
pub mod blocking_call;
pub mod capabilities;
pub mod clock;
pub mod command;
pub mod file_id;
pub mod log_queue;
pub mod open_files;
pub mod peer_process;
pub mod program;
pub mod realtime;
pub mod runtime_thread;
pub mod script_security;
pub mod signals;
