//! An interface that goes down is a fault, not a shutdown. This is not part of the RFC, whose routers have interfaces
//! that work. The router waits in Initialize, the state of the RFC in which no timer runs.

use xvrrp_common::units::Priority;
use xvrrp_vrrp::{Action, Event, Reason, RouterConfig, State};

use super::bench::{Bench, SECOND, config, nanos, send};

#[test]
fn an_active_router_whose_interface_goes_down_sends_nothing() {
    let mut bench = Bench::active(config());

    let actions = bench.event(Event::InterfaceDown);

    assert_eq!(
        actions,
        [
            Action::SetRole(State::Initialize),
            Action::RemoveAddresses,
            Action::Transition {
                from: State::Active,
                to: State::Initialize,
                reason: Reason::InterfaceDown,
                at: bench.now
            },
        ]
    );
    assert_eq!(bench.wait(SECOND), []);
}

#[test]
fn a_backup_whose_interface_goes_down_does_not_take_over() {
    let mut bench = Bench::backup(config());

    let actions = bench.event(Event::InterfaceDown);

    assert_eq!(
        actions,
        [
            Action::SetRole(State::Initialize),
            Action::Transition {
                from: State::Backup,
                to: State::Initialize,
                reason: Reason::InterfaceDown,
                at: bench.now
            },
        ]
    );
    assert_eq!(bench.router.poll_timeout(), None);
}

/// RFC 9568 6.4.1: as at any start, it listens for a full Active_Down_Interval first.
#[test]
fn a_router_starts_again_once_its_interface_is_up() {
    let mut bench = Bench::active(config());
    bench.event(Event::InterfaceDown);
    bench.wait(SECOND);

    let actions = bench.event(Event::InterfaceUp);

    assert_eq!(actions.first(), Some(&Action::SetRole(State::Backup)));
    assert_eq!(bench.router.reason(), Reason::InterfaceUp);
    assert_eq!(bench.takes_over_after(), nanos(3_609_375_000));
}

/// RFC 9568 6.4.1.
#[test]
fn an_owner_is_active_again_once_its_interface_is_up() {
    let mut bench = Bench::active(RouterConfig { priority: Priority::OWNER, ..config() });
    bench.event(Event::InterfaceDown);
    assert!(bench.event(Event::InterfaceUp).contains(&send(255)));
    assert_eq!(bench.router.state(), State::Active);
}

#[test]
fn a_router_that_starts_on_an_interface_that_is_down_reports_that_and_waits() {
    let mut bench = Bench::new(config());
    assert_eq!(bench.event(Event::InterfaceDown), []);

    let actions = bench.event(Event::Startup);

    let (from, to, reason) = (State::Initialize, State::Initialize, Reason::InterfaceDown);
    assert_eq!(actions.last(), Some(&Action::Transition { from, to, reason, at: bench.now }));
    assert_eq!(bench.router.poll_timeout(), None);
    bench.event(Event::InterfaceUp);
    assert_eq!(bench.router.state(), State::Backup);
}

#[test]
fn an_interface_that_comes_up_starts_no_router_that_is_not_running() {
    let mut bench = Bench::new(config());
    bench.event(Event::InterfaceDown);
    assert_eq!(bench.event(Event::InterfaceUp), []);

    let mut bench = Bench::backup(config());
    bench.event(Event::InterfaceDown);
    bench.event(Event::Shutdown);
    assert_eq!(bench.event(Event::InterfaceUp), []);
    assert_eq!(bench.router.state(), State::Initialize);
}

#[test]
fn a_repeated_report_of_the_interfaces_state_changes_nothing() {
    let mut bench = Bench::backup(config());
    bench.wait(SECOND);
    let deadline = bench.router.poll_timeout();
    assert_eq!(bench.event(Event::InterfaceUp), []);
    assert_eq!(bench.router.poll_timeout(), deadline);

    bench.event(Event::InterfaceDown);
    assert_eq!(bench.event(Event::InterfaceDown), []);

    let mut bench = Bench::active(config());
    assert_eq!(bench.event(Event::InterfaceUp), []);
}
