//! The kernel half without an agent: frames, and everything that must result from them. `cargo xtask test --kernel`
//! runs these tests under other kernels too.

mod advert;
mod arp;
mod attach;
mod egress_arp;
pub mod fixture;
mod heard;
mod ipv6;
mod lease;
mod loading;
mod monitor;
mod unicast;
mod virtual_mac;
