//! The xvrrp agent: runs the election, writes the role for the kernel half, announces and installs the virtual
//! addresses.
//!
//! Start with [`service`] (start, run and stop), [`election`] (the real-time loop) and the crate `xvrrp-vrrp` (the
//! protocol). Rooms are public as far as the program and the tests need them.

#![warn(missing_docs)]

pub mod addresses;
pub mod commands;
pub mod control;
pub mod election;
pub mod identity;
mod notify;
mod plan;
pub mod process;
mod service;
pub mod status;
mod succession;
mod tracking;
