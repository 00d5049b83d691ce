//! An agent that handles adverts and timers late uses the times at which the kernel half has received the adverts.

use xvrrp_common::units::{Instant, Interval};
use xvrrp_vrrp::{Action, Event, Reason, RouterConfig, State};

use super::bench::{Bench, HIGHER, LOWER, SECOND, config, millis, nanos, send};

/// Active_Down_Interval at priority 100 and one-second adverts.
const ACTIVE_DOWN: Interval = nanos(3_609_375_000);

fn restarted(at: Instant, interval: Interval) -> Event {
    Event::Restarted { at, interval }
}

/// RFC 9568 6.4.2: the timer is set when the advert is received.
#[test]
fn the_active_down_timer_runs_from_the_arrival_of_the_advert() {
    let mut bench = Bench::backup(config());
    let arrival = bench.now + millis(100);
    bench.wait(millis(500));
    bench.hear_late(200, HIGHER, SECOND, arrival);
    assert_eq!(bench.router.active_down_deadline(), Some(arrival + ACTIVE_DOWN));
}

/// RFC 9568 6.4.2.
#[test]
fn the_kernels_stamp_restarts_the_active_down_timer_and_sets_the_interval() {
    let mut bench = Bench::backup(config());
    let arrival = bench.now + SECOND;
    bench.wait(millis(1_500));

    assert_eq!(bench.event(restarted(arrival, millis(900))), []);

    assert_eq!(bench.router.active_adver_interval(), millis(900));
    assert_eq!(bench.router.poll_timeout(), Some(arrival + nanos(3_248_437_500)));
}

#[test]
fn a_late_agent_does_not_take_over_from_an_active_router_whose_adverts_arrived() {
    let mut bench = Bench::backup(config());
    bench.hear(200, HIGHER);
    let arrival = bench.now + Interval::from_seconds(59);
    bench.now = bench.now + Interval::from_seconds(60);

    bench.event(restarted(arrival, SECOND));
    bench.router.handle_timeout(bench.now);

    assert_eq!(bench.router.poll_action(), None);
    assert_eq!(bench.router.active_down_deadline(), Some(arrival + ACTIVE_DOWN));
}

#[test]
fn a_stamp_that_is_not_newer_changes_nothing() {
    let mut bench = Bench::backup(config());
    bench.wait(SECOND);
    bench.hear(200, HIGHER);
    let deadline = bench.router.poll_timeout();
    for at in [Instant::from_nanos(1), bench.now - nanos(1), bench.now] {
        bench.event(restarted(at, millis(10)));
        assert_eq!(bench.router.poll_timeout(), deadline);
        assert_eq!(bench.router.active_adver_interval(), SECOND);
    }
}

/// RFC 9568 6.4.2: priority 0 arrived last, so the Backup waits for Skew_Time.
#[test]
fn a_stamp_from_before_priority_0_does_not_undo_it() {
    let mut bench = Bench::backup(config());
    bench.wait(SECOND);
    let arrival = bench.now - millis(1);
    bench.hear(0, HIGHER);
    bench.event(restarted(arrival, SECOND));
    assert_eq!(bench.takes_over_after(), nanos(609_375_000));
}

/// RFC 9568 6.4.2: an advert arrived after priority 0, so there is an Active router.
#[test]
fn priority_0_that_is_reported_late_does_not_undo_a_newer_stamp() {
    let mut bench = Bench::backup(config());
    bench.wait(SECOND);
    bench.event(restarted(bench.now, SECOND));
    bench.hear_late(0, HIGHER, SECOND, bench.now - millis(1));
    assert_eq!(bench.takes_over_after(), ACTIVE_DOWN);
}

#[test]
fn of_adverts_reported_out_of_order_the_newest_counts() {
    let mut bench = Bench::backup(config());
    bench.wait(SECOND);
    bench.hear_interval(200, HIGHER, millis(100));
    let deadline = bench.router.poll_timeout();

    bench.hear_late(150, LOWER, millis(10), bench.now - millis(1));

    assert_eq!(bench.router.poll_timeout(), deadline);
    assert_eq!(bench.router.active_adver_interval(), millis(100));
    assert_eq!(bench.router.active().map(|(source, _)| source), Some(HIGHER));
}

/// The stamp has only the time, and the event has the sender. Both count, whichever comes first.
#[test]
fn an_event_older_than_the_stamp_still_identifies_the_active_router() {
    let mut bench = Bench::backup(RouterConfig { preempt_delay: Interval::from_seconds(10), ..config() });
    let first_heard_at = bench.now + SECOND;
    bench.wait(Interval::from_seconds(3));
    bench.event(restarted(bench.now, SECOND));
    let deadline = bench.router.active_down_deadline();

    bench.hear_late(99, LOWER, SECOND, first_heard_at);

    assert_eq!(bench.router.active().map(|(source, _)| source), Some(LOWER));
    assert_eq!(bench.router.active_down_deadline(), deadline);
    for _ in 0..7 {
        bench.wait(SECOND);
        bench.event(restarted(bench.now, SECOND));
    }
    assert_eq!(bench.wait(SECOND), [(SECOND, Action::SetPreempt(true))]);
    assert_eq!(bench.now.since(first_heard_at), Interval::from_seconds(10));
}

