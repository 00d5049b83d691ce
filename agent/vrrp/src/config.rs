//! What a virtual router is given to begin with.

use core::net::IpAddr;

use xvrrp_common::units::{Interval, Priority, Version, Vrid};

/// What RFC 9568 6.1 calls the parameters of a virtual router.
#[derive(Clone, Debug)]
pub struct Config {
    pub vrid: Vrid,
    pub version: Version,
    /// Before any check has a say: [`Event::Priority`](super::Event::Priority). Not [`Priority::RELEASE`].
    pub priority: Priority,
    /// Not zero.
    pub advert_interval: Interval,
    /// Whether to take over from an Active with a lower priority; an owner always does (RFC 9568 6.1).
    pub preempt: bool,
    /// How long such an Active is let be first; an owner does not wait.
    pub preempt_delay: Interval,
    /// Where our adverts come from: breaks the tie between equal priorities.
    pub primary: IpAddr,
    /// Whether to serve only while our own adverts are sent: [`VirtualRouter::advert_sent`](super::VirtualRouter::advert_sent).
    pub lease: bool,
    /// How often to announce the virtual addresses after a takeover; once at least.
    pub announce_count: u8,
    pub announce_interval: Interval,
}
