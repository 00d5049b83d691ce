//! What the kernel half and the agent must agree on: units, wire formats and map layouts.
//!
//! No I/O, no clock, no allocation: everything here compiles for the BPF target too.

#![no_std]
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![warn(missing_docs)]

#[cfg(test)]
extern crate alloc;

pub mod abi;
pub mod units;
pub mod wire;
