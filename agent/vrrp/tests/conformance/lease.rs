//! The lease: an Active router serves for three intervals from its last advert, and is a Backup afterwards. It is not
//! part of the RFC. Other routers take over at least one Skew_Time later (RFC 9568 6.1).

use xvrrp_common::units::{Instant, Interval, Priority, Version};
use xvrrp_vrrp::{Action, Event, Reason, RouterConfig, State};

use super::bench::{Bench, HIGHER, LOWER, NANOSECOND, OURS, SECOND, config, millis, nanos, send};

const LEASE: Interval = Interval::from_seconds(3);
/// Active_Down_Interval at priority 100 and one-second adverts.
const ACTIVE_DOWN: Interval = nanos(3_609_375_000);

fn leased() -> RouterConfig {
    RouterConfig { lease: true, ..config() }
}

/// Returns an Active router whose first advert was sent without delay.
fn active(config: RouterConfig) -> Bench {
    let mut bench = Bench::active(config);
    bench.sent_now();
    bench
}

/// Returns a router that resumes on the lease of a predecessor, which runs for this long, with its actions.
fn resumed(config: RouterConfig, lease: Interval) -> (Bench, Vec<Action>) {
    let mut bench = Bench::new(config);
    let lease_until = bench.now + lease;
    let actions = bench.event(Event::Resume { lease_until });
    (bench, actions)
}

#[track_caller]
fn assert_lapsed(bench: &Bench, actions: &[Action]) {
    let step_down = [
        Action::SetRole(State::Backup),
        Action::RemoveAddresses,
        Action::Transition { from: State::Active, to: State::Backup, reason: Reason::LeaseExpired, at: bench.now },
    ];
    assert_eq!(actions, step_down);
    assert_eq!((bench.router.state(), bench.router.reason()), (State::Backup, Reason::LeaseExpired));
}

// Length of the lease

#[test]
fn an_advert_grants_a_lease_of_three_intervals_from_its_sending() {
    for interval in [millis(10), millis(100), SECOND, Interval::MAX_ADVERT] {
        let mut bench = Bench::active(RouterConfig { advert_interval: interval, ..leased() });
        assert_eq!(bench.router.advert_sent(bench.now), Some(bench.now + interval.saturating_mul(3)));
    }
}

#[test]
fn the_lease_ends_before_any_backup_takes_over() {
    for priority in (1..=254).map(Priority::new) {
        let mut active = active(RouterConfig { priority: Priority::OWNER, ..leased() });
        let lease_until = active.router.advert_sent(active.now).unwrap();
        let mut backup = Bench::backup(RouterConfig { priority, ..leased() });
        backup.now = active.now;
        backup.hear(255, HIGHER);
        assert!(lease_until < backup.router.active_down_deadline().unwrap(), "priority {priority}");
    }
}

/// The other router has the default of RFC 9568 6.1, or the same `down_timer_adverts` if that is less.
#[test]
fn the_lease_ends_before_a_backup_takes_over_that_waits_for_fewer_adverts() {
    for adverts in 1..=100 {
        for priority in [1, 100, 254].map(Priority::new) {
            let mut active =
                active(RouterConfig { down_timer_adverts: adverts, priority: Priority::OWNER, ..leased() });
            let lease_until = active.router.advert_sent(active.now).unwrap();
            assert_eq!(lease_until, active.now + xvrrp_vrrp::lease(SECOND, adverts));
            let mut backup = Bench::backup(RouterConfig { down_timer_adverts: adverts.min(3), priority, ..leased() });
            backup.now = active.now;
            backup.hear(255, HIGHER);
            // No other advert of the Active router leaves its host.
            backup.takes_over_after();
            assert!(lease_until < backup.now, "{adverts} adverts, priority {priority}");
            assert!(active.router.lease_has_ended(backup.now));
            assert!(
                !active.router.lease_has_ended(active.now + SECOND.saturating_mul(adverts.min(3).into()) - NANOSECOND)
            );
        }
    }
}

