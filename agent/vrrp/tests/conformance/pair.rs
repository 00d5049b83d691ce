//! A virtual router of two families consists of one for each family (RFC 9568 1.7). When one of them changes its role,
//! the other one follows.

use xvrrp_common::units::Priority;
use xvrrp_vrrp::{Action, Event, Reason, RouterConfig, State, joint_deadline};

use super::bench::{Bench, HIGHER, SECOND, config, millis, nanos, send, without_transition};

#[test]
fn a_backup_follows_the_other_family_with_the_actions_of_any_takeover() {
    let mut bench = Bench::backup(config());
    let actions = bench.event(Event::PartnerActive);
    let expected = [Action::SetRole(State::Active), send(100), Action::Announce, Action::InstallAddresses];
    assert_eq!(without_transition(actions), expected);
    assert_eq!(bench.router.reason(), Reason::Partner);
}

#[test]
fn an_active_router_follows_without_an_advert_and_listens_for_a_full_active_down_interval() {
    let mut bench = Bench::active(config());
    let actions = bench.event(Event::PartnerBackup);
    assert_eq!(without_transition(actions), [Action::SetRole(State::Backup), Action::RemoveAddresses]);
    assert_eq!(bench.router.reason(), Reason::Partner);
    assert_eq!(bench.takes_over_after(), nanos(3_609_375_000));
}

#[test]
fn a_timer_that_is_held_by_a_partner_expires_with_that_of_the_partner() {
    let mut bench = Bench::backup(config());
    bench.wait(SECOND);
    let own = bench.router.active_down_deadline().unwrap();
    bench.event(Event::Held { until: own - SECOND });
    assert_eq!(bench.router.active_down_deadline(), Some(own), "its own timer runs longer");
    bench.event(Event::Held { until: own + SECOND });
    assert_eq!(bench.takes_over_after(), nanos(3_609_375_000));
    for not_backup in [Bench::new(config()), Bench::active(config())] {
        let mut bench = not_backup;
        assert_eq!(bench.event(Event::Held { until: bench.now + SECOND }), []);
        assert_eq!(bench.router.active_down_deadline(), None);
    }
}

#[test]
fn partners_take_over_once_the_timers_of_all_have_expired() {
    let mut slow = Bench::backup(config());
    let quick = Bench::backup(RouterConfig { advert_interval: millis(100), priority: Priority::new(200), ..config() });
    let joint = |slow: &Bench, quick: &Bench| joint_deadline([&slow.router, &quick.router].into_iter()).unwrap();
    assert_eq!(Some(joint(&slow, &quick)), slow.router.active_down_deadline());
    slow.hear(200, HIGHER);
    assert_eq!(Some(joint(&slow, &quick)), slow.router.active_down_deadline());
    assert_eq!(joint_deadline([&Bench::active(config()).router].into_iter()), None);
}

#[test]
fn a_role_that_is_given_up_on_one_partner_is_given_up_on_all_that_have_heard_nothing_since() {
    let mut one = Bench::backup(config());
    let mut other = Bench::backup(RouterConfig { priority: Priority::new(50), ..config() });
    let joint = |one: &Bench, other: &Bench| joint_deadline([&one.router, &other.router].into_iter()).unwrap();
    other.hear(200, HIGHER);
    for bench in [&mut one, &mut other] {
        bench.wait(SECOND);
    }
    one.hear(0, HIGHER);
    let skew = SECOND.skew(Priority::new(50));
    assert_eq!(joint(&one, &other), one.now + skew);
    // A partner that hears an Active router after that holds both.
    for bench in [&mut one, &mut other] {
        bench.wait(millis(100));
    }
    other.hear(200, HIGHER);
    assert_eq!(joint(&one, &other), other.now + SECOND.saturating_mul(3) + skew);
}

#[test]
fn a_router_that_has_the_role_already_or_is_not_started_does_not_follow() {
    let mut active = Bench::active(config());
    assert_eq!(active.event(Event::PartnerActive), []);
    let mut backup = Bench::backup(config());
    backup.hear(200, HIGHER);
    assert_eq!(backup.event(Event::PartnerBackup), []);
    for event in [Event::PartnerActive, Event::PartnerBackup] {
        assert_eq!(Bench::new(config()).event(event), []);
    }
}
