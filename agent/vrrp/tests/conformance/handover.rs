//! A handover gives up the role with priority 0. From then on, the router leaves other Active routers alone, whatever
//! their priority.

use xvrrp_common::units::{Interval, Priority};
use xvrrp_vrrp::{Action, Event, Reason, RouterConfig, State};

use super::bench::{Bench, HIGHER, LOWER, SECOND, config, nanos, send, without_transition};

/// Active_Down_Interval at priority 100 and one-second adverts.
const ACTIVE_DOWN: Interval = nanos(3_609_375_000);

/// Returns a router that was Active and has handed over to one with priority 50, which advertises every second.
fn handed_over(config: RouterConfig) -> Bench {
    let mut bench = Bench::active(config);
    bench.event(Event::StandBy(true));
    lower_active_for(&mut bench, 1);
    bench
}

fn lower_active_for(bench: &mut Bench, seconds: u8) {
    for _ in 0..seconds {
        bench.wait(SECOND);
        bench.hear(50, LOWER);
    }
}

#[test]
fn the_role_is_given_up_with_priority_0() {
    let mut bench = Bench::active(config());
    let actions = bench.event(Event::StandBy(true));
    let expected = [
        Action::SetRole(State::Backup),
        Action::SetPreempt(false),
        send(0),
        Action::RemoveAddresses,
        Action::SetStandBy(true),
    ];
    assert_eq!(without_transition(actions), expected);
    assert_eq!((bench.router.reason(), bench.router.stands_by()), (Reason::HandedOver, true));
    assert_eq!(bench.event(Event::StandBy(true)), [], "a second handover");
}

#[test]
fn a_lower_priority_is_left_alone_as_long_as_it_is_heard() {
    for preempt_delay in [Interval::ZERO, SECOND] {
        let mut bench = handed_over(RouterConfig { preempt_delay, ..config() });
        lower_active_for(&mut bench, 30);
        assert_eq!(bench.router.state(), State::Backup);
        assert_eq!(bench.router.active_down_deadline(), Some(bench.now + ACTIVE_DOWN));
    }
}

#[test]
fn a_lower_priority_is_left_alone_after_a_higher_one_too() {
    let mut bench = handed_over(config());
    bench.hear(200, HIGHER);
    lower_active_for(&mut bench, 30);
    assert_eq!(bench.router.state(), State::Backup);
}

#[test]
fn if_no_other_router_takes_over_the_role_comes_back_and_the_handover_ends() {
    let mut bench = Bench::active(config());
    bench.event(Event::StandBy(true));
    assert_eq!(bench.takes_over_after(), ACTIVE_DOWN);
    assert_eq!((bench.router.reason(), bench.router.stands_by()), (Reason::ActiveDown, false));
    // The router preempts again from now on.
    assert!(bench.hear(200, HIGHER).contains(&Action::SetPreempt(true)));
}

#[test]
fn the_role_comes_back_when_the_other_router_dies_or_gives_it_up() {
    let mut bench = handed_over(config());
    assert_eq!(bench.takes_over_after(), ACTIVE_DOWN);
    let mut bench = handed_over(config());
    bench.hear(0, LOWER);
    assert_eq!(bench.takes_over_after(), nanos(609_375_000));
    assert_eq!((bench.router.reason(), bench.router.stands_by()), (Reason::ActiveReleased, false));
}

#[test]
fn a_takeover_clears_the_kernel_halfs_flag_after_it_has_set_the_role() {
    let mut bench = handed_over(config());
    let actions: Vec<_> = bench.wait(ACTIVE_DOWN).into_iter().map(|(_, action)| action).collect();
    assert_eq!(actions[0], Action::SetRole(State::Active));
    assert!(actions.contains(&Action::SetStandBy(false)), "{actions:?}");
}

#[test]
fn after_the_handover_the_router_preempts_without_a_delay() {
    let mut bench = handed_over(RouterConfig { preempt_delay: Interval::from_seconds(60), ..config() });
    let last_regarded_at = bench.now;
    bench.wait(SECOND);
    assert_eq!(bench.event(Event::StandBy(false)), [Action::SetStandBy(false), Action::SetPreempt(true)]);
    bench.hear(50, LOWER);
    bench.takes_over_after();
    assert_eq!(bench.now.since(last_regarded_at), ACTIVE_DOWN);
    assert_eq!(bench.router.reason(), Reason::Preempted);
}

#[test]
fn after_the_handover_a_router_that_does_not_preempt_stays_backup() {
    let mut bench = handed_over(RouterConfig { preempt: false, ..config() });
    assert_eq!(bench.event(Event::StandBy(false)), [Action::SetStandBy(false)]);
    lower_active_for(&mut bench, 30);
    assert_eq!(bench.router.state(), State::Backup);
}

#[test]
fn a_handover_outlasts_a_lost_carrier_and_a_change_of_priority() {
    let mut bench = handed_over(config());
    bench.event(Event::InterfaceDown);
    bench.event(Event::InterfaceUp);
    lower_active_for(&mut bench, 10);
    bench.event(Event::Priority(Priority::new(150)));
    lower_active_for(&mut bench, 10);
    assert_eq!((bench.router.state(), bench.router.stands_by()), (State::Backup, true));
}

#[test]
fn a_successor_continues_the_handover_from_its_start() {
    let mut bench = Bench::new(config());
    assert_eq!(bench.event(Event::StandBy(true)), [Action::SetStandBy(true)]);
    let actions = bench.event(Event::Startup);
    assert_eq!(without_transition(actions), [Action::SetRole(State::Backup), Action::SetPreempt(false)]);
    lower_active_for(&mut bench, 10);
    assert_eq!(bench.router.state(), State::Backup);
}

#[test]
fn an_owner_ignores_a_handover() {
    let mut bench = Bench::active(RouterConfig { priority: Priority::OWNER, ..config() });
    assert_eq!(bench.event(Event::StandBy(true)), []);
    assert_eq!((bench.router.state(), bench.router.stands_by()), (State::Active, false));
}
