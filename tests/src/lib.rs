//! What the tests share.

pub mod bench;
pub mod capture;
pub mod differential;
pub mod fencing;
pub mod fixture;
pub mod flood;
pub mod frames;
pub mod junk;
pub mod kernel_half;
pub mod lab;
pub mod load;
pub mod metronome;
pub mod packet_socket;
pub mod probe;
mod random;
pub mod soak;
