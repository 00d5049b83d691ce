//! Definitions that the kernel half and the agent share: units, wire formats, map layouts and XDP modes.
//!
//! The crate does no I/O, reads no clock and allocates nothing, so that all of it compiles for the BPF target too.

#![no_std]
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![warn(missing_docs)]

#[cfg(test)]
extern crate alloc;

pub mod abi;
pub mod units;
pub mod wire;
pub mod xdp;
