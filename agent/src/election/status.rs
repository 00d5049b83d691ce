//! The status of a virtual router at one moment.

use std::net::IpAddr;

use xvrrp_common::units::{Instant, Interval, MacAddress, Priority};
use xvrrp_vrrp::{Reason, State, VirtualRouter};

use crate::process::clock;

/// The status of a virtual router in the election.
#[derive(Clone, Debug)]
pub struct RouterStatus {
    /// State of the state machine (RFC 9568 6.3).
    pub state: State,
    /// Why it is in this state.
    pub reason: Reason,
    /// Time since the last change of state.
    pub in_state_for: Interval,
    /// Priority that it advertises: the configured one, changed by the tracked checks.
    pub priority: Priority,
    /// Address and priority of the Active router, if it is known.
    pub active: Option<(IpAddr, Priority)>,
    /// Whether it leaves the role to others.
    pub stands_by: bool,
    /// The latest advert of any other router.
    pub heard: Option<LatestAdvert>,
    /// Time since a Backup heard the first advert after it became Backup, not counting adverts with priority 0.
    pub first_heard_ago: Option<Interval>,
    /// Timers of the state machine.
    pub timers: Timers,
    /// Number of adverts that were sent since the agent started. An advert to several unicast peers counts once.
    pub adverts_sent: u64,
    /// Number of gratuitous ARP messages and unsolicited Neighbor Advertisements that wait to be sent.
    pub announcements_waiting: usize,
    /// The latest claim on one of our addresses.
    pub conflict: Option<Conflict>,
}

impl RouterStatus {
    /// Returns the status of a virtual router that cannot take part, and so was never started.
    pub fn in_fault(config: xvrrp_vrrp::RouterConfig) -> Self {
        let machine = VirtualRouter::new(config, clock::now());
        Self {
            state: machine.state(),
            reason: Reason::InterfaceDown,
            in_state_for: Interval::ZERO,
            priority: machine.priority(),
            active: None,
            stands_by: false,
            heard: None,
            first_heard_ago: None,
            timers: Timers {
                active_adver_interval: machine.active_adver_interval(),
                skew: machine.skew(),
                active_down_interval: machine.active_down_interval(),
                next: None,
                lease: None,
            },
            adverts_sent: 0,
            announcements_waiting: 0,
            conflict: None,
        }
    }
}

/// A valid advert of another router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatestAdvert {
    /// Source of the advert.
    pub address: IpAddr,
    /// Priority in the advert.
    pub priority: Priority,
    /// Time at which the kernel half received it.
    pub at: Instant,
}

/// The claim of another host, in ARP, to one of our addresses while we are Active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// MAC address of the other host.
    pub mac: MacAddress,
    /// Address that it claims.
    pub address: IpAddr,
    /// Time at which the election learnt of it.
    pub at: Instant,
}

/// The timers of a virtual router (RFC 9568 6.1).
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    /// Active_Adver_Interval: the interval in the adverts of the Active router.
    pub active_adver_interval: Interval,
    /// Skew_Time.
    pub skew: Interval,
    /// Active_Down_Interval: how long a Backup waits for an advert before it takes over.
    pub active_down_interval: Interval,
    /// Time until the next deadline that the agent knows: the Adver_Timer's, or the earliest for the Active_Down_Timer.
    pub next: Option<Interval>,
    /// Time until the lease of an Active router ends without another advert; `None` without a lease.
    pub lease: Option<Interval>,
}
