//! The events of a virtual router.

use core::net::IpAddr;

use xvrrp_common::units::{Instant, Interval, Priority};

/// What happens to a virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Take part in the election (RFC 9568 6.4.1).
    Startup,
    /// Take part in the election as Active, after a predecessor on this host that was Active and whose lease still
    /// runs.
    Resume {
        /// End of the predecessor's lease.
        lease_until: Instant,
    },
    /// Leave the election (RFC 9568 6.4.2, 6.4.3).
    Shutdown,
    /// The interface can send and receive again. It counts as up until the first [`Self::InterfaceDown`].
    InterfaceUp,
    /// The interface can neither send nor receive.
    InterfaceDown,
    /// A partner, which is a virtual router that changes role together with us, has become Active. So do we.
    PartnerActive,
    /// A partner was Active, and has become Backup.
    PartnerBackup,
    /// Whether the interfaces and tracked checks of all partners let them take part; [`Checks::Pending`] if that is not
    /// known of one yet. The default is [`Checks::Passed`].
    Partners(Checks),
    /// The Active_Down_Timers of partners run until then: that of a Backup does not expire before.
    Held {
        /// When the last of them expires: [`joint_deadline`](super::joint_deadline).
        until: Instant,
    },
    /// The result of all tracked checks together. The default is [`Checks::Passed`].
    Checks(Checks),
    /// Whether everything that this host needs to serve stays on it: the virtual addresses, and the virtual MAC in the
    /// card's filter. The default is true.
    Kept(bool),
    /// Our priority from now on. It is ignored outside of 1 to 254, and if we are an owner.
    Priority(Priority),
    /// Whether the role is left to others as long as one of them has it. An Active router gives it up. May be repeated;
    /// ends by itself with the next takeover. An owner ignores it.
    StandBy(bool),
    /// A valid advert that changes something, or any valid advert while we are Active.
    Advert(ReceivedAdvert),
    /// The kernel half has heard an advert that restarts a Backup's Active_Down_Timer. May be repeated.
    Restarted {
        /// Time of arrival of the advert.
        at: Instant,
        /// The interval that the advert carried.
        interval: Interval,
    },
}

/// Whether checks without a weight, or partners, let this host serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Checks {
    /// One has no result yet, and none has failed.
    Pending,
    /// All of them succeed.
    Passed,
    /// One of them fails, and is a fault.
    Failed,
}

/// An advert that has passed every check of RFC 9568 7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedAdvert {
    /// Time at which the kernel half took it from the interface.
    pub received_at: Instant,
    /// Primary address of the sender.
    pub source: IpAddr,
    /// Priority of the sender.
    pub priority: Priority,
    /// Max Advertise Interval (version 3) or Adver Int (version 2); not zero.
    pub interval: Interval,
}
