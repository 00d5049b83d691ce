//! The XDP program against the decoders in user space: generated frames, of which each must come to the same end in both.
//!
//! Both halves share `common::wire`, but read it in different ways: the program behind the verifier's bounds checks, with the
//! kernel's own sum, compiled for another machine. [`Network::judge`] says in user space what must become of a frame;
//! [`Generator`] makes frames that are valid, almost valid, mutated and cut.

mod generator;
mod judge;
mod network;

pub use generator::Generator;
pub use judge::Judgement;
pub use network::Network;
