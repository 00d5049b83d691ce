//! Another host claims the virtual address while this router is Active.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use nix::sys::time::TimeVal;
use xvrrp_common::units::MacAddress;
use xvrrp_common::wire::arp;
use xvrrp_lab::traffic::packet_socket;
use xvrrp_lab::{INTERFACE, Lab, PATIENCE, VIP, VirtualRouter, Xvrrp, eventually, ifindex, wait_until, wait_until_is};
use xvrrp_net::{InterfaceSender, PacketSocket};

const VIRTUAL_MAC: &str = "00:00:5e:00:01:33";

/// The interface of another host on the segment, which can send any frame.
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

/// Waits until the client's neighbor table has the virtual MAC for the virtual address.
fn wait_for_virtual_mac(lab: &Lab) -> Result<()> {
    eventually("the client sends to the virtual MAC", PATIENCE, || {
        let neighbor = lab.client.ip(&format!("neigh show {VIP} dev {INTERFACE}"))?;
        ensure!(neighbor.contains(VIRTUAL_MAC), "{neighbor}");
        Ok(())
    })
}

/// Waits until the client reaches an address, so that it is in the client's neighbor table.
fn ping(lab: &Lab, address: Ipv4Addr) -> Result<()> {
    eventually("the client reaches the address", PATIENCE, || lab.client.sh(&format!("ping -c 1 -W 1 {address}")))
        .map(drop)
}

#[test]
fn a_claim_is_answered_at_once_logged_once_and_shown() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200).with("announce_count", "1")])?;
    agent.wait_for_state("lan", "active")?;
    // Gratuitous ARP changes only entries that exist. By default, the kernel also ignores a change within a second of
    // the previous one.
    lab.client.sysctl("net.ipv4.neigh.eth0.locktime", "0")?;
    ping(&lab, VIP)?;
    wait_for_virtual_mac(&lab)?;

    let segment = Segment::new(&lab)?;
    let claims = 20;
    for _ in 0..claims {
        segment.claim(9)?;
        wait_for_virtual_mac(&lab)?;
        thread::sleep(Duration::from_millis(20));
    }
    agent.daemon.wait_for_line(&["WARN", "claimant=02:00:00:00:00:09", "another host claims 192.0.2.1"], PATIENCE)?;
    segment.claim(10)?;
    thread::sleep(Duration::from_millis(150));
    segment.claim(10)?;
    agent.daemon.wait_for_line(&["WARN", "claimant=02:00:00:00:00:0a"], PATIENCE)?;
    agent.daemon.wait_for_lines(&["another host claims"], 2)?;
    wait_until_is("every claim is counted", &(claims + 2), || agent.counter("lan", "arp_rival_claim"))?;
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
    let vips = [1, 11, 12].map(|last| Ipv4Addr::new(192, 0, 2, last));
    vips.into_iter().try_for_each(|vip| ping(&lab, vip))?;
    let segment = Segment::new(&lab)?;
    for vip in vips {
        segment.0.send(&arp::gratuitous(MacAddress([2, 0, 0, 0, 0, 9]), vip.octets()))?;
    }
    eventually("the client sends to the virtual MAC for every address", PATIENCE, || {
        let neighbors = lab.client.ip("neigh show dev eth0")?;
        ensure!(
            neighbors.matches(VIRTUAL_MAC).count() == 3 && agent.counter("lan", "arp_rival_claim")? == 3,
            "{neighbors}"
        );
        Ok(())
    })
}

#[test]
fn a_flood_of_claims_is_counted_and_answered_at_a_limited_rate() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200).with("announce_count", "1")])?;
    agent.wait_for_state("lan", "active")?;
    let mut announcements = AnnouncementCounter::open(&lab)?;
    let segment = Segment::new(&lab)?;
    let length = Duration::from_secs(2);
    let start = Instant::now();
    let mut claims = 0_u64;
    while start.elapsed() < length {
        // A claim that finds the queue full is not sent, and does not count.
        claims += (0..=255).map(|last| u64::from(segment.claim(last).is_ok())).sum::<u64>();
        thread::sleep(Duration::from_millis(10));
    }
    wait_until_is("every claim is counted", &claims, || agent.counter("lan", "arp_rival_claim"))?;
    wait_until("the client receives some announcements", || Ok(announcements.count() >= 2))?;
    // The kernel half reports one claim in 100 ms, and the agent answers it twice.
    let (answers, max) = (announcements.count(), 2 * start.elapsed().as_millis() / 100 + 20);
    ensure!(u128::from(answers) <= max, "{answers} announcements for {claims} claims");
    ensure!(agent.daemon.count_lines(&["another host claims"]) <= 64);
    agent.wait_for_transitions("lan", "active", 1)
}

/// Number of virtual routers in the next test, and number of addresses of each.
const MANY: u8 = 50;

#[test]
fn a_flood_of_claims_on_many_virtual_routers_causes_no_flood_of_announcements() -> Result<()> {
    const FLOOD: Duration = Duration::from_secs(3);
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
    let mut announcements = AnnouncementCounter::open(&lab)?;
    let start = Instant::now();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                for router in 1..=MANY {
                    let _ = segment.0.send(&arp::gratuitous(MacAddress([2, 0, 0, 0, 0, 9]), address(router, 1)));
                }
                thread::sleep(Duration::from_millis(25));
            }
        });
        let waits = eventually("announcements wait until the rate allows them", PATIENCE, || {
            let status = agent.status()?;
            let routers = status["virtual_routers"].as_array().context("status without virtual_routers")?;
            let waiting: u64 = routers.iter().filter_map(|router| router["announcements_waiting"].as_u64()).sum();
            ensure!(waiting > 0, "none waits");
            Ok(())
        });
        thread::sleep(FLOOD.saturating_sub(start.elapsed()));
        ended.store(true, Ordering::Relaxed);
        waits
    })?;
    let (sent, seconds) = (announcements.count(), start.elapsed().as_secs_f64());
    // The limit is 5,000 a second, and as many at once after a pause. Without it, 25,000 a second are due.
    ensure!(f64::from(sent) <= 7_500.0 * (seconds + 1.0), "{sent} announcements in {seconds} s");
    let all = usize::from(MANY) * usize::from(MANY);
    wait_until_is("every address is announced", &all, || {
        announcements.count();
        Ok(announcements.addresses.len())
    })?;
    for router in 1..=MANY {
        agent.wait_for_transitions(&format!("r{router}"), "active", 1)?;
    }
    Ok(())
}

/// Counts the announcements that the client receives from virtual MACs.
struct AnnouncementCounter {
    socket: OwnedFd,
    count: u32,
    addresses: BTreeSet<[u8; 4]>,
}

impl AnnouncementCounter {
    fn open(lab: &Lab) -> Result<Self> {
        let socket = packet_socket::open(&lab.client, INTERFACE, packet_socket::EVERYTHING, |socket| {
            setsockopt(socket, sockopt::RcvBufForce, &(64 << 20))?;
            Ok(setsockopt(socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 1))?)
        })?;
        Ok(Self { socket, count: 0, addresses: BTreeSet::new() })
    }

    /// Returns how many announcements were received until now.
    fn count(&mut self) -> u32 {
        let mut frame = [0; 2048];
        while let Ok(length) = recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            if length >= 42 && frame[6..11] == [0, 0, 0x5e, 0, 1] && frame[12..14] == [8, 6] {
                self.count += 1;
                self.addresses.insert([frame[28], frame[29], frame[30], frame[31]]);
            }
        }
        self.count
    }
}
