//! RFC 9568 6.4.3: Active.

use xvrrp_common::units::{Priority, Version};
use xvrrp_vrrp::{Action, Event, Reason, RouterConfig, State};

use super::bench::{Bench, HIGHER, LOWER, SECOND, config, millis, nanos, send};

/// RFC 9568 6.4.3 (conformance 43).
#[test]
fn an_active_router_sends_an_advert_every_interval() {
    let mut bench = Bench::active(RouterConfig { advert_interval: millis(100), ..config() });
    let adverts = bench.wait(SECOND);
    assert_eq!(adverts, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map(|n| (millis(100 * n), send(100))));
}

/// RFC 9568 6.4.3 (conformance 44).
#[test]
fn an_active_router_answers_priority_0_at_once_and_restarts_its_adver_timer() {
    let mut bench = Bench::active(config());
    bench.wait(millis(700));

    assert_eq!(bench.hear(0, HIGHER), [send(100)]);

    assert_eq!(bench.router.state(), State::Active);
    assert_eq!(bench.wait(SECOND), [(SECOND, send(100))]);
}

/// RFC 9568 6.4.3 (conformance 45).
#[test]
fn an_active_router_becomes_backup_at_a_higher_priority_and_learns_its_interval() {
    let mut bench = Bench::active(config());
    bench.wait(millis(300));

    let actions = bench.hear_interval(101, LOWER, millis(100));

    assert_eq!(
        actions,
        [
            Action::SetRole(State::Backup),
            Action::RemoveAddresses,
            Action::Transition {
                from: State::Active,
                to: State::Backup,
                reason: Reason::HigherPriority,
                at: bench.now
            },
        ]
    );
    assert_eq!(bench.router.active(), Some((LOWER, Priority::new(101))));
    assert_eq!(bench.router.active_adver_interval(), millis(100));
    assert_eq!(bench.takes_over_after(), nanos(360_937_500));
}

/// RFC 3768 6.4.3.
#[test]
fn a_version_2_active_router_becomes_backup_and_learns_no_interval() {
    let mut bench = Bench::active(RouterConfig { version: Version::V2, ..config() });
    bench.hear_interval(101, LOWER, millis(100));
    assert_eq!(bench.takes_over_after(), nanos(3_609_375_000));
}

/// RFC 9568 6.4.3 (conformance 46): the primary addresses break the tie, as unsigned integers in network order.
#[test]
fn of_equal_priorities_the_higher_address_stays_active() {
    let mut lower = Bench::active(config());
    lower.hear(100, HIGHER);
    assert_eq!((lower.router.state(), lower.router.reason()), (State::Backup, Reason::HigherAddress));

    let mut higher = Bench::active(config());
    assert_eq!(higher.hear(100, LOWER), [send(100)]);
    assert_eq!(higher.router.state(), State::Active);
}

/// RFC 9568 6.4.3 (conformance 46): octets compare as unsigned numbers, and the first one is the most significant.
#[test]
fn addresses_compare_as_unsigned_integers_in_network_order() {
    for (ours, theirs) in [("10.0.0.127", "10.0.0.128"), ("10.0.0.255", "10.0.1.0"), ("127.0.0.9", "192.0.0.1")] {
        let mut lower = Bench::active(RouterConfig { primary: ours.parse().unwrap(), ..config() });
        lower.hear(100, theirs.parse().unwrap());
        assert_eq!(lower.router.state(), State::Backup, "{ours} against {theirs}");

        let mut higher = Bench::active(RouterConfig { primary: theirs.parse().unwrap(), ..config() });
        higher.hear(100, ours.parse().unwrap());
        assert_eq!(higher.router.state(), State::Active, "{theirs} against {ours}");
    }
}

/// RFC 9568 6.4.3 (conformance 47): the Active router sends an advert at once. RFC 3768 6.4.3 only has it discard the
/// other advert. This router answers in version 2 too, as keepalived does. The sender would receive the next advert
/// anyway.
#[test]
fn a_lower_priority_is_discarded_and_answered_at_once() {
    for version in [Version::V2, Version::V3] {
        let mut bench = Bench::active(RouterConfig { version, ..config() });
        bench.wait(millis(700));

        // The announcements of the takeover have just been sent.
        assert_eq!(bench.hear_interval(99, HIGHER, millis(10)), [send(100)]);

        assert_eq!(bench.router.state(), State::Active);
        assert_eq!(bench.router.active_adver_interval(), SECOND);
        // The answer is an additional advert. It does not replace the next one.
        assert_eq!(bench.wait(SECOND), [(millis(300), send(100))]);
    }
}

/// RFC 9568 6.4.3: Preempt_Mode applies only to a Backup.
#[test]
fn an_active_router_becomes_backup_at_a_higher_priority_with_preempt_off() {
    let mut bench = Bench::active(RouterConfig { preempt: false, ..config() });
    bench.hear(101, LOWER);
    assert_eq!(bench.router.state(), State::Backup);
}

