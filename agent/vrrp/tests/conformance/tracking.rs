//! Tracked checks change the priority, or are a fault. They are not part of the RFC, whose priorities are fixed. The
//! rules that depend on a priority are those of the RFC.

use xvrrp_common::units::{Interval, Priority};
use xvrrp_vrrp::{Action, Checks, Event, Reason, RouterConfig, State};

use super::bench::{Bench, HIGHER, LOWER, SECOND, config, millis, nanos, send, without_transition};

fn priority(priority: u8) -> Event {
    Event::Priority(Priority::new(priority))
}

fn set(priority: u8) -> Action {
    Action::SetPriority(Priority::new(priority))
}

#[test]
fn an_active_router_advertises_its_new_priority_at_once_and_from_then_on() {
    let mut bench = Bench::active(config());
    bench.wait(millis(300));

    assert_eq!(bench.event(priority(80)), [set(80), send(80)]);
    assert_eq!(bench.router.priority(), Priority::new(80));
    // The Adver_Timer is not restarted.
    assert_eq!(bench.wait(SECOND), [(millis(700), send(80))]);
    assert_eq!(bench.event(priority(120)), [set(120), send(120)]);
}

/// RFC 9568 6.4.3: adverts are compared with the current priority.
#[test]
fn an_active_router_yields_according_to_its_new_priority() {
    let mut bench = Bench::active(config());
    assert_eq!(bench.hear(90, HIGHER), [send(100)]);
    bench.event(priority(80));
    bench.wait(millis(100));
    bench.hear(90, LOWER);
    assert_eq!((bench.router.state(), bench.router.reason()), (State::Backup, Reason::HigherPriority));
}

/// RFC 9568 6.1: Skew_Time depends on the priority, and so does a timer that already runs.
#[test]
fn the_running_timer_of_a_backup_follows_its_skew_time() {
    for (to, active_down) in [(200, nanos(3_218_750_000)), (1, nanos(3_996_093_750)), (254, nanos(3_007_812_500))] {
        let mut bench = Bench::backup(config());
        bench.hear(254, HIGHER);
        let heard_at = bench.now;
        bench.wait(SECOND);
        assert_eq!(bench.event(priority(to)), [set(to)]);
        assert_eq!(bench.router.active_down_interval(), active_down);
        bench.takes_over_after();
        assert_eq!(bench.now.since(heard_at), active_down);
        assert_eq!(bench.router.reason(), Reason::ActiveDown);
    }
}

#[test]
fn a_role_that_was_given_up_is_taken_over_after_the_new_skew_time() {
    let mut bench = Bench::backup(config());
    bench.hear(0, HIGHER);
    bench.wait(millis(100));
    bench.event(priority(200));
    assert_eq!(bench.takes_over_after(), nanos(218_750_000 - 100_000_000));
    assert_eq!(bench.router.reason(), Reason::ActiveReleased);
}

#[test]
fn a_backup_raised_above_the_active_router_preempts() {
    let mut bench = Bench::backup(config());
    bench.hear(150, HIGHER);
    let heard_at = bench.now;
    bench.event(priority(200));
    bench.wait(SECOND);
    // RFC 9568 6.4.2: a lower priority no longer restarts the timer.
    bench.hear(150, HIGHER);
    bench.takes_over_after();
    assert_eq!(bench.router.reason(), Reason::Preempted);
    assert_eq!(bench.now.since(heard_at), nanos(3_218_750_000));
}

#[test]
fn a_backup_lowered_below_the_active_router_stays_backup() {
    let mut bench = Bench::backup(config());
    bench.hear(90, HIGHER);
    bench.wait(SECOND);
    bench.event(priority(50));
    for _ in 0..10 {
        bench.hear(90, HIGHER);
        bench.wait(SECOND);
    }
    assert_eq!(bench.router.state(), State::Backup);
    assert_eq!(bench.takes_over_after() + SECOND, SECOND.saturating_mul(3) + SECOND.skew(Priority::new(50)));
    assert_eq!(bench.router.reason(), Reason::ActiveDown);
}

#[test]
fn without_preempt_a_raised_priority_changes_no_role() {
    let mut bench = Bench::backup(RouterConfig { preempt: false, ..config() });
    bench.hear(150, HIGHER);
    bench.event(priority(200));
    for _ in 0..10 {
        bench.wait(SECOND);
        bench.hear(150, HIGHER);
    }
    assert_eq!(bench.router.state(), State::Backup);
}

#[test]
fn preempt_delay_runs_from_the_change_of_priority() {
    let delay = Interval::from_seconds(5);
    let mut bench = Bench::backup(RouterConfig { preempt_delay: delay, ..config() });
    bench.hear(150, HIGHER);
    bench.wait(SECOND);
    bench.event(priority(200));
    let changed_at = bench.now;
    let delay_ended_at = loop {
        let actions = bench.wait(SECOND);
        if let [(after, Action::SetPreempt(true))] = actions[..] {
            break bench.now - SECOND + after;
        }
        assert_eq!(actions, []);
        bench.hear(150, HIGHER);
    };
    assert_eq!(delay_ended_at.since(changed_at), delay);

    // The delay starts again when a change makes the other router the better one.
    assert_eq!(bench.event(priority(120)), [set(120), Action::SetPreempt(false)]);
}

