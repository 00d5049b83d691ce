//! The configuration of a virtual router.

use core::net::IpAddr;

use xvrrp_common::units::{Instant, Interval, Priority, Version, Vrid};

/// The parameters of a virtual router (RFC 9568 6.1).
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// Virtual Router Identifier (RFC 9568 5.2.3).
    pub vrid: Vrid,
    /// The one version that the virtual router speaks.
    pub version: Version,
    /// The priority until [`Event::Priority`](super::Event::Priority) changes it. Not [`Priority::RELEASE`].
    pub priority: Priority,
    /// Interval between our adverts. Not zero.
    pub advert_interval: Interval,
    /// Whether to take over from an Active with a lower priority; an owner always does (RFC 9568 6.1).
    pub preempt: bool,
    /// How long such an Active is left alone before we take over. An owner does not wait.
    pub preempt_delay: Interval,
    /// How many Active_Adver_Intervals, besides Skew_Time, make Active_Down_Interval: 3 in RFC 9568 6.1. Not zero. The
    /// lease has as many, but no more than 3.
    pub down_timer_adverts: u8,
    /// Whether an Active router answers an advert of a lower priority at once (RFC 9568 6.4.3).
    pub answers_lower: bool,
    /// Whether an Active router sends one more advert before it steps down for a better one, which RFC 9568 6.4.3 does
    /// not.
    pub answers_higher: bool,
    /// No takeover before this moment. What a Backup hears before counts as heard then.
    pub delayed_until: Instant,
    /// Source address of our adverts. It decides between equal priorities.
    pub primary: IpAddr,
    /// Whether to serve only while our own adverts are sent:
    /// [`VirtualRouter::advert_sent`](super::VirtualRouter::advert_sent).
    pub lease: bool,
    /// How many times to announce the virtual addresses after a takeover. At least once.
    pub announce_count: u8,
    /// Time between those announcements.
    pub announce_interval: Interval,
    /// Time after which an Active router announces the virtual addresses once more, again and again; zero means never.
    pub announce_refresh: Interval,
}
