//! Addresses that do not stay on the host are a fault, apart from the faults of interfaces and checks. This is not part
//! of the RFC, in which a host either can serve or has failed.

use xvrrp_common::units::Priority;
use xvrrp_vrrp::{Action, Checks, Event, Reason, RouterConfig, State};

use super::bench::{Bench, SECOND, config, millis, send, without_transition};

#[test]
fn an_active_router_that_cannot_keep_its_addresses_gives_up_its_role_as_at_a_shutdown() {
    let mut bench = Bench::active(config());

    let actions = bench.event(Event::Kept(false));

    assert_eq!(without_transition(actions), [Action::SetRole(State::Initialize), send(0), Action::RemoveAddresses]);
    assert_eq!(bench.router.reason(), Reason::AddressesNotKept);
    assert!(bench.router.reason().is_fault());
    assert_eq!(bench.router.poll_timeout(), None);
    assert_eq!(bench.event(Event::Kept(false)), [], "a repeated report");
}

/// RFC 9568 6.4.1: as at any start, it listens for a full Active_Down_Interval first.
#[test]
fn a_router_that_tries_again_to_keep_its_addresses_starts_as_backup() {
    for start in [Bench::active, Bench::backup] {
        let mut bench = start(config());
        bench.event(Event::Kept(false));
        assert_eq!(bench.router.state(), State::Initialize);
        bench.wait(SECOND);
        let actions = bench.event(Event::Kept(true));
        assert_eq!(actions.first(), Some(&Action::SetRole(State::Backup)));
        assert_eq!(bench.router.reason(), Reason::Retry);
        assert!(bench.takes_over_after() > SECOND.saturating_mul(3));
    }
}

#[test]
fn an_owner_that_tries_again_to_keep_its_addresses_is_active_at_once() {
    let mut bench = Bench::active(RouterConfig { priority: Priority::OWNER, ..config() });
    bench.event(Event::Kept(false));
    assert_eq!(bench.router.state(), State::Initialize);
    assert!(bench.event(Event::Kept(true)).contains(&send(255)));
}

#[test]
fn neither_the_interface_nor_checks_nor_partners_end_the_fault_of_lost_addresses() {
    let mut bench = Bench::active(config());
    bench.event(Event::Kept(false));
    for events in [
        [Event::InterfaceDown, Event::InterfaceUp],
        [Event::Checks(Checks::Failed), Event::Checks(Checks::Passed)],
        [Event::Partners(Checks::Failed), Event::Partners(Checks::Passed)],
    ] {
        for event in events {
            bench.event(event);
        }
        assert_eq!((bench.router.state(), bench.router.reason()), (State::Initialize, Reason::AddressesNotKept));
    }
    // A failed check keeps the router in Initialize, although it is to try again.
    bench.event(Event::Checks(Checks::Failed));
    bench.event(Event::Kept(true));
    assert_eq!(bench.router.state(), State::Initialize);
    bench.event(Event::Checks(Checks::Passed));
    assert_eq!(bench.router.state(), State::Backup);
    bench.wait(millis(1));
}
