//! What the tests share.

pub mod bare_xdp;
pub mod bench_xdp;
pub mod capture;
pub mod fixture;
pub mod frames;
pub mod kernel_half;
pub mod lab;
pub mod outage;
pub mod probe;
