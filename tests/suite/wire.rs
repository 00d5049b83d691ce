//! Adverts on the wire, as Wireshark reads them at the switch.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
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

/// What one router sends from its start to its graceful end.
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

/// The different values that the adverts have in these fields.
fn distinct(capture: &Capture, fields: &[&str]) -> Result<BTreeSet<Vec<String>>> {
    Ok(capture.read("vrrp", fields)?.into_iter().collect())
}

fn only(row: &[&str]) -> BTreeSet<Vec<String>> {
    BTreeSet::from([row.iter().map(|&value| value.to_owned()).collect()])
}

#[test]
fn an_advert_of_version_3_says_what_is_configured() -> Result<()> {
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
    // Centiseconds; 4 reserved bits before them; the frame ends with the last address.
    let form = ["vrrp.short_adver_int", "vrrp.reserved_mbz", "ip.len"];
    assert_eq!(distinct(&capture, &form)?, only(&["10", "0", "40"]));
    Ok(())
}

#[test]
fn an_advert_of_version_2_says_what_is_configured() -> Result<()> {
    // RFC 3768 5.3 (conformance 50, 51, 53)
    let lab = Lab::new(1)?;
    let router = VirtualRouter::lan(213).with("version", "2").with("advert_interval", "\"1s\"");
    let capture = life(&lab, router, 2)?;

    capture.check_adverts()?;
    assert_eq!(
        distinct(&capture, FIELDS)?,
        only(&[VIRTUAL_MAC, GROUP_MAC, "192.0.2.2", GROUP, "255", "112", "2", "1", "51", "1", "192.0.2.1"])
    );
    // Seconds; no authentication, but its eight bytes are there.
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
fn without_a_virtual_mac_adverts_leave_from_the_interfaces_own() -> Result<()> {
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
fn a_graceful_stop_sends_one_advert_with_priority_0_and_it_is_the_last() -> Result<()> {
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
fn adverts_keep_the_interval() -> Result<()> {
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
    // A single advert teaches it nothing. It sees those that win only whenever its timer would have fired, which is
    // after less than four of them.
    eventually("it hears the Active router", PATIENCE, || {
        let heard = backup.counter("lan", "advert_accepted")?;
        ensure!(heard >= 20, "{heard} adverts");
        Ok(())
    })?;
    active.stop()?;
    backup.wait_for_state("lan", "active")?;
    // Nobody is there any more from whom the next agent could learn it.
    backup.reload()?;
    let sent = || capture.read("vrrp && ip.src == 192.0.2.3", &["frame.number"]).map(|adverts| adverts.len());
    let before = sent()?;
    eventually("it goes on", PATIENCE, || {
        let now = sent()?;
        ensure!(now >= before + 3, "{now} adverts");
        Ok(())
    })?;
    capture.finish()?;

    capture.check_plain_adverts()?;
    assert!(capture.check_adverts().is_err(), "the forms differ");
    Ok(())
}
