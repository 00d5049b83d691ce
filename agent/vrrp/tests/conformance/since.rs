//! The time since when a router is in its state, which is not part of the RFC. INIT and FAULT are two states here,
//! although both are Initialize.

use xvrrp_common::units::Priority;
use xvrrp_vrrp::{Checks, Event, Reason, State};

use super::bench::{Bench, HIGHER, LOWER, SECOND, config, millis};

#[test]
fn a_router_that_waits_before_its_start_is_in_its_state_since_it_was_created() {
    for (event, reason) in [
        (Event::Checks(Checks::Pending), Reason::ChecksPending),
        (Event::Partners(Checks::Pending), Reason::PartnerPending),
    ] {
        let mut bench = Bench::new(config());
        let created = bench.now;
        bench.wait(SECOND);
        bench.event(event);
        bench.event(Event::Startup);
        assert_eq!((bench.router.reason(), bench.router.since()), (reason, created));
    }
}

#[test]
fn another_reason_for_a_fault_does_not_change_since_when_it_lasts() {
    let mut bench = Bench::backup(config());
    bench.wait(SECOND);
    let down = bench.now;
    bench.event(Event::InterfaceDown);
    bench.event(Event::Checks(Checks::Failed));
    bench.wait(SECOND);
    bench.event(Event::InterfaceUp);
    assert_eq!((bench.router.reason(), bench.router.since()), (Reason::CheckFailed, down));
    bench.wait(SECOND);
    bench.event(Event::Checks(Checks::Passed));
    assert_eq!((bench.router.state(), bench.router.since()), (State::Backup, bench.now));
}

#[test]
fn a_fault_that_becomes_a_wait_begins_a_new_state() {
    for end in [Event::InterfaceUp, Event::Shutdown] {
        let mut bench = Bench::new(config());
        bench.event(Event::Checks(Checks::Pending));
        bench.event(Event::InterfaceDown);
        bench.event(Event::Startup);
        assert_eq!(bench.router.reason(), Reason::InterfaceDown);
        bench.wait(SECOND);
        bench.event(end);
        assert!(!bench.router.reason().is_fault());
        assert_eq!(bench.router.since(), bench.now, "after {end:?}");
    }
}

#[test]
fn a_backup_remembers_the_first_advert_of_its_term() {
    let mut bench = Bench::active(config());
    assert_eq!(bench.router.first_heard_at(), None);
    bench.event(Event::StandBy(true));
    bench.hear(0, LOWER);
    assert_eq!(bench.router.first_heard_at(), None, "priority 0");
    bench.wait(millis(100));
    let first = bench.now;
    for _ in 0..3 {
        bench.hear(50, LOWER);
        bench.wait(SECOND);
    }
    assert_eq!(bench.router.first_heard_at(), Some(first));

    let mut bench = Bench::active(config());
    bench.hear(200, HIGHER);
    assert_eq!(bench.router.active(), Some((HIGHER, Priority::new(200))));
    assert_eq!(bench.router.first_heard_at(), Some(bench.now), "the advert that made it Backup");
}
