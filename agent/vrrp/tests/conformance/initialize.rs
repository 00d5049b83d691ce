//! RFC 9568 6.4.1: Initialize.

use xvrrp_common::units::Priority;
use xvrrp_vrrp::{Action, Event, Reason, RouterConfig, State};

use super::bench::{Bench, HIGHER, OURS, config, nanos, send};

/// RFC 9568 6.4.1 (conformance 26).
#[test]
fn priority_255_becomes_active_at_once_with_advert_and_announcements() {
    let mut bench = Bench::new(RouterConfig { priority: Priority::OWNER, ..config() });

    let actions = bench.event(Event::Startup);

    assert_eq!(
        actions,
        [
            Action::SetRole(State::Active),
            send(255),
            Action::Announce,
            Action::InstallAddresses,
            Action::Transition { from: State::Initialize, to: State::Active, reason: Reason::Owner, at: bench.now },
        ]
    );
    assert_eq!(bench.router.active(), Some((OURS, Priority::OWNER)));
}

/// RFC 9568 6.4.1 (conformance 27).
#[test]
fn a_router_with_another_priority_becomes_backup_for_a_full_active_down_interval() {
    for priority in [1, 100, 254] {
        let mut bench = Bench::new(RouterConfig { priority: Priority::new(priority), ..config() });

        let actions = bench.event(Event::Startup);

        assert_eq!(
            actions,
            [
                Action::SetRole(State::Backup),
                Action::Transition {
                    from: State::Initialize,
                    to: State::Backup,
                    reason: Reason::Startup,
                    at: bench.now
                },
            ]
        );
        assert_eq!(bench.router.active(), None);
        let skew = (256 - u64::from(priority)) * 1_000_000_000 / 256;
        assert_eq!(bench.takes_over_after(), nanos(3_000_000_000 + skew));
    }
}

/// RFC 9568 6.4.1: only a Startup event leads out of Initialize.
#[test]
fn nothing_happens_before_startup() {
    let mut bench = Bench::new(config());
    assert_eq!(bench.hear(200, HIGHER), []);
    assert_eq!(bench.hear(0, HIGHER), []);
    assert_eq!(bench.event(Event::Restarted { at: bench.now, interval: nanos(1) }), []);
    assert_eq!(bench.event(Event::Shutdown), []);
    assert_eq!(bench.router.poll_timeout(), None);
    assert_eq!(bench.router.state(), State::Initialize);
}

/// RFC 9568 6.4.1 covers only the state Initialize.
#[test]
fn a_second_startup_changes_nothing() {
    let mut bench = Bench::backup(config());
    bench.wait(nanos(1_000));
    let deadline = bench.router.poll_timeout();
    assert_eq!(bench.event(Event::Startup), []);
    assert_eq!(bench.router.poll_timeout(), deadline);

    let mut bench = Bench::active(config());
    assert_eq!(bench.event(Event::Startup), []);
    assert_eq!(bench.router.state(), State::Active);
}

/// RFC 9568 7.1 (conformance 18): a packet from ourselves never counts as a peer, whatever its priority.
#[test]
fn our_own_adverts_are_ignored() {
    let mut bench = Bench::backup(config());
    let deadline = bench.router.poll_timeout();
    bench.wait(nanos(1_000));
    assert_eq!(bench.hear(255, OURS), []);
    assert_eq!(bench.hear(0, OURS), []);
    assert_eq!(bench.router.poll_timeout(), deadline);
    assert_eq!(bench.router.active(), None);

    let mut bench = Bench::active(config());
    for priority in [0, 99, 100, 255] {
        assert_eq!(bench.hear(priority, OURS), []);
    }
    assert_eq!(bench.router.state(), State::Active);
}