#[test]
fn a_takeover_is_tried_for_no_longer_than_a_lease_whatever_number_of_adverts_is_configured() {
    let mut bench = Bench::active(RouterConfig { down_timer_adverts: 100, ..leased() });
    let actions = bench.oversleep(LEASE);
    assert_lapsed(&bench, &actions);
}

/// RFC 9568 6.4.3: an Active router uses its own interval and forgets the one that it has learned as a Backup.
#[test]
fn the_lease_is_three_of_the_routers_own_intervals_whatever_it_has_learned() {
    let mut bench = Bench::backup(leased());
    bench.hear_interval(200, HIGHER, millis(100));
    bench.takes_over_after();
    assert_eq!(bench.router.advert_sent(bench.now), Some(bench.now + LEASE));
}

/// RFC 3768 6.1 has another Skew_Time, but the same three intervals.
#[test]
fn the_lease_is_three_intervals_in_version_2_too() {
    let mut bench = active(RouterConfig { version: Version::V2, ..leased() });
    assert_eq!(bench.router.advert_sent(bench.now), Some(bench.now + LEASE));
    let actions = bench.oversleep(LEASE);
    assert_lapsed(&bench, &actions);
}

#[test]
fn the_lease_runs_until_the_nanosecond_before_its_end() {
    let mut bench = active(leased());
    let sent_at = bench.now;
    assert!(!bench.router.lease_has_ended(sent_at + LEASE - NANOSECOND));
    assert!(bench.router.lease_has_ended(sent_at + LEASE));

    assert_eq!(bench.oversleep(LEASE.saturating_sub(NANOSECOND)), [send(100)]);
    assert_eq!(bench.router.state(), State::Active);
}

#[test]
fn adverts_that_are_sent_always_renew_the_lease() {
    let mut bench = active(leased());
    for _ in 0..100 {
        assert_eq!(bench.wait(SECOND), [(SECOND, send(100))]);
        bench.sent_now();
    }
}

/// For example, the network card takes no frames, so no other router receives the adverts.
#[test]
fn adverts_that_are_not_sent_do_not_renew_the_lease() {
    let mut bench = active(leased());
    assert_eq!(bench.wait(LEASE.saturating_sub(NANOSECOND)), [(SECOND, send(100)), (millis(2_000), send(100))]);
    let actions = bench.oversleep(NANOSECOND);
    assert_lapsed(&bench, &actions);
}

/// A router whose first advert cannot be sent has no lease. It tries again for as long as a lease would run.
#[test]
fn a_takeover_none_of_whose_adverts_is_sent_is_given_up_after_three_intervals() {
    let mut bench = Bench::active(leased());
    assert!(!bench.router.lease_has_ended(bench.now + LEASE - NANOSECOND));
    let actions = bench.oversleep(LEASE);
    assert_lapsed(&bench, &actions);
}

/// A lease runs from the sending of the advert, not from the report of it.
#[test]
fn an_advert_reported_late_grants_a_lease_from_its_sending() {
    let mut bench = active(leased());
    let sent_at = bench.now + SECOND;
    bench.now = bench.now + millis(2_500);
    assert_eq!(bench.router.advert_sent(sent_at), Some(sent_at + LEASE));
    assert!(bench.router.lease_has_ended(sent_at + LEASE));
}

/// After a change of the configuration, the predecessor's lease may be longer than ours. Other routers wait according
/// to the interval in our adverts.
#[test]
fn the_first_advert_replaces_the_lease_of_a_predecessor() {
    let (mut bench, _) = resumed(RouterConfig { advert_interval: millis(100), ..leased() }, LEASE);
    assert_eq!(bench.router.advert_sent(bench.now), Some(bench.now + millis(300)));
    assert!(bench.router.lease_has_ended(bench.now + millis(300)));
}

#[test]
fn only_an_active_router_has_a_lease() {
    let mut initialize = Bench::new(leased());
    assert_eq!(initialize.router.advert_sent(initialize.now), None);
    assert!(!initialize.router.lease_has_ended(initialize.now + LEASE));

    let mut backup = Bench::backup(leased());
    assert_eq!(backup.router.advert_sent(backup.now), None);
    assert!(!backup.router.lease_has_ended(backup.now + LEASE));
}

