//! The xvrrp agent: elects, tells the kernel half its role, announces and installs the virtual addresses.

pub mod config;
pub mod dataplane;
pub mod net;
pub mod vrrp;