/// RFC 9568 6.4.3 (conformance 48). The kernel half stops serving before priority 0 makes another router serve.
#[test]
fn an_active_router_sends_priority_0_at_its_shutdown() {
    let mut bench = Bench::active(config());

    let actions = bench.event(Event::Shutdown);

    assert_eq!(
        actions,
        [
            Action::SetRole(State::Initialize),
            send(0),
            Action::RemoveAddresses,
            Action::Transition { from: State::Active, to: State::Initialize, reason: Reason::Shutdown, at: bench.now },
        ]
    );
    assert_eq!(bench.router.active(), None);
    assert_eq!(bench.wait(Bench::backup(config()).router.active_down_interval()), []);
}

/// RFC 9568 6.4.1, 6.4.2 (conformance 49): the takeover is announced. The announcement is repeated in case one is lost.
#[test]
fn announcements_are_repeated_as_configured() {
    let mut bench = Bench::backup(RouterConfig { announce_count: 3, announce_interval: millis(250), ..config() });
    let takeover = bench.router.active_down_interval();

    let actions = bench.wait(takeover + SECOND);

    let announced: Vec<_> =
        actions.iter().filter(|(_, action)| *action == Action::Announce).map(|(at, _)| *at).collect();
    assert_eq!(announced, [takeover, takeover + millis(250), takeover + millis(500)]);
}

/// RFC 9568 6.4.2: the announcement at the takeover is a MUST.
#[test]
fn the_virtual_addresses_are_announced_at_least_once() {
    let mut bench = Bench::backup(RouterConfig { announce_count: 0, ..config() });
    let takeover = bench.router.active_down_interval();
    let actions = bench.wait(takeover);
    assert_eq!(actions.iter().filter(|(_, action)| *action == Action::Announce).count(), 1);
}

/// RFC 9568 6.4.3: the announcements of a takeover end with the Active state.
#[test]
fn each_takeover_has_all_its_announcements() {
    let mut bench = Bench::active(RouterConfig { announce_count: 3, announce_interval: millis(250), ..config() });
    bench.hear(200, HIGHER);
    let takeover = bench.router.active_down_interval();
    let actions = bench.wait(takeover + SECOND);
    assert_eq!(actions.iter().filter(|(_, action)| *action == Action::Announce).count(), 3);
}

/// Not in the RFC. After a partition of the segment, clients and switches may know the other router.
#[test]
fn the_addresses_are_announced_again_after_a_lower_priority_but_not_faster_than_adverts_are_sent() {
    let options = RouterConfig { announce_count: 2, announce_interval: millis(250), answers_lower: false, ..config() };
    let mut bench = Bench::active(options);
    bench.wait(millis(5_100));

    assert_eq!(bench.hear(99, HIGHER), [Action::Announce]);

    assert_eq!(bench.wait(millis(100)), []);
    assert_eq!(bench.hear(99, HIGHER), []);
    assert_eq!(bench.wait(millis(200)), [(millis(150), Action::Announce)]);
    bench.wait(millis(940));
    assert_eq!(bench.hear(99, HIGHER), [], "less than a second after the last announcement");
    bench.wait(millis(10));
    assert_eq!(bench.hear(99, HIGHER), [Action::Announce]);
}

/// Not in the RFC.
#[test]
fn the_addresses_are_announced_every_announce_refresh() {
    let options = RouterConfig { announce_count: 2, announce_interval: millis(250), ..config() };
    let mut bench = Bench::backup(RouterConfig { announce_refresh: SECOND.saturating_mul(60), ..options });
    let takeover = bench.router.active_down_interval();
    let actions = bench.wait(takeover + SECOND.saturating_mul(121));
    let announced = actions.iter().filter(|(_, action)| *action == Action::Announce).map(|(at, _)| *at);
    let second = takeover + millis(250);
    let refreshed = [60, 120].map(|seconds| second + SECOND.saturating_mul(seconds));
    assert!(announced.eq([takeover, second].into_iter().chain(refreshed)), "{actions:?}");
}

/// RFC 9568 8.3.2 and erratum 8298: two owners are a wrong configuration, which the agent logs. Until it is corrected,
/// the tie-break of 6.4.3 leaves one Active router.
#[test]
fn of_two_owners_the_higher_address_stays_active() {
    // conformance 58
    let owner = || Bench::active(RouterConfig { priority: Priority::OWNER, ..config() });

    let mut lower = owner();
    lower.hear(255, HIGHER);
    assert_eq!((lower.router.state(), lower.router.reason()), (State::Backup, Reason::HigherAddress));

    let mut higher = owner();
    assert_eq!(higher.hear(255, LOWER), [send(255)]);
    assert_eq!(higher.router.state(), State::Active);
}

/// RFC 9568 6.4.3: an owner becomes Backup only because of another owner.
#[test]
fn an_owner_stays_active_whatever_other_routers_send() {
    let mut bench = Bench::active(RouterConfig { priority: Priority::OWNER, ..config() });
    assert_eq!(bench.hear(254, HIGHER), [send(255)]);
    assert_eq!(bench.hear(0, HIGHER), [send(255)]);
    assert_eq!(bench.router.state(), State::Active);
}