#[test]
fn the_priority_0_of_a_shutdown_grants_no_lease() {
    let mut bench = active(leased());
    bench.event(Event::Shutdown);
    assert_eq!(bench.router.advert_sent(bench.now), None);
}

// The first event after the end of the lease

#[test]
fn a_timer_that_fires_after_the_lease_makes_the_router_backup_and_sends_nothing() {
    let mut bench = active(leased());
    let actions = bench.oversleep(Interval::from_seconds(60));
    assert_lapsed(&bench, &actions);
}

/// RFC 9568 6.4.3 requires an answer. But the answer would claim a role that the router may have lost.
#[test]
fn an_advert_with_a_lower_priority_is_not_answered_after_the_lease() {
    let mut bench = active(leased());
    bench.now = bench.now + LEASE;
    let actions = bench.hear(50, LOWER);
    assert_lapsed(&bench, &actions);
    assert_eq!(bench.router.active(), Some((LOWER, Priority::new(50))));
}

#[test]
fn an_advert_with_a_lower_priority_restarts_the_timer_after_the_lease_if_preempt_is_off() {
    let mut bench = active(RouterConfig { preempt: false, ..leased() });
    bench.now = bench.now + LEASE;
    // Without preemption, the flag of the kernel half does not change.
    let actions = bench.hear(50, LOWER);
    assert_lapsed(&bench, &actions);
    assert_eq!(bench.takes_over_after(), ACTIVE_DOWN);
}

#[test]
fn an_advert_that_wins_leaves_its_sender_active_after_the_lease() {
    let mut bench = active(leased());
    bench.now = bench.now + LEASE;
    let actions = bench.hear(200, HIGHER);
    assert_lapsed(&bench, &actions);
    assert_eq!(bench.router.active(), Some((HIGHER, Priority::new(200))));
    assert_eq!(bench.takes_over_after(), ACTIVE_DOWN);
}

/// An Active router would win this tie (RFC 9568 6.4.3). This router is already Backup when it handles the advert.
#[test]
fn an_advert_with_our_priority_and_a_lower_address_leaves_its_sender_active_after_the_lease() {
    let mut bench = active(leased());
    bench.now = bench.now + LEASE;
    let actions = bench.hear(100, LOWER);
    assert_lapsed(&bench, &actions);
    assert_eq!(bench.takes_over_after(), ACTIVE_DOWN);
}

/// RFC 9568 6.4.2: the router that took over has given up its role too.
#[test]
fn priority_0_after_the_lease_is_not_answered_and_sets_the_timer_to_skew_time() {
    let mut bench = active(leased());
    bench.now = bench.now + LEASE;
    let actions = bench.hear(0, HIGHER);
    assert_lapsed(&bench, &actions);
    assert_eq!(bench.takes_over_after(), nanos(609_375_000));
}

/// The election passes on the stamp before it checks the deadline.
#[test]
fn a_stamp_after_the_lease_makes_the_router_backup_and_restarts_the_timer() {
    let mut bench = active(leased());
    let heard_at = bench.now + millis(3_700);
    bench.now = bench.now + millis(4_000);
    let actions = bench.event(Event::Restarted { at: heard_at, interval: SECOND });
    assert_lapsed(&bench, &actions);
    assert_eq!(bench.router.active_down_deadline(), Some(heard_at + ACTIVE_DOWN));
}

#[test]
fn an_interface_that_comes_up_after_the_lease_makes_the_router_backup() {
    let mut bench = active(leased());
    bench.now = bench.now + LEASE;
    let actions = bench.event(Event::InterfaceUp);
    assert_lapsed(&bench, &actions);
}

/// The router becomes Backup first and removes the addresses once. Then it goes to Initialize.
#[test]
fn an_interface_that_goes_down_after_the_lease_is_a_fault_of_a_backup() {
    let mut bench = active(leased());
    bench.now = bench.now + LEASE;
    let actions = bench.event(Event::InterfaceDown);
    let (lapse, fault) = actions.split_at(3);
    let at = bench.now;
    assert_eq!(lapse[1..2], [Action::RemoveAddresses]);
    assert_eq!(
        fault,
        [
            Action::SetRole(State::Initialize),
            Action::Transition { from: State::Backup, to: State::Initialize, reason: Reason::InterfaceDown, at },
        ]
    );
}

