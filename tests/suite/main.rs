//! The tests that need root: agents and peers in network namespaces, and frames through the kernel half. Each module
//! has one subject; `cargo xtask test -- arp::` runs the tests of one module.

#![allow(clippy::float_cmp, reason = "the values come from text, and are compared with what was written there")]

mod arp;
mod bad_input;
mod cleanup;
mod conflict;
mod differential;
mod election;
mod fencing;
mod frr;
mod guides;
mod handover;
mod import;
mod interface_kinds;
mod interfaces;
mod ipv6;
mod junk;
mod keepalived;
mod keepalived_disputes;
mod keeping;
mod kernel_half;
mod lab_smoke;
mod late_agent;
mod mail;
mod many_addresses;
mod many_virtual_routers;
mod memory;
mod metrics;
mod monitor;
mod notify;
mod package;
mod pins;
mod planes;
mod reload;
mod restart;
mod serving;
mod starvation;
mod succession;
mod sync_group;
mod systemd_unit;
mod tracking;
mod traffic;
mod unicast;
mod warnings;
mod watch;
mod wire;
