//! What an operator may change about the election, and that the RFC does not have or has otherwise.

use xvrrp_common::units::{Instant, Interval, Priority};
use xvrrp_vrrp::{Action, Checks, Event, Reason, RouterConfig, State, VirtualRouter};

use super::bench::{Bench, HIGHER, LOWER, SECOND, config, millis, nanos, send, without_transition};

/// conformance 21
#[test]
fn active_down_interval_has_as_many_intervals_as_configured() {
    for (adverts, intervals) in [(1, 1_609_375_000), (2, 2_609_375_000), (100, 100_609_375_000)] {
        let config = RouterConfig { down_timer_adverts: adverts, lease: true, ..config() };
        let mut bench = Bench::backup(config.clone());
        assert_eq!(bench.takes_over_after(), nanos(intervals));

        let mut bench = Bench::backup(config);
        bench.hear_interval(200, HIGHER, millis(100));
        let learned = millis(100).saturating_mul(adverts.into()) + millis(100).skew(Priority::DEFAULT);
        assert_eq!(bench.takes_over_after(), learned);
    }
}

/// conformance 47
#[test]
fn an_active_router_that_does_not_answer_a_lower_priority_goes_on_without_an_advert() {
    let mut bench = Bench::active(RouterConfig { answers_lower: false, ..config() });
    bench.wait(millis(500));
    assert_eq!(bench.hear(50, HIGHER), []);
    assert_eq!(bench.hear(100, LOWER), []);
    assert_eq!(bench.hear(0, HIGHER), [send(100)], "a release is answered nevertheless");
    assert_eq!(bench.router.state(), State::Active);
}

/// conformance 45
#[test]
fn an_active_router_that_answers_a_higher_priority_sends_its_last_advert_before_it_steps_down() {
    for (priority, source) in [(200, LOWER), (100, HIGHER)] {
        let mut bench = Bench::active(RouterConfig { answers_higher: true, lease: true, ..config() });
        bench.sent_now();
        bench.wait(millis(500));
        let actions = without_transition(bench.hear(priority, source));
        assert_eq!(actions, [send(100), Action::SetRole(State::Backup), Action::RemoveAddresses]);
        assert_eq!(bench.router.advert_sent(bench.now), None, "a lease");
        assert_eq!(bench.takes_over_after(), nanos(3_609_375_000));
    }
}

const DELAY: Interval = Interval::from_seconds(20);

/// Returns a Backup that has just started and takes over 20 s later at the earliest.
fn delayed(config: RouterConfig) -> (Bench, Instant) {
    let begin = Bench::new(config.clone()).now + DELAY;
    let mut bench = Bench::new(RouterConfig { delayed_until: begin, ..config });
    bench.event(Event::Startup);
    assert_eq!(bench.router.state(), State::Backup);
    (bench, begin)
}

#[test]
fn active_down_interval_begins_after_the_delay_at_the_start() {
    let (mut bench, begin) = delayed(config());
    bench.takes_over_after();
    assert_eq!(bench.now, begin + nanos(3_609_375_000));
    assert_eq!(bench.router.reason(), Reason::ActiveDown);
}

#[test]
fn what_is_heard_during_the_delay_at_the_start_counts_from_its_end() {
    let (mut bench, begin) = delayed(config());
    bench.wait(SECOND);
    bench.hear(200, HIGHER);
    assert_eq!(bench.router.active_down_deadline(), Some(begin + nanos(3_609_375_000)));
    bench.wait(SECOND);
    bench.hear(0, HIGHER);
    assert_eq!(bench.router.active_down_deadline(), Some(begin + nanos(609_375_000)));
    // A fault during the delay, and its end, change nothing.
    bench.event(Event::Checks(Checks::Failed));
    bench.event(Event::Checks(Checks::Passed));
    assert_eq!(bench.router.active_down_deadline(), Some(begin + nanos(3_609_375_000)));
    // Adverts after the delay count as ever.
    bench.wait(DELAY);
    bench.hear(200, HIGHER);
    assert_eq!(bench.router.active_down_deadline(), Some(bench.now + nanos(3_609_375_000)));
}

/// conformance 26
#[test]
fn an_owner_takes_over_when_the_delay_at_the_start_ends() {
    let (mut bench, begin) = delayed(RouterConfig { priority: Priority::OWNER, ..config() });
    bench.takes_over_after();
    assert_eq!((bench.now, bench.router.reason()), (begin, Reason::Owner));
    bench.event(Event::InterfaceDown);
    bench.event(Event::InterfaceUp);
    assert_eq!(bench.router.state(), State::Active, "it is delayed once");
}

#[test]
fn a_role_is_resumed_in_spite_of_a_delay_at_the_start() {
    let now = Bench::new(config()).now;
    let mut router = VirtualRouter::new(RouterConfig { delayed_until: now + DELAY, lease: true, ..config() }, now);
    router.handle_event(Event::Resume { lease_until: now + SECOND }, now);
    assert_eq!(router.state(), State::Active);
}
