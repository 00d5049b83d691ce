//! keepalived's `preempt_delay` postpones one rule of RFC 9568 6.4.2: that a lower priority does not restart the
//! Active_Down_Timer.

use xvrrp_common::units::Interval;
use xvrrp_vrrp::{Action, Event, Reason, RouterConfig, State};

use super::bench::{Bench, HIGHER, LOWER, SECOND, config, nanos};

/// Active_Down_Interval at priority 100 and one-second adverts.
const ACTIVE_DOWN: Interval = nanos(3_609_375_000);
const DELAY: Interval = Interval::from_seconds(10);

fn delayed() -> RouterConfig {
    RouterConfig { preempt_delay: DELAY, ..config() }
}

/// Lets an Active router with priority 99 advertise every second for this long.
fn lower_active_for(bench: &mut Bench, seconds: u8) -> Vec<Action> {
    let mut actions = bench.hear(99, LOWER);
    for _ in 0..seconds {
        actions.extend(bench.wait(SECOND).into_iter().map(|(_, action)| action));
        actions.extend(bench.hear(99, LOWER));
    }
    actions
}

#[test]
fn lower_priorities_restart_the_timer_in_the_kernel_half_from_the_start() {
    let mut bench = Bench::new(delayed());
    let actions = bench.event(Event::Startup);
    assert_eq!(actions[..2], [Action::SetRole(State::Backup), Action::SetPreempt(false)]);
}

#[test]
fn a_lower_priority_restarts_the_timer_until_the_delay_ends() {
    // conformance 35
    let mut bench = Bench::backup(delayed());
    let actions = lower_active_for(&mut bench, 9);
    assert_eq!(actions, []);
    assert_eq!(bench.router.state(), State::Backup);
    assert_eq!(bench.router.active_down_deadline(), Some(bench.now + ACTIVE_DOWN));
}

#[test]
fn after_the_delay_a_lower_priority_no_longer_restarts_the_timer() {
    let mut bench = Bench::backup(delayed());
    bench.wait(SECOND);
    let first_heard_at = bench.now;
    lower_active_for(&mut bench, 9);
    let last_regarded_at = bench.now;

    let actions = bench.wait(SECOND);
    assert_eq!(actions, [(SECOND, Action::SetPreempt(true))]);
    assert_eq!(bench.now.since(first_heard_at), DELAY);
    bench.hear(99, LOWER);
    bench.takes_over_after();

    assert_eq!(bench.now.since(last_regarded_at), ACTIVE_DOWN);
    assert_eq!(bench.router.reason(), Reason::Preempted);
}

#[test]
fn the_takeover_from_a_dead_active_router_is_not_delayed() {
    let mut bench = Bench::backup(delayed());
    lower_active_for(&mut bench, 2);
    assert_eq!(bench.takes_over_after(), ACTIVE_DOWN);
    assert_eq!(bench.router.reason(), Reason::ActiveDown);

    let mut never_heard_any = Bench::backup(delayed());
    assert_eq!(never_heard_any.takes_over_after(), ACTIVE_DOWN);
}

#[test]
fn the_takeover_after_priority_0_is_not_delayed() {
    let mut bench = Bench::backup(delayed());
    lower_active_for(&mut bench, 2);
    bench.hear(0, LOWER);
    assert_eq!(bench.takes_over_after(), nanos(609_375_000));
}

#[test]
fn a_priority_that_is_at_least_ours_restarts_the_delay() {
    for priority in [100, 200] {
        // While the delay runs.
        let mut bench = Bench::backup(delayed());
        lower_active_for(&mut bench, 5);
        assert_eq!(bench.hear(priority, HIGHER), []);
        assert_eq!(lower_active_for(&mut bench, 9), []);
        assert_eq!(bench.wait(SECOND), [(SECOND, Action::SetPreempt(true))]);

        // After it has ended.
        assert_eq!(bench.hear(priority, HIGHER), [Action::SetPreempt(false)]);
        assert_eq!(lower_active_for(&mut bench, 9), []);
        assert_eq!(bench.wait(SECOND), [(SECOND, Action::SetPreempt(true))]);
    }
}

#[test]
fn leaving_backup_restarts_the_delay() {
    let mut bench = Bench::backup(delayed());
    lower_active_for(&mut bench, 10);
    bench.takes_over_after();

    let actions = bench.hear(200, HIGHER);

    assert_eq!(actions[..3], [Action::SetRole(State::Backup), Action::SetPreempt(false), Action::RemoveAddresses]);
    assert_eq!(lower_active_for(&mut bench, 9), []);
    assert_eq!(bench.router.state(), State::Backup);
}

#[test]
fn another_active_router_with_a_lower_priority_does_not_restart_the_delay() {
    let mut bench = Bench::backup(delayed());
    lower_active_for(&mut bench, 5);
    bench.hear(50, HIGHER);
    assert_eq!(lower_active_for(&mut bench, 4), []);
    assert_eq!(bench.wait(SECOND), [(SECOND, Action::SetPreempt(true))]);
}

#[test]
fn without_preempt_the_delay_has_no_effect() {
    let mut bench = Bench::backup(RouterConfig { preempt: false, ..delayed() });
    assert_eq!(lower_active_for(&mut bench, 30), []);
    assert_eq!(bench.router.state(), State::Backup);
}

#[test]
fn without_a_delay_the_flag_of_the_kernel_half_never_changes() {
    for preempt in [false, true] {
        let mut bench = Bench::new(RouterConfig { preempt, ..config() });
        let mut actions = bench.event(Event::Startup);
        actions.extend(lower_active_for(&mut bench, 10));
        actions.extend(bench.hear(200, HIGHER));
        assert!(!actions.iter().any(|action| matches!(action, Action::SetPreempt(_))), "{actions:?}");
    }
}
