//! The xvrrp agent: runs the election, writes the role for the kernel half, announces and installs the virtual
//! addresses.
//!
//! Start with [`service`] (start, run and stop), [`election`] (the real-time loop) and the crate `xvrrp-vrrp` (the
//! protocol).

pub mod addresses;
pub mod commands;
pub mod control;
pub mod election;
pub mod identity;
pub mod notify;
pub mod plan;
pub mod process;
pub mod service;
pub mod status;
pub mod succession;
pub mod tracking;
