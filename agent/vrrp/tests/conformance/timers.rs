//! RFC 9568 6.1: Skew_Time and Active_Down_Interval, and the interval from which they are computed.

use xvrrp_common::units::{Interval, Priority, Version};
use xvrrp_vrrp::{Event, RouterConfig};

use super::bench::{Bench, HIGHER, LOWER, SECOND, config, millis, nanos, send};

fn priority(priority: u8) -> RouterConfig {
    RouterConfig { priority: Priority::new(priority), ..config() }
}

fn version_2(priority: u8) -> RouterConfig {
    RouterConfig { version: Version::V2, priority: Priority::new(priority), ..config() }
}

/// RFC 9568 6.1 (conformance 19).
#[test]
fn in_version_3_skew_time_is_256_minus_priority_parts_in_256_of_active_adver_interval() {
    assert_eq!(Bench::backup(priority(100)).router.skew(), nanos(609_375_000));
    assert_eq!(Bench::backup(priority(254)).router.skew(), nanos(7_812_500));
    assert_eq!(Bench::backup(priority(1)).router.skew(), nanos(996_093_750));

    let mut bench = Bench::backup(priority(100));
    bench.hear_interval(200, HIGHER, millis(100));
    assert_eq!(bench.router.skew(), nanos(60_937_500));
}

/// RFC 3768 6.1 (conformance 20).
#[test]
fn in_version_2_skew_time_is_256_minus_priority_parts_in_256_of_a_second() {
    let bench = Bench::backup(RouterConfig { advert_interval: Interval::from_seconds(10), ..version_2(100) });
    assert_eq!(bench.router.skew(), nanos(609_375_000));
    assert_eq!(Bench::backup(version_2(254)).router.skew(), nanos(7_812_500));
}

/// RFC 9568 6.1, RFC 3768 6.1 (conformance 21).
#[test]
fn active_down_interval_is_three_active_adver_intervals_and_skew_time() {
    let mut bench = Bench::backup(RouterConfig { advert_interval: millis(100), ..priority(100) });
    assert_eq!(bench.router.active_down_interval(), nanos(360_937_500));
    assert_eq!(bench.takes_over_after(), nanos(360_937_500));

    let mut bench = Bench::backup(version_2(100));
    assert_eq!(bench.router.active_down_interval(), nanos(3_609_375_000));
    assert_eq!(bench.takes_over_after(), nanos(3_609_375_000));
}

/// RFC 9568 6.1 (conformance 22): Backups with different priorities must not take over at the same time, however short
/// the interval is.
#[test]
fn skew_time_is_not_rounded_at_10_ms_adverts() {
    let takes_over_after = |priority: u8| {
        let ten_ms = RouterConfig { advert_interval: millis(10), priority: Priority::new(priority), ..config() };
        Bench::backup(ten_ms).takes_over_after()
    };
    assert_eq!(takes_over_after(100), nanos(36_093_750));
    assert_eq!(takes_over_after(101), nanos(36_054_687));
    assert_eq!(takes_over_after(254), nanos(30_078_125));
}

/// RFC 9568 6.1, 6.4.2 (conformance 23).
#[test]
fn a_backup_learns_active_adver_interval_from_the_adverts_that_it_hears() {
    let mut bench = Bench::backup(priority(100));
    assert_eq!(bench.router.active_adver_interval(), SECOND);

    bench.hear_interval(200, HIGHER, millis(100));
    assert_eq!(bench.router.active_adver_interval(), millis(100));
    bench.hear_interval(200, HIGHER, millis(200));
    assert_eq!(bench.router.active_adver_interval(), millis(200));
    assert_eq!(bench.takes_over_after(), nanos(721_875_000));
}

/// RFC 9568 6.4.2: an advert with a lower priority is discarded.
#[test]
fn a_backup_learns_nothing_from_an_advert_that_it_discards() {
    let mut bench = Bench::backup(priority(100));
    bench.hear_interval(99, HIGHER, millis(10));
    assert_eq!(bench.router.active_adver_interval(), SECOND);
}

/// RFC 3768 6.1: Master_Down_Interval is computed from the router's own Advertisement_Interval.
#[test]
fn a_version_2_backup_learns_no_interval() {
    let mut bench = Bench::backup(version_2(100));
    bench.hear_interval(200, HIGHER, millis(100));
    assert_eq!(bench.router.active_adver_interval(), SECOND);
    assert_eq!(bench.takes_over_after(), nanos(3_609_375_000));
}

/// RFC 9568 6.1 (conformance 24): a router sends its own adverts at Advertisement_Interval, whatever it has learned.
#[test]
fn an_active_router_advertises_at_its_own_interval() {
    let mut bench = Bench::backup(RouterConfig { advert_interval: millis(500), ..priority(100) });
    bench.hear_interval(200, HIGHER, millis(100));
    bench.takes_over_after();

    assert_eq!(bench.router.active_adver_interval(), millis(500));
    let adverts = bench.wait(SECOND);
    assert_eq!(adverts, [(millis(500), send(100)), (SECOND, send(100))]);
}

/// RFC 9568 6.4.1: a start begins with the router's own interval.
#[test]
fn a_new_start_forgets_the_learned_interval() {
    let mut bench = Bench::backup(priority(100));
    bench.hear_interval(200, HIGHER, millis(100));
    bench.event(Event::Shutdown);
    bench.event(Event::Startup);
    assert_eq!(bench.router.active_adver_interval(), SECOND);
}

/// RFC 9568 5.2.7 (conformance 25): the interval has 12 bits, in centiseconds.
#[test]
fn the_shortest_and_the_longest_interval_are_exact() {
    let mut bench = Bench::backup(RouterConfig { advert_interval: Interval::MIN_ADVERT, ..priority(254) });
    assert_eq!(bench.takes_over_after(), nanos(30_078_125));

    let mut bench = Bench::backup(RouterConfig { advert_interval: Interval::MIN_ADVERT, ..priority(254) });
    bench.hear_interval(254, LOWER, Interval::MAX_ADVERT);
    assert_eq!(bench.router.active_adver_interval(), millis(40_950));
    assert_eq!(bench.takes_over_after(), nanos(3 * 40_950_000_000 + 319_921_875));
}
