//! Another host claims the virtual address while we are Active.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use nix::sys::time::TimeVal;
use xvrrp_common::units::MacAddress;
use xvrrp_common::wire::arp;
use xvrrp_lab::traffic::packet_socket;
use xvrrp_lab::{INTERFACE, Lab, PATIENCE, VIP, VirtualRouter, Xvrrp, eventually, ifindex};
use xvrrp_net::{InterfaceSender, PacketSocket};

const VIRTUAL_MAC: &str = "00:00:5e:00:01:33";

/// A host on the segment that can send any frame.
struct Segment(InterfaceSender);

impl Segment {
    fn new(lab: &Lab) -> Result<Self> {
        let server = &lab.routers[1];
        let socket = server.run(|| -> Result<_> { Ok(Arc::new(PacketSocket::open()?).on(ifindex(INTERFACE)?)?) })??;
        Ok(Self(socket))
    }

    fn claim(&self, last: u8) -> Result<()> {
        Ok(self.0.send(&arp::gratuitous(MacAddress([2, 0, 0, 0, 0, last]), VIP.octets()))?)
    }
}

fn neighbor(lab: &Lab) -> Result<String> {
    lab.client.ip(&format!("neigh show {VIP} dev {INTERFACE}"))
}

#[test]
fn a_claim_is_answered_at_once_logged_once_and_shown() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200).with("announce_count", "1")])?;
    agent.wait_for_state("lan", "active")?;
    // Gratuitous ARP changes an entry that is there; the kernel ignores a change within a second of the last one.
    lab.client.sysctl("net.ipv4.neigh.eth0.locktime", "0")?;
    lab.client.sh(&format!("ping -c 1 -W 5 {VIP}"))?;
    ensure!(neighbor(&lab)?.contains(VIRTUAL_MAC), "{}", neighbor(&lab)?);

    let segment = Segment::new(&lab)?;
    let claims = 20;
    for _ in 0..claims {
        segment.claim(9)?;
        eventually("the client believes us again", PATIENCE, || {
            let neighbor = neighbor(&lab)?;
            ensure!(neighbor.contains(VIRTUAL_MAC), "{neighbor}");
            Ok(())
        })?;
        thread::sleep(Duration::from_millis(20));
    }
    agent.daemon.wait_for_line(&["WARN", "claimant=02:00:00:00:00:09", "another host claims 192.0.2.1"], PATIENCE)?;
    segment.claim(10)?;
    thread::sleep(Duration::from_millis(150));
    segment.claim(10)?;
    agent.daemon.wait_for_line(&["WARN", "claimant=02:00:00:00:00:0a"], PATIENCE)?;
    agent.daemon.wait_for_lines(&["another host claims"], 2)?;
    ensure!(agent.counter("lan", "arp_rival_claim")? == claims + 2);
    let conflict = agent.virtual_router("lan")?["rival"].clone();
    ensure!(conflict["mac"] == "02:00:00:00:00:0a" && conflict["address"] == "192.0.2.1", "{conflict}");
    ensure!(conflict["ago_ms"].as_f64().context("no age")? < 60_000.0, "{conflict}");
    Ok(())
}

#[test]
fn a_burst_of_claims_on_several_addresses_is_answered_for_each() -> Result<()> {
    let lab = Lab::new(2)?;
    let vips = "[\"192.0.2.1/24\", \"192.0.2.11/24\", \"192.0.2.12/24\"]";
    let router = VirtualRouter::lan(200).with("announce_count", "1").with("addresses", vips);
    let mut agent = Xvrrp::start(&lab.routers[0], &[router])?;
    agent.wait_for_state("lan", "active")?;
    lab.client.sysctl("net.ipv4.neigh.eth0.locktime", "0")?;
    lab.client.sh("for vip in 192.0.2.1 192.0.2.11 192.0.2.12; do ping -c 1 -W 5 $vip || exit 1; done")?;
    let segment = Segment::new(&lab)?;
    for last in [1, 11, 12] {
        segment.0.send(&arp::gratuitous(MacAddress([2, 0, 0, 0, 0, 9]), [192, 0, 2, last]))?;
    }
    eventually("the client believes us for every address", PATIENCE, || {
        let neighbors = lab.client.ip("neigh show dev eth0")?;
        ensure!(
            neighbors.matches(VIRTUAL_MAC).count() == 3 && agent.counter("lan", "arp_rival_claim")? == 3,
            "{neighbors}"
        );
        Ok(())
    })
}

