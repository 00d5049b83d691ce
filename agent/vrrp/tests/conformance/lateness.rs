//! What an agent does that gets round to things late: the kernel half has noted when adverts arrived.

use xvrrp_common::units::{Instant, Interval};
use xvrrp_vrrp::{Action, Config, Event, Reason, State};

use super::bench::{Bench, HIGHER, LOWER, SECOND, config, millis, nanos, send};

/// Active_Down_Interval at priority 100 and one-second adverts.
const ACTIVE_DOWN: Interval = nanos(3_609_375_000);

fn restarted(at: Instant, interval: Interval) -> Event {
    Event::Restarted { at, interval }
}

/// RFC 9568 6.4.2: the timer is set when the advert is received.
#[test]
fn the_active_down_timer_counts_from_the_arrival() {
    let mut bench = Bench::backup(config());
    let arrival = bench.now + millis(100);
    bench.wait(millis(500));
    bench.hear_late(200, HIGHER, SECOND, arrival);
    assert_eq!(bench.router.active_down_deadline(), Some(arrival + ACTIVE_DOWN));
}

/// RFC 9568 6.4.2.
#[test]
fn the_kernels_stamp_restarts_the_active_down_timer_and_brings_the_interval() {
    let mut bench = Bench::backup(config());
    let arrival = bench.now + SECOND;
    bench.wait(millis(1_500));

    assert_eq!(bench.event(restarted(arrival, millis(900))), []);

    assert_eq!(bench.router.active_adver_interval(), millis(900));
    assert_eq!(bench.router.poll_timeout(), Some(arrival + nanos(3_248_437_500)));
}

#[test]
fn a_late_agent_does_not_take_over_from_an_active_whose_adverts_arrived() {
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

/// RFC 9568 6.4.2: priority 0 arrived last, so skew it is.
#[test]
fn a_stamp_from_before_priority_0_does_not_undo_it() {
    let mut bench = Bench::backup(config());
    bench.wait(SECOND);
    let arrival = bench.now - millis(1);
    bench.hear(0, HIGHER);
    bench.event(restarted(arrival, SECOND));
    assert_eq!(bench.takes_over_after(), nanos(609_375_000));
}

/// RFC 9568 6.4.2: an advert arrived after priority 0, so there is an Active.
#[test]
fn priority_0_that_is_told_late_does_not_undo_a_newer_stamp() {
    let mut bench = Bench::backup(config());
    bench.wait(SECOND);
    bench.event(restarted(bench.now, SECOND));
    bench.hear_late(0, HIGHER, SECOND, bench.now - millis(1));
    assert_eq!(bench.takes_over_after(), ACTIVE_DOWN);
}

#[test]
fn adverts_told_out_of_order_leave_the_newest_in_force() {
    let mut bench = Bench::backup(config());
    bench.wait(SECOND);
    bench.hear_interval(200, HIGHER, millis(100));
    let deadline = bench.router.poll_timeout();

    bench.hear_late(150, LOWER, millis(10), bench.now - millis(1));

    assert_eq!(bench.router.poll_timeout(), deadline);
    assert_eq!(bench.router.active_adver_interval(), millis(100));
    assert_eq!(bench.router.active().map(|(source, _)| source), Some(HIGHER));
}

/// The stamp tells when, the event tells who: both count, in whatever order.
#[test]
fn an_event_older_than_the_stamp_still_tells_who_is_active() {
    let mut bench = Bench::backup(Config { preempt_delay: Interval::from_seconds(10), ..config() });
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

/// A stamp that is given again before a timer fires says nothing new about why it fires.
#[test]
fn a_repeated_stamp_does_not_hide_that_we_preempt() {
    let mut bench = Bench::backup(config());
    bench.hear(200, HIGHER);
    let stamp = restarted(bench.now, SECOND);
    bench.wait(SECOND);
    bench.hear(99, LOWER);
    bench.event(stamp);
    assert_eq!(bench.takes_over_after(), nanos(2_609_375_000));
    assert_eq!(bench.router.reason(), Reason::Preempted);
}

/// The kernel half tells of changes only, and may have to drop an event. So the election hands in the newest advert
/// that it finds noted whenever it looks at the stamp.
#[test]
fn the_newest_advert_may_be_told_as_often_as_one_likes() {
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
fn stamps_matter_to_a_backup_only() {
    let mut bench = Bench::active(config());
    let deadline = bench.router.poll_timeout();
    bench.wait(millis(500));
    assert_eq!(bench.event(restarted(bench.now, millis(10))), []);
    assert_eq!(bench.router.poll_timeout(), deadline);
    assert_eq!(bench.router.active_adver_interval(), SECOND);
}

/// RFC 9568 6.4.3: Adver_Timer. Each advert is due at a distance from the last deadline, not from when it was sent.
#[test]
fn lateness_does_not_add_up() {
    let mut bench = Bench::active(config());
    let start = bench.now;
    bench.wait(millis(900));
    assert_eq!(bench.oversleep(millis(103)), [send(100)]);
    assert_eq!(bench.router.poll_timeout(), Some(start + Interval::from_seconds(2)));
}

/// A machine that was suspended, or an agent that was starved.
#[test]
fn adverts_missed_are_not_made_up_for() {
    let mut bench = Bench::active(Config { announce_count: 3, ..config() });
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

/// RFC 9568 6.4.3: what is to be answered at once has been answered by an advert that left since.
#[test]
fn adverts_that_piled_up_are_answered_once() {
    let mut bench = Bench::active(config());
    let start = bench.now;
    bench.wait(millis(700));
    let mut actions = Vec::new();
    for n in [100, 200, 300, 400] {
        actions.extend(bench.hear_late(99, LOWER, millis(100), start + millis(n)));
        actions.extend(bench.hear_late(0, LOWER, millis(100), start + millis(n)));
    }
    assert_eq!(actions, [send(100)]);
    // The next one that arrives is answered again.
    bench.wait(millis(1));
    assert_eq!(bench.hear(99, LOWER), [send(100)]);
}

/// RFC 9568 6.4.3 puts us into Backup for one Active_Down_Interval from its arrival: a time that is over.
#[test]
fn active_ignores_a_higher_priority_that_is_told_an_active_down_interval_late() {
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
fn active_that_steps_down_counts_from_the_arrival() {
    let mut bench = Bench::active(config());
    bench.wait(Interval::from_seconds(5));
    bench.hear_late(200, HIGHER, SECOND, bench.now - SECOND);
    assert_eq!(bench.takes_over_after(), ACTIVE_DOWN.saturating_sub(SECOND));
}
