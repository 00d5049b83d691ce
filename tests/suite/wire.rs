//! Adverts on the wire, as Wireshark decodes them at the switch.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xvrrp_lab::traffic::capture::Capture;
use xvrrp_lab::{Lab, PATIENCE, VirtualRouter, Xvrrp, eventually};

const FIELDS: &[&str] = &[
    "eth.src",
    "eth.dst",
    "ip.src",
    "ip.dst",
    "ip.ttl",
    "ip.proto",
    "vrrp.version",
    "vrrp.type",
    "vrrp.virt_rtr_id",
    "vrrp.addr_count",
    "vrrp.ip_addr",
];
const VIRTUAL_MAC: &str = "00:00:5e:00:01:33";
const GROUP_MAC: &str = "01:00:5e:00:00:12";
const GROUP: &str = "224.0.0.18";

/// Captures everything that a router sends from its start to its graceful stop: at least this many adverts.
fn life(lab: &Lab, router: VirtualRouter, adverts: usize) -> Result<Capture> {
    let mut capture = Capture::start(lab.switch(), "br0", "ip proto 112")?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[router])?;
    agent.wait_for_state("lan", "active")?;
    capture.wait_for("vrrp", adverts)?;
    ensure!(agent.stop()?.success(), "the agent failed");
    capture.wait_for("vrrp.prio == 0", 1)?;
    capture.finish()?;
    Ok(capture)
}

/// The different combinations of values that the adverts have in these fields.
fn distinct(capture: &Capture, fields: &[&str]) -> Result<BTreeSet<Vec<String>>> {
    Ok(capture.read("vrrp", fields)?.into_iter().collect())
}

fn only(row: &[&str]) -> BTreeSet<Vec<String>> {
    BTreeSet::from([row.iter().map(|&value| value.to_owned()).collect()])
}

#[test]
fn an_advert_of_version_3_has_the_configured_values() -> Result<()> {
    // RFC 9568 5.1, 5.2, 7.2 (conformance 10, 50, 51, 53, 54)
    let lab = Lab::new(1)?;
    let router = VirtualRouter::lan(213).with("addresses", "[\"192.0.2.20/24\", \"192.0.2.1/24\", \"203.0.113.9/32\"]");
    let capture = life(&lab, router, 5)?;

    capture.check_adverts()?;
    let addresses = "192.0.2.20,192.0.2.1,203.0.113.9";
    assert_eq!(
        distinct(&capture, FIELDS)?,
        only(&[VIRTUAL_MAC, GROUP_MAC, "192.0.2.2", GROUP, "255", "112", "3", "1", "51", "3", addresses])
    );
    // The interval is in centiseconds, the reserved bits before it are zero, and the packet ends with the last address.
    let form = ["vrrp.short_adver_int", "vrrp.reserved_mbz", "ip.len"];
    assert_eq!(distinct(&capture, &form)?, only(&["10", "0", "40"]));
    Ok(())
}

#[test]
fn an_advert_of_version_2_has_the_configured_values() -> Result<()> {
    // RFC 3768 5.3 (conformance 50, 51, 53)
    let lab = Lab::new(1)?;
    let router = VirtualRouter::lan(213).with("version", "2").with("advert_interval", "\"1s\"");
    let capture = life(&lab, router, 2)?;

    capture.check_adverts()?;
    assert_eq!(
        distinct(&capture, FIELDS)?,
        only(&[VIRTUAL_MAC, GROUP_MAC, "192.0.2.2", GROUP, "255", "112", "2", "1", "51", "1", "192.0.2.1"])
    );
    // The interval is in seconds. There is no authentication, but the packet has the eight bytes for it.
    let form = ["vrrp.adver_int", "vrrp.auth_type", "ip.len"];
    assert_eq!(distinct(&capture, &form)?, only(&["1", "0", "40"]));
    Ok(())
}

#[test]
fn an_advert_of_version_2_carries_the_password() -> Result<()> {
    // RFC 2338 5.3.6, 5.3.10
    let lab = Lab::new(1)?;
    let router =
        VirtualRouter::lan(213).with("version", "2").with("advert_interval", "\"1s\"").with("password", "\"s3cret\"");
    let capture = life(&lab, router, 2)?;

    capture.check_adverts()?;
    let form = ["vrrp.auth_type", "vrrp.auth_string"];
    assert_eq!(distinct(&capture, &form)?, only(&["1", "s3cret"]));
    Ok(())
}