#[test]
fn a_flood_of_claims_is_counted_and_answered_now_and_then() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200).with("announce_count", "1")])?;
    agent.wait_for_state("lan", "active")?;
    let capture = AnnouncementCounter::open(&lab)?;
    let segment = Segment::new(&lab)?;
    let length = Duration::from_secs(2);
    let start = Instant::now();
    let mut claims = 0_u64;
    while start.elapsed() < length {
        // A full queue is no failure.
        claims += (0..=255).map(|last| u64::from(segment.claim(last).is_ok())).sum::<u64>();
        thread::sleep(Duration::from_millis(10));
    }
    eventually("all are counted", PATIENCE, || {
        let counted = agent.counter("lan", "arp_rival_claim")?;
        ensure!(counted == claims, "{counted} of {claims}");
        Ok(())
    })?;
    let answers = capture.count()?;
    // At most two in 100 ms, as the kernel half tells of one; and the client hears some.
    ensure!((2..=60).contains(&answers), "{answers} announcements for {claims} claims");
    ensure!(agent.daemon.count_lines(&["another host claims"]) <= 64);
    agent.wait_for_transitions("lan", "active", 1)?;
    Ok(())
}

/// How many virtual routers the next test has, and addresses each.
const MANY: u8 = 50;

#[test]
fn a_flood_of_claims_on_many_virtual_routers_makes_no_flood_of_announcements() -> Result<()> {
    let lab = Lab::new(2)?;
    let address = |router: u8, last: u8| [10, 0, router, last];
    let routers: Vec<VirtualRouter> = (1..=MANY)
        .map(|router| {
            let addresses: Vec<_> =
                (1..=MANY).map(|last| format!("\"{}/24\"", Ipv4Addr::from(address(router, last)))).collect();
            VirtualRouter::lan(200)
                .with("name", &format!("\"r{router}\""))
                .with("vrid", &router.to_string())
                .with("announce_count", "1")
                .with("addresses", &format!("[{}]", addresses.join(", ")))
        })
        .collect();
    let mut agent = Xvrrp::start(&lab.routers[0], &routers)?;
    for router in 1..=MANY {
        agent.wait_for_state(&format!("r{router}"), "active")?;
    }
    let segment = Segment::new(&lab)?;
    let socket = packet_socket::open(&lab.client, INTERFACE, packet_socket::EVERYTHING, |socket| {
        setsockopt(socket, sockopt::RcvBufForce, &(64 << 20))?;
        Ok(setsockopt(socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 1))?)
    })?;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        for router in 1..=MANY {
            let _ = segment.0.send(&arp::gratuitous(MacAddress([2, 0, 0, 0, 0, 9]), address(router, 1)));
        }
        thread::sleep(Duration::from_millis(25));
    }
    let status = agent.status()?;
    let routers = status["virtual_routers"].as_array().context("status without virtual_routers")?;
    let waiting: u64 = routers.iter().filter_map(|router| router["announcements_waiting"].as_u64()).sum();
    ensure!(waiting > 0, "nothing is put off");
    let mut announcements = 0_usize;
    let mut announced = BTreeSet::new();
    let mut receive = || {
        let mut frame = [0; 2048];
        while let Ok(length) = recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            if length >= 42 && frame[6..11] == [0, 0, 0x5e, 0, 1] && frame[12..14] == [8, 6] {
                announcements += 1;
                announced.insert([frame[28], frame[29], frame[30], frame[31]]);
            }
        }
        (announcements, announced.len())
    };
    let (sent, _) = receive();
    // 5,000 a second, and as many that were saved up; without a budget 25,000 a second are due.
    ensure!(sent <= 30_000, "{sent} announcements in 3 s");
    let all = usize::from(MANY) * usize::from(MANY);
    eventually("every address is announced in its turn", PATIENCE, || {
        let (_, announced) = receive();
        ensure!(announced == all, "{announced} of {all}");
        Ok(())
    })?;
    for router in 1..=MANY {
        ensure!(agent.transitions(&format!("r{router}"), "active") == 1, "r{router} lost its role");
    }
    Ok(())
}

/// Counts what the virtual MAC announces.
struct AnnouncementCounter(OwnedFd);

impl AnnouncementCounter {
    fn open(lab: &Lab) -> Result<Self> {
        let socket = packet_socket::open(&lab.client, INTERFACE, packet_socket::EVERYTHING, |socket| {
            setsockopt(socket, sockopt::RcvBufForce, &(64 << 20))?;
            Ok(setsockopt(socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 1))?)
        })?;
        Ok(Self(socket))
    }

    fn count(&self) -> Result<usize> {
        let mut frame = [0; 2048];
        let mut found = 0;
        while let Ok(length) = recv(self.0.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            let from_us = frame[..length].get(6..14) == Some(&[0, 0, 0x5e, 0, 1, 0x33, 8, 6]);
            found += usize::from(from_us);
        }
        Ok(found)
    }
}