#[test]
fn an_advert_from_before_the_change_is_compared_with_the_new_priority_before_a_takeover() {
    let mut bench = Bench::backup(config());
    bench.hear(90, HIGHER);
    bench.wait(SECOND.saturating_mul(3));
    bench.event(priority(50));
    // The kernel half has stored this advert without a report, because it brought no news at the priority of that time.
    let latest = bench.now;
    bench.wait(millis(500));
    bench.hear_late(90, HIGHER, SECOND, latest);
    assert_eq!(bench.router.active_down_deadline(), Some(latest + bench.router.active_down_interval()));
}

#[test]
fn invalid_and_unchanged_priorities_are_ignored() {
    let mut bench = Bench::active(config());
    for wrong in [0, 100, 255] {
        assert_eq!(bench.event(priority(wrong)), [], "{wrong}");
    }
    let mut owner = Bench::active(RouterConfig { priority: Priority::OWNER, ..config() });
    assert_eq!(owner.event(priority(100)), []);
    assert_eq!(owner.router.priority(), Priority::OWNER);
}

#[test]
fn a_priority_set_before_the_start_counts_from_the_start() {
    let mut bench = Bench::new(config());
    assert_eq!(bench.event(priority(200)), [set(200)]);
    bench.event(Event::Startup);
    assert_eq!(bench.takes_over_after(), nanos(3_218_750_000));
}

#[test]
fn an_active_router_with_failed_checks_gives_up_its_role_as_at_a_shutdown() {
    let mut bench = Bench::active(config());

    let actions = bench.event(Event::Checks(Checks::Failed));

    assert_eq!(without_transition(actions), [Action::SetRole(State::Initialize), send(0), Action::RemoveAddresses]);
    assert_eq!(bench.router.reason(), Reason::CheckFailed);
    assert!(bench.router.reason().is_fault());
    assert_eq!(bench.router.poll_timeout(), None);
}

/// RFC 9568 6.4.1: as at any start, it listens for a full Active_Down_Interval first.
#[test]
fn once_its_checks_pass_a_router_starts_again() {
    for start in [Bench::active, Bench::backup] {
        let mut bench = start(config());
        bench.event(Event::Checks(Checks::Failed));
        bench.event(priority(200));
        bench.wait(SECOND);
        let actions = bench.event(Event::Checks(Checks::Passed));
        assert_eq!(actions.first(), Some(&Action::SetRole(State::Backup)));
        assert_eq!(bench.router.reason(), Reason::ChecksPassed);
        assert_eq!(bench.takes_over_after(), nanos(3_218_750_000));
    }
}

#[test]
fn an_owner_is_active_again_once_its_checks_pass() {
    let mut bench = Bench::active(RouterConfig { priority: Priority::OWNER, ..config() });
    bench.event(Event::Checks(Checks::Failed));
    assert_eq!(bench.router.state(), State::Initialize);
    assert!(bench.event(Event::Checks(Checks::Passed)).contains(&send(255)));
}

#[test]
fn a_router_starts_only_when_its_checks_have_their_first_results() {
    let mut bench = Bench::new(config());
    bench.event(Event::Checks(Checks::Pending));
    assert_eq!(bench.event(Event::Startup), []);
    assert_eq!((bench.router.state(), bench.router.reason()), (State::Initialize, Reason::ChecksPending));
    assert!(!bench.router.reason().is_fault());
    bench.event(Event::Checks(Checks::Passed));
    assert_eq!(bench.router.state(), State::Backup);

    let mut bench = Bench::new(config());
    bench.event(Event::Checks(Checks::Pending));
    bench.event(Event::Startup);
    let actions = bench.event(Event::Checks(Checks::Failed));
    let (from, to, reason) = (State::Initialize, State::Initialize, Reason::CheckFailed);
    assert_eq!(actions.last(), Some(&Action::Transition { from, to, reason, at: bench.now }));
}

/// keepalived does the same on a reload.
#[test]
fn a_successor_resumes_while_its_checks_are_pending_but_not_if_they_have_failed() {
    for (checks, state) in [(Checks::Pending, State::Active), (Checks::Failed, State::Initialize)] {
        let mut bench = Bench::new(config());
        bench.event(Event::Checks(checks));
        bench.event(Event::Resume { lease_until: bench.now + SECOND });
        assert_eq!(bench.router.state(), state, "{checks:?}");
    }
}

#[test]
fn a_router_starts_again_only_if_both_its_interface_and_its_checks_allow_it() {
    let mut bench = Bench::active(config());
    bench.event(Event::InterfaceDown);
    assert_eq!(bench.event(Event::Checks(Checks::Failed)), []);
    bench.event(Event::InterfaceUp);
    assert_eq!((bench.router.state(), bench.router.reason()), (State::Initialize, Reason::CheckFailed));
    bench.event(Event::InterfaceDown);
    assert_eq!(bench.event(Event::Checks(Checks::Passed)), []);
    bench.event(Event::InterfaceUp);
    assert_eq!((bench.router.state(), bench.router.reason()), (State::Backup, Reason::InterfaceUp));
}

#[test]
fn a_repeated_result_of_the_checks_changes_nothing() {
    let mut bench = Bench::active(config());
    assert_eq!(bench.event(Event::Checks(Checks::Passed)), []);
    bench.event(Event::Checks(Checks::Failed));
    assert_eq!(bench.event(Event::Checks(Checks::Failed)), []);
    bench.event(Event::Shutdown);
    assert_eq!(bench.event(Event::Checks(Checks::Passed)), []);
    assert_eq!(bench.router.state(), State::Initialize);
}
