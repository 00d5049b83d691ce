//! What the log tells an operator of others' adverts, and that it does not go on and on.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use xvrrp_lab::{Lab, PATIENCE, VirtualRouter, Xvrrp};

/// Some twenty adverts at 100 ms.
const SETTLED: Duration = Duration::from_secs(2);

fn pair(lab: &Lab, routers: [VirtualRouter; 2]) -> Result<(Xvrrp, Xvrrp)> {
    let [better, worse] = routers;
    let mut better = Xvrrp::start(&lab.routers[0], &[better])?;
    better.wait_for_state("lan", "active")?;
    Ok((better, Xvrrp::start(&lab.routers[1], &[worse])?))
}

#[test]
fn other_addresses_are_told_once() -> Result<()> {
    // RFC 9568 7.1 (conformance 13)
    let lab = Lab::new(2)?;
    let other = VirtualRouter::lan(200).with("addresses", "[\"192.0.2.1/24\", \"192.0.2.9/24\"]");
    let (_better, mut worse) = pair(&lab, [other, VirtualRouter::lan(100)])?;
    let told = ["virtual_router=lan ", "192.0.2.2 advertises 2 addresses that are not ours"];
    worse.daemon.wait_for_line(&told, PATIENCE)?;
    thread::sleep(SETTLED);
    worse.daemon.wait_for_lines(&told, 1)?;
    assert_eq!(worse.state("lan")?, "backup", "it is heard all the same");
    Ok(())
}

#[test]
fn another_interval_is_told_once_and_learned() -> Result<()> {
    // RFC 9568 7.1 (conformance 12)
    let lab = Lab::new(2)?;
    let other = VirtualRouter::lan(100).with("advert_interval", "\"200ms\"");
    let (_better, mut worse) = pair(&lab, [VirtualRouter::lan(200), other])?;
    let told = ["virtual_router=lan ", "192.0.2.2 advertises every 100ms, we every 200ms"];
    worse.daemon.wait_for_line(&told, PATIENCE)?;
    thread::sleep(SETTLED);
    worse.daemon.wait_for_lines(&told, 1)?;
    assert_eq!(worse.state("lan")?, "backup", "it is heard all the same");
    Ok(())
}

#[test]
fn an_owner_tells_of_another_router_that_is_active_for_its_address() -> Result<()> {
    // RFC 9568 7.1, erratum 8298 (conformance 14, 58)
    let lab = Lab::new(2)?;
    let router = |priority| VirtualRouter::lan(priority).with("addresses", "[\"192.0.2.2/24\"]");
    // Back on the segment, the other one sends a hundred adverts before it hears the owner; mostly.
    let (seldom, often) =
        (router(255).with("advert_interval", "\"1s\""), router(100).with("advert_interval", "\"10ms\""));
    let (mut owner, mut other) = pair(&lab, [seldom, often])?;
    let told = ["virtual_router=lan ", "192.0.2.3 advertises with priority 100 although this host owns the addresses"];
    for _ in 0..5 {
        other.wait_for_state("lan", "backup")?;
        lab.isolate(1)?;
        other.wait_for_state("lan", "active")?;
        lab.rejoin(1)?;
        if owner.daemon.wait_for_line(&told, Duration::from_secs(2)).is_ok() {
            break;
        }
    }
    owner.daemon.wait_for_line(&told, Duration::ZERO)?;
    other.wait_for_state("lan", "backup")?;
    assert_eq!(owner.state("lan")?, "active");
    Ok(())
}

#[test]
fn discarded_adverts_are_told_by_reason_and_not_one_by_one() -> Result<()> {
    // RFC 9568 7.1 (conformance 11): a discard is logged, and logging is rate-limited.
    let lab = Lab::new(2)?;
    let strict = VirtualRouter::lan(100).with("allowed_sources", "[\"192.0.2.99\"]");
    let (_better, mut worse) = pair(&lab, [VirtualRouter::lan(200), strict])?;
    let told = ["virtual_router=lan ", "adverts discarded", "counter=\"advert_forbidden_source\""];
    worse.daemon.wait_for_line(&told, PATIENCE)?;
    thread::sleep(SETTLED);
    let (lines, adverts) = (worse.daemon.count_lines(&told), worse.counter("lan", "advert_forbidden_source")?);
    assert!(adverts > 20 && lines <= 2, "{lines} lines of {adverts} adverts");
    Ok(())
}
