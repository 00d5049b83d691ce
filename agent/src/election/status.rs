//! How a virtual router stands, at the moment of asking.

use std::net::IpAddr;

use xvrrp_common::units::{Instant, Interval, MacAddress, Priority};
use xvrrp_vrrp::{Reason, State, VirtualRouter};

#[derive(Clone, Debug)]
pub struct RouterStatus {
    pub state: State,
    /// Why it is in this state.
    pub reason: Reason,
    pub in_state_for: Interval,
    pub priority: Priority,
    /// Who is Active, as far as is known, and with which priority.
    pub active: Option<(IpAddr, Priority)>,
    /// Whether it leaves the role to others.
    pub stands_by: bool,
    /// The latest advert of any other router.
    pub heard: Option<Heard>,
    pub timers: Timers,
    pub adverts_sent: u64,
    /// Gratuitous ARP and unsolicited Neighbor Advertisements that are put off.
    pub announcements_waiting: usize,
    /// The latest claim on one of our addresses.
    pub rival: Option<Rival>,
}

impl RouterStatus {
    /// Of one that cannot take part: nobody has ever started it.
    pub fn in_fault(config: xvrrp_vrrp::Config) -> Self {
        let machine = VirtualRouter::new(config);
        Self {
            state: machine.state(),
            reason: Reason::InterfaceDown,
            in_state_for: Interval::ZERO,
            priority: machine.priority(),
            active: None,
            stands_by: false,
            heard: None,
            timers: Timers {
                active_adver_interval: machine.active_adver_interval(),
                skew: machine.skew(),
                active_down_interval: machine.active_down_interval(),
                next: None,
                lease: None,
            },
            adverts_sent: 0,
            announcements_waiting: 0,
            rival: None,
        }
    }
}

/// A valid advert of another router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub address: IpAddr,
    pub priority: Priority,
    pub at: Instant,
}

/// Another host claims one of our addresses in ARP, while we are Active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rival {
    pub mac: MacAddress,
    pub address: IpAddr,
    pub at: Instant,
}

/// RFC 9568 6.1.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    pub active_adver_interval: Interval,
    pub skew: Interval,
    pub active_down_interval: Interval,
    /// Until the next deadline, as known to the agent: the Adver_Timer, or at the earliest the Active_Down_Timer.
    pub next: Option<Interval>,
    /// How long the lease of an Active router runs without another advert; `None` without one.
    pub lease: Option<Interval>,
}
