//! The log warns of wrong adverts from other routers, and does not repeat a warning with every advert.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xvrrp_lab::{Lab, PATIENCE, VirtualRouter, Xvrrp, eventually};

/// Number of adverts after which a warning has not been repeated. A Backup reads the latest advert at least once in
/// four.
const ADVERTS: u64 = 40;
/// Time between two lines about discarded adverts.
const DISCARDS: Duration = Duration::from_secs(10);

/// Starts two agents, the second one once the first is Active.
fn start(lab: &Lab, [first, second]: [VirtualRouter; 2]) -> Result<[Xvrrp; 2]> {
    let mut first = Xvrrp::start(&lab.routers[0], &[first])?;
    first.wait_for_state("lan", "active")?;
    Ok([first, Xvrrp::start(&lab.routers[1], &[second])?])
}

/// Fails unless the second agent logs this warning once about the adverts of the first one, and follows them all the
/// same.
fn check_warned_once(routers: [VirtualRouter; 2], warning: &str) -> Result<()> {
    let lab = Lab::new(2)?;
    let [_active, mut backup] = start(&lab, routers)?;
    let line = ["virtual_router=lan ", warning];
    backup.daemon.wait_for_line(&line, PATIENCE)?;
    let received = backup.counter("lan", "advert_accepted")?;
    backup.wait_for_counter("lan", "advert_accepted", received + ADVERTS)?;
    backup.daemon.wait_for_lines(&line, 1)?;
    ensure!(backup.state("lan")? == "backup", "the adverts are not followed:\n{}", backup.daemon.log());
    Ok(())
}

#[test]
fn adverts_with_other_addresses_are_warned_of_once() -> Result<()> {
    // RFC 9568 7.1 (conformance 13)
    let other = VirtualRouter::lan(200).with("addresses", "[\"192.0.2.1/24\", \"192.0.2.9/24\"]");
    check_warned_once([other, VirtualRouter::lan(100)], "192.0.2.2 advertises 2 addresses that are not ours")
}

#[test]
fn adverts_with_another_interval_are_warned_of_once() -> Result<()> {
    // RFC 9568 7.1 (conformance 12)
    let other = VirtualRouter::lan(100).with("advert_interval", "\"200ms\"");
    check_warned_once([VirtualRouter::lan(200), other], "192.0.2.2 advertises every 100ms, we every 200ms")
}

#[test]
fn an_owner_warns_of_another_router_that_is_active_for_its_address() -> Result<()> {
    // RFC 9568 7.1, erratum 8298 (conformance 14, 58)
    let lab = Lab::new(2)?;
    let router = |priority, interval| {
        let router = VirtualRouter::lan(priority).with("addresses", "[\"192.0.2.2/24\"]");
        router.with("advert_interval", interval)
    };
    let [mut owner, mut other] = start(&lab, [router(255, "\"1s\""), router(100, "\"10ms\"")])?;
    let warning = "192.0.2.3 advertises with priority 100 although this host owns the addresses";
    // When the other router rejoins the segment, it usually sends some adverts before it hears the owner again.
    eventually("the owner hears the other router", 3 * PATIENCE, || {
        other.wait_for_state("lan", "backup")?;
        lab.isolate(1)?;
        other.wait_for_state("lan", "active")?;
        lab.rejoin(1)?;
        owner.daemon.wait_for_line(&["virtual_router=lan ", warning], Duration::from_secs(2))
    })?;
    other.wait_for_state("lan", "backup")?;
    assert_eq!(owner.state("lan")?, "active");
    Ok(())
}

#[test]
fn discarded_adverts_are_warned_of_by_reason_and_not_one_by_one() -> Result<()> {
    // RFC 9568 7.1 (conformance 11): a discard is logged, and logging is rate-limited.
    let lab = Lab::new(2)?;
    let begin = Instant::now();
    let strict = VirtualRouter::lan(100).with("allowed_sources", "[\"192.0.2.99\"]");
    let [_active, mut strict] = start(&lab, [VirtualRouter::lan(200), strict])?;
    let line = ["virtual_router=lan ", "adverts discarded", "counter=\"advert_forbidden_source\""];
    strict.daemon.wait_for_line(&line, PATIENCE)?;
    strict.wait_for_counter("lan", "advert_forbidden_source", ADVERTS)?;
    let (lines, periods) = (strict.daemon.count_lines(&line), begin.elapsed().div_duration_f64(DISCARDS));
    assert!(lines as f64 <= periods + 2.0, "{lines} lines in {periods} periods");
    Ok(())
}