/// RFC 9568 6.4.3: an Active router sends priority 0. A Backup has no role to give up (6.4.2), and other routers would
/// take its priority 0 for that of the Active router.
#[test]
fn a_shutdown_after_the_lease_sends_no_priority_0() {
    let mut bench = active(leased());
    bench.now = bench.now + LEASE;
    let actions = bench.event(Event::Shutdown);
    assert!(!actions.iter().any(|action| matches!(action, Action::SendAdvert { .. })), "{actions:?}");
    assert_eq!(actions.iter().filter(|&&action| action == Action::RemoveAddresses).count(), 1);
    assert_eq!((bench.router.state(), bench.router.reason()), (State::Initialize, Reason::Shutdown));
}

#[test]
fn a_shutdown_within_the_lease_sends_priority_0() {
    let mut bench = active(leased());
    bench.now = bench.now + LEASE - NANOSECOND;
    assert!(bench.event(Event::Shutdown).contains(&send(0)));
}

#[test]
fn after_its_lease_has_ended_a_router_listens_for_a_full_active_down_interval() {
    let mut bench = active(leased());
    bench.oversleep(Interval::from_seconds(10));
    assert_eq!(bench.takes_over_after(), ACTIVE_DOWN);
    assert_eq!(bench.router.reason(), Reason::ActiveDown);
}

/// These adverts waited in the ring buffer, or in the kernel half's stamps.
#[test]
fn adverts_that_arrived_after_the_routers_last_one_count_after_the_lease() {
    let mut bench = active(leased());
    let first = bench.now + millis(3_600);
    bench.now = bench.now + millis(5_000);
    let actions = bench.hear_late(200, HIGHER, SECOND, first);
    assert_lapsed(&bench, &actions);
    assert_eq!(bench.router.active_down_deadline(), Some(first + ACTIVE_DOWN));
}

#[test]
fn adverts_that_arrived_before_the_routers_last_one_do_not_count_after_the_lease() {
    let mut bench = active(leased());
    let stale = bench.now - millis(1);
    bench.oversleep(millis(3_200));
    assert_eq!(bench.hear_late(200, HIGHER, SECOND, stale), []);
    assert_eq!(bench.takes_over_after(), ACTIVE_DOWN);
}

#[test]
fn the_interval_learned_as_a_backup_is_forgotten_when_the_lease_ends() {
    let mut bench = Bench::backup(leased());
    bench.hear_interval(200, HIGHER, millis(100));
    bench.takes_over_after();
    bench.sent_now();
    bench.oversleep(LEASE);
    assert_eq!(bench.router.active_down_interval(), ACTIVE_DOWN);
}

#[test]
fn preempt_delay_applies_again_after_the_lease_has_ended() {
    let mut bench = Bench::backup(RouterConfig { preempt: true, preempt_delay: SECOND, ..leased() });
    bench.takes_over_after();
    bench.sent_now();
    let actions = bench.oversleep(LEASE);
    assert!(actions.starts_with(&[Action::SetRole(State::Backup)]));
    assert_eq!(bench.hear(50, LOWER), []);
    // The router leaves the one with the lower priority alone until the delay has passed.
    assert_eq!(bench.router.poll_timeout(), Some(bench.now + SECOND));
}

// An owner, and a router without a lease

/// It takes over when the Active_Down_Timer expires, like any Backup. Only another owner restarts that timer (RFC 9568
/// 6.4.2).
#[test]
fn an_owner_has_a_lease_too_and_takes_over_again() {
    let mut bench = active(RouterConfig { priority: Priority::OWNER, ..leased() });
    let actions = bench.oversleep(LEASE);
    assert_lapsed(&bench, &actions);
    bench.wait(SECOND);
    bench.hear(254, HIGHER);
    assert_eq!(bench.takes_over_after(), nanos(2_003_906_250));
    assert_eq!(bench.router.reason(), Reason::Preempted);
}