#[test]
fn without_a_virtual_mac_adverts_have_the_interfaces_own_mac_as_their_source() -> Result<()> {
    let lab = Lab::new(1)?;
    let own = lab.routers[0].ip("-o link show eth0")?;
    let capture = life(&lab, VirtualRouter::lan(213).with("virtual_mac", "false"), 3)?;

    capture.check_adverts()?;
    let sources = distinct(&capture, &["eth.src"])?;
    assert_eq!(sources.len(), 1, "{sources:?}");
    for source in sources.iter().flatten() {
        assert!(own.contains(&format!("link/ether {source} ")), "{source} is not in {own}");
    }
    Ok(())
}

#[test]
fn the_last_advert_before_a_graceful_stop_is_the_only_one_with_priority_0() -> Result<()> {
    // RFC 9568 6.4.3 (conformance 48)
    let lab = Lab::new(1)?;
    let capture = life(&lab, VirtualRouter::lan(213), 3)?;
    let priorities = capture.read("vrrp", &["vrrp.prio"])?.concat();
    let (last, others) = priorities.split_last().expect("adverts");
    assert_eq!(last, "0");
    assert!(others.iter().all(|priority| priority == "213"), "{others:?}");
    Ok(())
}

#[test]
fn adverts_are_sent_at_the_configured_interval() -> Result<()> {
    // RFC 9568 6.4.3 (conformance 43)
    let lab = Lab::new(1)?;
    let mut capture = Capture::start(lab.switch(), "br0", "ip proto 112")?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(213)])?;
    agent.wait_for_state("lan", "active")?;
    capture.wait_for("vrrp", 1)?;
    thread::sleep(Duration::from_secs(4));
    agent.kill()?;
    capture.finish()?;
    let times = capture.read("vrrp", &["frame.time_relative"])?.concat();
    let times: Vec<f64> = times.iter().map(|time| time.parse()).collect::<Result<_, _>>()?;
    let mut intervals: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    intervals.sort_by(f64::total_cmp);
    let median = intervals[intervals.len() / 2];
    assert!(times.len() > 20 && (0.09..0.11).contains(&median), "{} adverts, median {median}", times.len());
    Ok(())
}

#[test]
fn the_plain_checksum_covers_the_message_only_and_auto_follows_a_peer_that_uses_it() -> Result<()> {
    // RFC 9568 5.2.8 (conformance 6)
    let lab = Lab::new(2)?;
    let mut capture = Capture::start(lab.switch(), "br0", "ip proto 112")?;
    let plain = VirtualRouter::lan(200).with("checksum", "\"plain\"");
    let mut active = Xvrrp::start(&lab.routers[0], &[plain])?;
    active.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    backup.wait_for_state("lan", "backup")?;
    // The agent follows the form of two adverts in a row.
    wait_for_handled_adverts(&backup, 2)?;
    active.stop()?;
    backup.wait_for_state("lan", "active")?;
    // There is no router any more from which the agent could learn the form after the reload.
    backup.reload()?;
    let from_backup = "vrrp && ip.src == 192.0.2.3";
    let before = capture.read(from_backup, &["frame.number"])?.len();
    capture.wait_for(from_backup, before + 3)?;
    capture.finish()?;

    capture.check_plain_adverts()?;
    assert!(capture.check_adverts().is_err(), "the adverts have both forms");
    Ok(())
}

/// Waits until the Backup's agent has handled so many adverts of the first router. The counters of the kernel half do
/// not show that: the agent reads the latest advert only when its Active_Down_Timer expires. It then sets the timer
/// again.
fn wait_for_handled_adverts(backup: &Xvrrp, count: usize) -> Result<()> {
    let start = Instant::now();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    // The earliest and the latest time at which the timer can expire, from the start. The status has the time until
    // then, from a moment between the request and its answer.
    let expiry = || -> Result<[f64; 2]> {
        let requested = start.elapsed();
        let router = backup.virtual_router("lan")?;
        let answered = start.elapsed();
        ensure!(router["active"]["address"] == Lab::address(0).to_string(), "{router}");
        let left = router["timers"]["next_ms"].as_f64().context("no timer runs")?;
        Ok([requested, answered].map(|time| milliseconds(time) + left))
    };
    let [_, mut latest] = eventually("the agent has handled an advert", PATIENCE, expiry)?;
    for number in 2..=count {
        latest = eventually(&format!("the agent has handled advert {number}"), PATIENCE, || {
            let expiry = expiry()?;
            ensure!(expiry[0] > latest, "the timer expires at {expiry:?}, before at {latest}");
            Ok(expiry[1])
        })?;
    }
    Ok(())
}
