//! RFC 9568 6.4.2: Backup.

use xvrrp_common::units::{Interval, Priority};
use xvrrp_vrrp::{Action, Event, Reason, RouterConfig, State};

use super::bench::{Bench, HIGHER, LOWER, OURS, SECOND, config, millis, nanos, send, without_transition};

/// Active_Down_Interval at priority 100 and one-second adverts.
const ACTIVE_DOWN: Interval = nanos(3_609_375_000);

/// RFC 9568 6.4.2: a Backup does not answer ARP requests (or Neighbor Solicitations) for a virtual address. The kernel
/// half decides that by the role in its maps, so the role is changed first.
#[test]
fn a_router_that_becomes_backup_changes_its_role_in_the_kernel_first_and_announces_nothing() {
    let mut bench = Bench::active(RouterConfig { announce_count: 5, ..config() });

    let actions = bench.hear(200, HIGHER);

    assert_eq!(actions.first(), Some(&Action::SetRole(State::Backup)));
    assert!(!actions.contains(&Action::Announce));
    for _ in 0..10 {
        assert_eq!(bench.wait(SECOND), []);
        assert_eq!(bench.hear(200, HIGHER), []);
    }
}

/// RFC 9568 6.4.2 (conformance 33).
#[test]
fn after_priority_0_a_backup_waits_only_for_skew_time() {
    let mut bench = Bench::backup(config());
    bench.hear(200, HIGHER);
    bench.wait(SECOND);

    assert_eq!(bench.hear(0, HIGHER), []);

    assert_eq!(bench.router.active(), None);
    assert_eq!(bench.takes_over_after(), nanos(609_375_000));
    assert_eq!(bench.router.reason(), Reason::ActiveReleased);
}

/// RFC 9568 6.4.2: Skew_Time is computed from the learned interval, which priority 0 does not change.
#[test]
fn priority_0_does_not_change_the_learned_interval() {
    let mut bench = Bench::backup(config());
    bench.hear_interval(200, HIGHER, millis(100));
    bench.hear_interval(0, HIGHER, millis(40_000));
    assert_eq!(bench.takes_over_after(), nanos(60_937_500));
}

/// RFC 9568 6.4.2.
#[test]
fn a_backup_stays_backup_if_another_active_router_follows_priority_0() {
    let mut bench = Bench::backup(config());
    bench.hear(0, HIGHER);
    bench.wait(millis(600));
    bench.hear(150, LOWER);
    assert_eq!(bench.takes_over_after(), ACTIVE_DOWN);
    assert_eq!(bench.router.reason(), Reason::ActiveDown);
}

/// RFC 9568 6.4.2 (conformance 34). The address does not matter here. It breaks a tie between two Active routers
/// (6.4.3).
#[test]
fn a_priority_that_is_at_least_ours_restarts_the_timer() {
    for (priority, source) in [(255, HIGHER), (200, LOWER), (101, LOWER), (100, HIGHER), (100, LOWER)] {
        let mut bench = Bench::backup(config());
        bench.wait(millis(3_000));

        assert_eq!(bench.hear(priority, source), []);

        assert_eq!(bench.router.active(), Some((source, Priority::new(priority))));
        assert_eq!(bench.takes_over_after(), ACTIVE_DOWN, "priority {priority}");
    }
}

/// RFC 9568 6.4.2 (conformance 34): or Preempt_Mode is off.
#[test]
fn any_priority_restarts_the_timer_with_preempt_off() {
    let mut bench = Bench::backup(RouterConfig { preempt: false, ..config() });
    bench.wait(millis(3_000));

    assert_eq!(bench.hear_interval(1, LOWER, millis(500)), []);

    assert_eq!(bench.router.active_adver_interval(), millis(500));
    assert_eq!(bench.takes_over_after(), nanos(1_804_687_500));
    assert_eq!(bench.router.reason(), Reason::ActiveDown);
}

/// RFC 9568 6.4.2 (conformance 35).
#[test]
fn a_lower_priority_leaves_the_timer_alone_with_preempt_on() {
    let mut bench = Bench::backup(config());
    bench.wait(SECOND);
    assert_eq!(bench.hear(99, HIGHER), []);
    bench.wait(SECOND);
    assert_eq!(bench.hear(99, HIGHER), []);

    assert_eq!(bench.router.active(), Some((HIGHER, Priority::new(99))));
    assert_eq!(bench.takes_over_after(), nanos(1_609_375_000));
    assert_eq!(bench.router.reason(), Reason::Preempted);
}

/// RFC 9568 6.4.2. The order of the actions matters: the kernel half serves before the router says so to others. The
/// addresses come last because there may be many.
#[test]
fn a_backup_becomes_active_with_advert_and_announcements_once_its_timer_expires() {
    // conformance 36
    let mut bench = Bench::backup(config());
    bench.wait(SECOND);
    bench.hear(200, HIGHER);
    let heard_at = bench.now;

    let actions = bench.wait(ACTIVE_DOWN);

    let at = heard_at + ACTIVE_DOWN;
    let expected = [
        Action::SetRole(State::Active),
        send(100),
        Action::Announce,
        Action::InstallAddresses,
        Action::Transition { from: State::Backup, to: State::Active, reason: Reason::ActiveDown, at },
    ];
    assert_eq!(actions, expected.map(|action| (ACTIVE_DOWN, action)));
    assert_eq!((bench.router.state(), bench.router.since()), (State::Active, at));
    assert_eq!(bench.router.active(), Some((OURS, Priority::DEFAULT)));
}

/// RFC 9568 6.4.2 (conformance 37).
#[test]
fn shutdown_of_a_backup_is_silent() {
    let mut bench = Bench::backup(config());

    let actions = bench.event(Event::Shutdown);

    assert_eq!(without_transition(actions), [Action::SetRole(State::Initialize)]);
    assert_eq!((bench.router.state(), bench.router.reason()), (State::Initialize, Reason::Shutdown));
    assert_eq!(bench.router.poll_timeout(), None);
}

/// RFC 9568 6.1: the router that owns the addresses always preempts, whatever Preempt_Mode says. It is Backup here
/// because it has heard another owner with a higher address.
#[test]
fn an_owner_preempts_with_preempt_off() {
    let mut bench = Bench::active(RouterConfig {
        priority: Priority::OWNER,
        preempt: false,
        preempt_delay: Interval::from_seconds(60),
        ..config()
    });

    let actions = bench.hear(255, HIGHER);
    assert!(actions.contains(&Action::SetPreempt(true)));
    bench.wait(SECOND);
    bench.hear(254, LOWER);

    assert_eq!(bench.takes_over_after(), nanos(2_003_906_250));
}
