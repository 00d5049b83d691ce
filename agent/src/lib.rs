//! The xvrrp agent: elects, tells the kernel half its role, announces and installs the virtual addresses.
//!
//! Start with [`agent`] (start and stop), [`election`] (the real-time loop) and [`vrrp`] (the protocol).

pub mod addresses;
pub mod adoption;
pub mod agent;
pub mod attachment_watch;
pub mod capabilities;
pub mod cleanup;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod config;
pub mod control;
pub mod dataplane;
pub mod departure;
pub mod election;
pub mod equipment;
pub mod exposition;
pub mod handover;
pub mod herald;
pub mod history;
pub mod import;
pub mod inspector;
pub mod interface_watch;
pub mod mail;
pub mod manual;
pub mod metrics;
pub mod monitor;
pub mod net;
pub mod notify;
pub mod open_files;
pub mod plan;
pub mod program;
pub mod realtime;
pub mod reload;
pub mod report;
pub mod service;
pub mod signals;
pub mod standby;
pub mod status;
pub mod supervisor;
pub mod sync_group;
pub mod tracking;
pub mod unicast_filters;
pub mod vrrp;
pub mod watch;
