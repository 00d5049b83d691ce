//! What the documentation names is there.

use std::collections::BTreeSet;

use xvrrp_common::abi::Counter;

/// Every word in backquotes.
fn code(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn troubleshooting_names_counters_that_there_are_and_every_reason_to_discard_an_advert() {
    let named = code(include_str!("../../docs/troubleshooting.md"));
    let counters: BTreeSet<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
    let families = ["advert_", "arp_", "virtual_mac_", "egress_", "not_accepted", "event_lost"];
    let keys = ["advert_interval", "virtual_mac"];
    for word in named.iter().filter(|word| families.iter().any(|family| word.starts_with(family))) {
        assert!(counters.contains(word) || keys.contains(word), "there is no counter {word}");
    }
    // What is counted and no reason for throwing an advert away.
    let harmless = ["advert_release"];
    for counter in counters.iter().filter(|counter| counter.starts_with("advert_") && !harmless.contains(counter)) {
        assert!(named.contains(counter), "{counter} is not explained");
    }
}
