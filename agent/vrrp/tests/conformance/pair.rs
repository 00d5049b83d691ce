//! A virtual router of two families consists of one for each family (RFC 9568 1.7). When one of them changes its role,
//! the other one follows.

use xvrrp_vrrp::{Action, Event, Reason, State};

use super::bench::{Bench, HIGHER, SECOND, config, nanos, send, without_transition};

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
fn an_advert_of_the_other_family_postpones_the_takeover() {
    let mut bench = Bench::backup(config());
    bench.wait(SECOND);
    let arrival = bench.now;
    bench.wait(SECOND);
    bench.event(Event::Restarted { at: arrival, interval: SECOND });
    assert_eq!(bench.takes_over_after(), nanos(2_609_375_000));
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
