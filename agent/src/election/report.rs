//! What the election reports to the management side, and what it requests of the address thread.

use std::io;
use std::net::IpAddr;

use nix::errno::Errno;
use tokio::sync::mpsc;
use xvrrp_common::units::{Instant, Interval, Priority};

use super::status::Conflict;
use crate::addresses::AddressRequest;
use crate::identity::RouterIndex;

/// A report of the election to the management side.
#[derive(Debug)]
pub enum Report {
    /// A virtual router has changed its state.
    Transition {
        /// Number of the virtual router.
        router: RouterIndex,
        /// The change.
        transition: Transition,
    },
    /// A virtual router has a problem that it did not have before.
    Problem {
        /// Number of the virtual router.
        router: RouterIndex,
        /// The problem.
        problem: RouterProblem,
    },
    /// Another host claims one of our addresses.
    Conflict {
        /// Number of the virtual router that has the address.
        router: RouterIndex,
        /// The claim.
        conflict: Conflict,
    },
    /// An Active virtual router has received an advert with a lower priority than this one, its own. Reported at most
    /// once a second.
    LowerPriority {
        /// Number of the virtual router.
        router: RouterIndex,
        /// Its own priority.
        priority: Priority,
    },
    /// The priority of a virtual router has changed.
    Priority {
        /// Number of the virtual router.
        router: RouterIndex,
        /// Whether it is Active.
        is_active: bool,
        /// The new priority.
        priority: Priority,
    },
    /// The thread runs without real-time scheduling, so ordinary load can delay it.
    NotRealtime {
        /// What was not permitted, as the end of "not permitted to ...".
        what: &'static str,
        /// The system's error.
        error: io::Error,
    },
}

/// A change of state that has happened.
#[derive(Clone, Copy, Debug)]
pub struct Transition {
    /// State before.
    pub from: xvrrp_vrrp::State,
    /// State after.
    pub to: xvrrp_vrrp::State,
    /// Cause of the change.
    pub reason: xvrrp_vrrp::Reason,
    /// The advertised priority.
    pub priority: Priority,
    /// Time of the change.
    pub at: Instant,
}

/// Something an operator should look at. It is reported once, and again only after it has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouterProblem {
    /// RFC 9568 7.1: "the administrator should be notified".
    #[error("{router} advertises {count} addresses that are not ours: the configurations differ")]
    AddressesDiffer {
        /// Primary address of the other router.
        router: IpAddr,
        /// Number of addresses in its advert.
        count: u8,
    },
    /// The intervals differ (RFC 9568 7.1).
    #[error("{router} advertises every {theirs}, we every {ours}: the configurations differ")]
    IntervalsDiffer {
        /// Primary address of the other router.
        router: IpAddr,
        /// Advertisement_Interval in its advert.
        theirs: Interval,
        /// Advertisement_Interval of this router.
        ours: Interval,
    },
    /// Another router advertises addresses that this host owns (RFC 9568 7.1).
    #[error("{router} advertises with priority {priority} although this host owns the addresses")]
    OwnerContested {
        /// Primary address of the other router.
        router: IpAddr,
        /// Priority in its advert.
        priority: Priority,
    },
    /// The checksums have different forms (RFC 9568 and RFC 5798 differ in 5.2.8).
    #[error(
        "{router} advertises beside us and computes the checksum in another form: if it ignores our adverts for that, set \
         checksum on both sides"
    )]
    ChecksumsDiffer {
        /// Primary address of the other router.
        router: IpAddr,
    },
    /// The kernel does not send an advert to the multicast group.
    #[error("cannot send on the interface: {0}")]
    CannotSend(Errno),
    /// An advert could not be sent to one of `unicast_peers`.
    #[error(
        "cannot send to {peer}, which would take over beside us: {error}; nothing is served until that is possible"
    )]
    CannotSendTo {
        /// Address of the peer.
        peer: IpAddr,
        /// The kernel's error.
        error: Errno,
    },
}

/// Queues to the other threads. The election never waits for any of them.
pub(super) struct Outlets {
    reports: mpsc::UnboundedSender<Report>,
    addresses: mpsc::UnboundedSender<AddressRequest>,
}

impl Outlets {
    pub(super) fn new(
        reports: mpsc::UnboundedSender<Report>,
        addresses: mpsc::UnboundedSender<AddressRequest>,
    ) -> Self {
        Self { reports, addresses }
    }

    // The receivers outlive this thread, except in the last moments of a stop that failed.

    pub(super) fn report(&self, report: Report) {
        let _ = self.reports.send(report);
    }

    pub(super) fn request(&self, request: AddressRequest) {
        let _ = self.addresses.send(request);
    }
}
