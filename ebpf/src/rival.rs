//! Others that claim a virtual address.

use xvrrp_common::abi::{self, Address, Claim, Counter};
use xvrrp_common::units::MacAddress;

use crate::heard;
use crate::maps::{self, CounterIndex, count};
use crate::router::Router;

/// Somebody says that this address of the virtual router is at this MAC. True, counted and told to the agent if it is
/// neither us nor the Active router; a Backup without a virtual MAC cannot tell: that one answers with its own.
#[inline(always)]
pub fn notice(router: &Router, address: Address, mac: MacAddress, counter: Counter) -> bool {
    let active = router.role() == abi::Router::ROLE_ACTIVE;
    if !active && !router.has(abi::Router::VIRTUAL_MAC) || mac == router.answer_mac() {
        return false;
    }
    count(CounterIndex::of(router), counter);
    // The agent answers, and logs it; not more often than it can take.
    if active && maps::heard(router).is_some_and(heard::claim_is_due) {
        // Lost in a full ring buffer, it is told again soon, if it is made again.
        maps::tell(Claim { address, slot: router.slot(), mac: mac.0, reserved: [0; 6] });
    }
    true
}