#[test]
fn without_a_lease_a_router_stays_active_however_late_it_is() {
    let mut bench = Bench::active(config());
    assert_eq!(bench.router.advert_sent(bench.now), None);
    assert!(!bench.router.lease_has_ended(bench.now + Interval::MAX_ADVERT));
    assert_eq!(bench.oversleep(Interval::from_seconds(60)), [send(100)]);
    assert_eq!(bench.router.state(), State::Active);
}

// A successor on the same host

#[test]
fn a_successor_within_the_lease_is_active_at_once_and_advertises() {
    let (bench, actions) = resumed(leased(), millis(1));
    let at = bench.now;
    assert_eq!(
        actions,
        [
            Action::SetRole(State::Active),
            send(100),
            Action::Announce,
            Action::InstallAddresses,
            Action::Transition { from: State::Initialize, to: State::Active, reason: Reason::Resumed, at },
        ]
    );
}

#[test]
fn a_successor_whose_advert_is_sent_has_a_lease_of_three_intervals() {
    let (mut bench, _) = resumed(leased(), millis(1));
    assert_eq!(bench.router.advert_sent(bench.now), Some(bench.now + LEASE));
    assert_eq!(bench.oversleep(LEASE.saturating_sub(NANOSECOND)), [send(100)]);
}

#[test]
fn a_successor_none_of_whose_adverts_is_sent_is_active_until_its_predecessors_lease_ends() {
    let (mut bench, _) = resumed(leased(), millis(700));
    assert!(!bench.router.lease_has_ended(bench.now + millis(699)));
    let actions = bench.oversleep(millis(700));
    assert_lapsed(&bench, &actions);
}

#[test]
fn a_successor_after_the_lease_is_a_backup_and_removes_the_addresses() {
    let (mut bench, actions) = resumed(leased(), Interval::ZERO);
    let at = bench.now;
    assert_eq!(
        actions,
        [
            Action::RemoveAddresses,
            Action::SetRole(State::Backup),
            Action::Transition { from: State::Initialize, to: State::Backup, reason: Reason::Startup, at },
        ]
    );
    assert_eq!(bench.takes_over_after(), ACTIVE_DOWN);
}

/// RFC 9568 6.4.1: the owner is Active at once. The addresses of its predecessor are removed before it installs them
/// again.
#[test]
fn an_owner_after_the_lease_starts_as_an_owner_does() {
    let (bench, actions) = resumed(RouterConfig { priority: Priority::OWNER, ..leased() }, Interval::ZERO);
    assert_eq!(actions[..2], [Action::RemoveAddresses, Action::SetRole(State::Active)]);
    assert_eq!(bench.router.reason(), Reason::Owner);
}

#[test]
fn a_successor_that_hears_a_winning_advert_is_a_backup() {
    let (mut bench, _) = resumed(leased(), SECOND);
    bench.hear(200, HIGHER);
    assert_eq!((bench.router.state(), bench.router.reason()), (State::Backup, Reason::HigherPriority));
}

#[test]
fn a_successor_on_an_interface_that_is_down_is_in_initialize_and_removes_the_addresses() {
    let mut bench = Bench::new(leased());
    bench.event(Event::InterfaceDown);
    let at = bench.now;
    let actions = bench.event(Event::Resume { lease_until: at + SECOND });
    assert_eq!(
        actions,
        [
            Action::RemoveAddresses,
            Action::SetRole(State::Initialize),
            Action::Transition { from: State::Initialize, to: State::Initialize, reason: Reason::InterfaceDown, at },
        ]
    );
    // The rest of the lease is not used: the router starts as Backup (RFC 9568 6.4.1).
    bench.event(Event::InterfaceUp);
    assert_eq!((bench.router.state(), bench.router.reason()), (State::Backup, Reason::InterfaceUp));
}

#[test]
fn a_router_that_runs_already_ignores_resume() {
    for mut bench in [Bench::backup(leased()), active(leased())] {
        let before = bench.router.state();
        let lease_until: Instant = bench.now + LEASE;
        assert_eq!(bench.event(Event::Resume { lease_until }), []);
        assert_eq!(bench.router.state(), before);
    }
    assert_eq!(Bench::new(leased()).hear(200, OURS), []);
}
