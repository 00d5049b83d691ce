//! What can happen to a virtual router.

use core::net::IpAddr;

use xvrrp_common::units::{Instant, Interval, Priority};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Take part in the election (RFC 9568 6.4.1).
    Startup,
    /// The same, after a predecessor on this host that was Active and whose lease ends at `lease_until`: go on from there.
    Resume { lease_until: Instant },
    /// Leave the election (RFC 9568 6.4.2, 6.4.3).
    Shutdown,
    /// The interface can send and receive again. It counts as up until told otherwise.
    InterfaceUp,
    /// The interface can neither send nor receive.
    InterfaceDown,
    /// One of those that change role together with us has become Active: so do we.
    PartnerActive,
    /// It was Active, and has become Backup.
    PartnerBackup,
    /// Whether all of those can take part, as far as their interfaces say; [`Checks::Pending`] if that is not known of one
    /// yet. Checks are the same for all of them. They count as passed until told otherwise.
    Partners(Checks),
    /// What the tracked checks say, all together. They count as passed until told otherwise.
    Checks(Checks),
    /// Whether everything that this host needs to serve stays on it: the virtual addresses, and the virtual MAC in the
    /// card's filter. It counts as staying until told otherwise.
    Kept(bool),
    /// Our priority from now on: 1 to 254, or of the owner 255. No other is taken, and an owner stays one.
    Priority(Priority),
    /// Whether the role is left to others as long as one of them has it: of one that is Active it is given up. Told as often
    /// as one likes; ends by itself with the next takeover. An owner takes no notice.
    StandBy(bool),
    /// A valid advert that changes something, or any valid advert while we are Active.
    Advert(Advert),
    /// The kernel half has heard, `at` this moment, an advert that restarts a Backup's Active_Down_Timer, and it
    /// carried this `interval`. May be given as often as one likes.
    Restarted { at: Instant, interval: Interval },
}

/// Whether this host can serve, as far as tracked checks without a weight say, or others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Checks {
    /// One has no result yet, and none has failed.
    Pending,
    Passed,
    Failed,
}

/// An advert that has passed every check of RFC 9568 7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    pub received_at: Instant,
    pub source: IpAddr,
    pub priority: Priority,
    /// Max Advertise Interval (version 3) or Adver Int (version 2); not zero.
    pub interval: Interval,
}