/// A stamp that is repeated before a timer fires does not change the reason for the takeover.
#[test]
fn a_repeated_stamp_does_not_hide_that_the_router_preempts() {
    let mut bench = Bench::backup(config());
    bench.hear(200, HIGHER);
    let stamp = restarted(bench.now, SECOND);
    bench.wait(SECOND);
    bench.hear(99, LOWER);
    bench.event(stamp);
    assert_eq!(bench.takes_over_after(), nanos(2_609_375_000));
    assert_eq!(bench.router.reason(), Reason::Preempted);
}

/// The kernel half reports only changes, and may have to drop an event. Whenever the election reads the stamp, it
/// therefore passes the latest advert to the state machine too.
#[test]
fn a_repeated_report_of_the_latest_advert_changes_nothing() {
    for priority in [0, 99, 100, 200] {
        let mut bench = Bench::backup(config());
        bench.wait(SECOND);
        let arrival = bench.now;
        bench.hear(priority, HIGHER);
        let (deadline, active) = (bench.router.poll_timeout(), bench.router.active());
        bench.wait(millis(500));

        assert_eq!(bench.hear_late(priority, HIGHER, SECOND, arrival), []);

        assert_eq!((bench.router.poll_timeout(), bench.router.active()), (deadline, active));
    }
}

#[test]
fn stamps_do_not_affect_an_active_router() {
    let mut bench = Bench::active(config());
    let deadline = bench.router.poll_timeout();
    bench.wait(millis(500));
    assert_eq!(bench.event(restarted(bench.now, millis(10))), []);
    assert_eq!(bench.router.poll_timeout(), deadline);
    assert_eq!(bench.router.active_adver_interval(), SECOND);
}

/// RFC 9568 6.4.3: each advert is due one interval after the previous deadline, not after the previous advert was sent.
#[test]
fn lateness_does_not_accumulate() {
    let mut bench = Bench::active(config());
    let start = bench.now;
    bench.wait(millis(900));
    assert_eq!(bench.oversleep(millis(103)), [send(100)]);
    assert_eq!(bench.router.poll_timeout(), Some(start + Interval::from_seconds(2)));
}

/// The machine was suspended, or the agent was starved.
#[test]
fn missed_adverts_are_not_sent_afterwards() {
    let mut bench = Bench::active(RouterConfig { announce_count: 3, ..config() });
    let actions = bench.oversleep(Interval::from_seconds(200));
    assert_eq!(actions, [send(100), Action::Announce]);
    let adverts = bench.wait(Interval::from_seconds(2));
    assert_eq!(adverts, [(SECOND, send(100)), (SECOND, Action::Announce), (Interval::from_seconds(2), send(100))]);
}

#[test]
fn an_overdue_takeover_happens_once() {
    let mut bench = Bench::backup(config());
    let actions = bench.oversleep(Interval::from_seconds(200));
    assert_eq!(actions.iter().filter(|action| **action == send(100)).count(), 1);
    assert_eq!(bench.router.poll_timeout(), Some(bench.now + SECOND));
    bench.router.handle_timeout(bench.now);
    assert_eq!(bench.router.poll_action(), None);
}

/// RFC 9568 6.4.3: the first answer also answers the adverts that arrived before it was sent.
#[test]
fn adverts_that_have_accumulated_are_answered_once() {
    let mut bench = Bench::active(config());
    let start = bench.now;
    bench.wait(millis(700));
    let mut actions = Vec::new();
    for n in [100, 200, 300, 400] {
        actions.extend(bench.hear_late(99, LOWER, millis(100), start + millis(n)));
        actions.extend(bench.hear_late(0, LOWER, millis(100), start + millis(n)));
    }
    assert_eq!(actions, [send(100)]);
    // An advert that arrives later is answered again.
    bench.wait(millis(1));
    assert_eq!(bench.hear(99, LOWER), [send(100)]);
}

/// RFC 9568 6.4.3: the advert would make the router Backup for one Active_Down_Interval from its arrival. That time has
/// passed.
#[test]
fn an_active_router_ignores_a_higher_priority_that_is_reported_an_active_down_interval_late() {
    let mut bench = Bench::active(config());
    bench.wait(Interval::from_seconds(5));
    assert_eq!(bench.hear_late(200, HIGHER, SECOND, bench.now - ACTIVE_DOWN), []);
    assert_eq!((bench.router.state(), bench.router.active_adver_interval()), (State::Active, SECOND));

    bench.hear_late(200, HIGHER, SECOND, bench.now - ACTIVE_DOWN + nanos(1));
    assert_eq!(bench.router.state(), State::Backup);
    assert_eq!(bench.router.active_down_deadline(), Some(bench.now + nanos(1)));
}

/// RFC 9568 6.4.3.
#[test]
fn the_timer_of_an_active_router_that_becomes_backup_runs_from_the_arrival_of_the_advert() {
    let mut bench = Bench::active(config());
    bench.wait(Interval::from_seconds(5));
    bench.hear_late(200, HIGHER, SECOND, bench.now - SECOND);
    assert_eq!(bench.takes_over_after(), ACTIVE_DOWN.saturating_sub(SECOND));
}
