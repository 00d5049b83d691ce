//! A router with many routes: its own, and those of a routing daemon beside it.

use std::io::Write;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xvrrp_common::units::Family;
use xvrrp_lab::traffic::{AdvertTap, Advertiser};
use xvrrp_lab::{CLIENT, INTERFACE, Lab, Namespace, PATIENCE, VirtualRouter, Xvrrp, alone, eventually, pause};
use xvrrp_net::{Listing, RoutingSocket};

const INTERVAL: Duration = Duration::from_millis(100);
/// Longest time between two adverts. Active_Down_Interval is at least 300 ms.
const LONGEST_GAP: Duration = Duration::from_millis(250);

/// Returns the virtual router `lan` with this many routes.
fn routed(priority: u8, count: u32) -> VirtualRouter {
    let first = Ipv4Addr::new(10, 0, 0, 1).to_bits();
    let route = |number| format!("\"{}/32 via {CLIENT} dev {INTERFACE}\"", Ipv4Addr::from_bits(first + number));
    let routes: Vec<_> = (0..count).map(route).collect();
    VirtualRouter::lan(priority).with("routes", &format!("[{}]", routes.join(", ")))
}

fn wait_for_routes(host: &Namespace, count: u32) -> Result<()> {
    eventually(&format!("the host has {count} routes"), PATIENCE, || {
        let found = host.ip("-4 route show proto 112")?.lines().count();
        ensure!(u32::try_from(found)? == count, "{found}");
        Ok(())
    })
}

#[test]
fn ten_thousand_routes_delay_no_advert_at_a_takeover_a_reload_or_a_flush() -> Result<()> {
    const COUNT: u32 = 10_000;
    let _alone = alone();
    let lab = Lab::new(2)?;
    let host = &lab.routers[0];
    let tap = AdvertTap::start(lab.switch(), &Lab::port(0))?;
    let mut other = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(200)])?;
    other.wait_for_state("lan", "active")?;
    let mut agent = Xvrrp::start(host, &[routed(100, COUNT)])?;
    agent.wait_for_state("lan", "backup")?;
    let adverts = [Advertiser { interface: 0, vrid: 51, source: Lab::address(0) }];
    let check = |what: &str, from: Instant| {
        wait_for_routes(host, COUNT)?;
        pause(5 * INTERVAL)?;
        let gap = tap.longest_gap(&adverts, from, Instant::now());
        ensure!(gap < LONGEST_GAP, "{what}: two adverts were {gap:?} apart");
        Ok(())
    };
    lab.pull(1)?;
    let first = eventually("the Backup takes over", PATIENCE, || tap.last_before(Lab::address(0), Instant::now()))?;
    check("takeover", first)?;
    agent.configure(&[routed(101, COUNT)])?;
    let start = Instant::now();
    agent.reload()?;
    check("reload", start)?;
    let start = Instant::now();
    host.ip("route flush proto 112")?;
    check("flush", start)?;
    ensure!(agent.state("lan")? == "active", "{}", agent.daemon.log());
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    wait_for_routes(host, 0)
}

/// The agent lists what is its own again and again, beside the routes of a routing daemon.
#[test]
fn routes_of_others_are_left_out_by_the_kernel_when_those_of_an_agent_are_listed() -> Result<()> {
    const FOREIGN: u32 = 200_000;
    const OURS: u32 = 10;
    /// Ten times what it takes. If the kernel sent them all, it would take several times as long as this.
    const LONGEST: Duration = Duration::from_millis(150);
    let _alone = alone();
    let host = Namespace::new("foreign")?;
    let mut batch = tempfile::NamedTempFile::new()?;
    let first = Ipv4Addr::new(10, 0, 0, 0).to_bits();
    for number in 0..FOREIGN {
        let protocol = if number < OURS { 112 } else { 186 };
        writeln!(batch, "route add blackhole {}/32 proto {protocol}", Ipv4Addr::from_bits(first + number))?;
    }
    batch.flush()?;
    host.ip(&format!("-batch {}", batch.path().display()))?;
    let list = || -> Result<(usize, Duration)> {
        let mut socket = RoutingSocket::open()?;
        let start = Instant::now();
        let found = socket.list(Listing::Routes(Family::Ipv4))?;
        Ok((found.len(), start.elapsed()))
    };
    let listings = (0..5).map(|_| host.run(list)?).collect::<Result<Vec<_>>>()?;
    ensure!(listings.iter().all(|(count, _)| u32::try_from(*count).is_ok_and(|count| count == OURS)), "{listings:?}");
    let quickest = listings.iter().map(|(_, took)| *took).min().unwrap_or_default();
    ensure!(quickest < LONGEST, "{listings:?}");
    Ok(())
}
