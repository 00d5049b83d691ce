//! What the tests share.

pub mod fixture;
pub mod frames;
pub mod kernel_half;
