//! Compares the adverts of other routers with our configuration.

use std::net::IpAddr;

use xvrrp_common::abi;
use xvrrp_common::units::{Instant, Interval, Priority, Version};

use super::config::PROBLEM_PAUSE;
use super::frames::address_sum;
use super::report::RouterProblem;

/// Remembers what was reported, so that nothing is reported twice in a row.
#[derive(Debug)]
pub(super) struct Comparison {
    address_count: usize,
    address_sum: u16,
    last: Option<RouterProblem>,
    reported_at: Option<Instant>,
}

impl Comparison {
    pub(super) fn new(addresses: &[IpAddr]) -> Self {
        Self { address_count: addresses.len(), address_sum: address_sum(addresses), last: None, reported_at: None }
    }

    /// Returns a difference that the administrator should be notified of (RFC 9568 7.1), if it is new. `other_checksum`
    /// says that the sender advertises beside us although our adverts win, and uses the other form of the checksum.
    pub(super) fn compare(
        &mut self,
        machine: &xvrrp_vrrp::RouterConfig,
        advert: &abi::HeardAdvert,
        router: IpAddr,
        other_checksum: bool,
        now: Instant,
    ) -> Option<RouterProblem> {
        let priority = Priority::new(advert.priority);
        let theirs = Interval::from_nanos(advert.interval);
        let ours = machine.advert_interval;
        let count = advert.address_count;
        // RFC 9568 7.1, erratum 8298 (conformance 14): "It SHOULD verify that the local router is not the IPvX address
        // owner (Priority = 255) and log the event." That includes a second owner (8.3.2, conformance 58).
        let problem = if machine.priority.is_owner() && !priority.is_release() {
            Some(RouterProblem::OwnerContested { router, priority })
        } else if usize::from(count) != self.address_count || advert.address_sum != self.address_sum {
            // RFC 9568 7.1 (conformance 13): another list of addresses is logged.
            Some(RouterProblem::AddressesDiffer { router, count })
        } else if theirs != ours {
            // RFC 9568 7.1 (conformance 12): another interval is logged, and the advert counts all the same.
            Some(RouterProblem::IntervalsDiffer { router, theirs, ours })
        } else if other_checksum && machine.version == Version::V3 {
            Some(RouterProblem::ChecksumsDiffer { router })
        } else {
            None
        };
        // Routers that differ in different ways would alternate: one of them is reported, and the next after a pause.
        let reported_lately = self.reported_at.is_some_and(|at| now.since(at) < PROBLEM_PAUSE);
        if problem == self.last || reported_lately {
            return None;
        }
        self.last = problem;
        self.reported_at = Some(now);
        problem
    }
}
