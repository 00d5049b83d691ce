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
    Transition {
        router: RouterIndex,
        transition: Transition,
    },
    Problem {
        router: RouterIndex,
        problem: RouterProblem,
    },
    /// Another host claims one of our addresses.
    Conflict {
        router: RouterIndex,
        conflict: Conflict,
    },
    /// The thread runs without real-time scheduling, so ordinary load can delay it.
    NotRealtime {
        what: &'static str,
        error: io::Error,
    },
}

/// A change of state that has happened.
#[derive(Clone, Copy, Debug)]
pub struct Transition {
    pub from: xvrrp_vrrp::State,
    pub to: xvrrp_vrrp::State,
    pub reason: xvrrp_vrrp::Reason,
    /// The advertised priority.
    pub priority: Priority,
    pub at: Instant,
}

/// Something an operator should look at. It is reported once, and again only after it has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouterProblem {
    /// RFC 9568 7.1: "the administrator should be notified".
    #[error("{router} advertises {count} addresses that are not ours: the configurations differ")]
    AddressesDiffer { router: IpAddr, count: u8 },
    /// The intervals differ (RFC 9568 7.1).
    #[error("{router} advertises every {theirs}, we every {ours}: the configurations differ")]
    IntervalsDiffer { router: IpAddr, theirs: Interval, ours: Interval },
    /// Another router advertises addresses that this host owns (RFC 9568 7.1).
    #[error("{router} advertises with priority {priority} although this host owns the addresses")]
    OwnerContested { router: IpAddr, priority: Priority },
    /// The checksums have different forms (RFC 9568 and RFC 5798 differ in 5.2.8).
    #[error(
        "{router} advertises beside us and computes the checksum in another form: if it ignores our adverts for that, set \
         checksum on both sides"
    )]
    ChecksumsDiffer { router: IpAddr },
    #[error("cannot send on the interface: {0}")]
    CannotSend(Errno),
    /// An advert could not be sent to one of `unicast_peers`.
    #[error(
        "cannot send to {peer}, which would take over beside us: {error}; nothing is served until that is possible"
    )]
    CannotSendTo { peer: IpAddr, error: Errno },
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
