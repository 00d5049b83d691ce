//! The sampler of the lab that asks every host whether it serves the virtual address. The hosts here have the address
//! without an agent.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xvrrp_lab::probe::{Destination, Hosts, Kind, Serving, ServingTimeline, UdpEcho};
use xvrrp_lab::{INTERFACE, Lab, PATIENCE, VIP, eventually, wait_until};

/// Share of the samples that must be on time: low enough for a busy machine.
const CERTAINTY: f64 = 0.5;

/// Hosts with services, and the sampler.
struct Static {
    lab: Lab,
    _echoes: Vec<UdpEcho>,
    sampler: Serving,
}

impl Static {
    fn new(routers: u8) -> Result<Self> {
        let lab = Lab::new(usize::from(routers))?;
        let echoes =
            lab.routers.iter().zip(0..).map(|(router, host)| UdpEcho::start(router, host)).collect::<Result<_>>()?;
        let sampler = Serving::start(&lab, Destination::OwnMac)?;
        Ok(Self { lab, _echoes: echoes, sampler })
    }

    fn give(&self, router: usize) -> Result<()> {
        self.lab.routers[router].ip(&format!("addr add {VIP}/24 dev {INTERFACE}")).map(drop)
    }

    fn take(&self, router: usize) -> Result<()> {
        self.lab.routers[router].ip(&format!("addr del {VIP}/24 dev {INTERFACE}")).map(drop)
    }

    /// Returns what the sampler sees in half a second in which nothing changes, and in which it is on time.
    fn look(&self) -> Result<ServingTimeline> {
        thread::sleep(Duration::from_millis(20));
        eventually("the sampler is on time", PATIENCE, || {
            let from = Instant::now();
            thread::sleep(Duration::from_millis(500));
            let until = Instant::now();
            Serving::settle();
            let seen = self.sampler.so_far().between(from, until);
            ensure!(seen.certainty() > CERTAINTY, "{seen:?}");
            Ok(seen)
        })
    }
}

#[test]
fn no_host_one_host_and_two_hosts_with_the_address_are_distinguished() -> Result<()> {
    let hosts = Static::new(2)?;

    let none = hosts.look()?;
    ensure!(none.hosts(Kind::Arp).is_empty() && none.hosts(Kind::Udp).is_empty(), "{none:?}");

    hosts.give(1)?;
    let one = hosts.look()?;
    for kind in [Kind::Arp, Kind::Udp] {
        ensure!(one.hosts(kind) == [Hosts::one(1)] && one.gaps(kind).is_empty(), "{one:?}");
    }
    ensure!(one.served_twice().is_empty(), "{one:?}");

    hosts.give(0)?;
    let both = hosts.look()?;
    let twice = both.served_twice();
    ensure!(twice.len() > both.samples().len() / 2, "{both:?}");
    ensure!(twice.iter().all(|sample| sample.serving() == Hosts::one(0).or(Hosts::one(1))), "{both:?}");

    hosts.take(1)?;
    let other = hosts.look()?;
    ensure!(other.hosts(Kind::Udp) == [Hosts::one(0)], "{other:?}");
    ensure!(other.served_twice().is_empty(), "{other:?}");
    Ok(())
}

#[test]
fn a_host_that_serves_is_seen_while_isolated_and_is_unreachable_while_its_cable_is_pulled() -> Result<()> {
    let hosts = Static::new(3)?;
    hosts.give(0)?;
    hosts.give(2)?;
    hosts.lab.isolate(2)?;
    let seen = hosts.look()?;
    ensure!(seen.served_twice().len() > seen.samples().len() / 2, "{seen:?}");

    hosts.lab.pull(2)?;
    let seen = hosts.look()?;
    ensure!(seen.hosts(Kind::Udp) == [Hosts::one(0)], "{seen:?}");
    ensure!(seen.samples().iter().all(|sample| sample.unreachable == Hosts::one(2)), "{seen:?}");

    hosts.lab.plug(2)?;
    eventually("both hosts are seen again", PATIENCE, || {
        let seen = hosts.look()?;
        ensure!(seen.served_twice().len() > seen.samples().len() / 2, "{seen:?}");
        Ok(())
    })
}

#[test]
fn a_time_in_which_no_host_serves_is_measured() -> Result<()> {
    const ABSENCE: Duration = Duration::from_millis(300);
    let hosts = Static::new(2)?;
    hosts.give(0)?;
    let _ = hosts.look()?;
    hosts.take(0)?;
    let taken = Instant::now();
    thread::sleep(ABSENCE);
    hosts.give(1)?;
    for kind in [Kind::Arp, Kind::Udp] {
        wait_until("host 1 is seen", || Ok(hosts.sampler.latest(kind) == Some(Hosts::one(1))))?;
    }
    let absence = taken.elapsed();
    let seen = hosts.sampler.finish();
    for kind in [Kind::Arp, Kind::Udp] {
        let gap = seen.longest_gap(kind).map(|gap| gap.length()).unwrap_or_default();
        // A sample may have been taken a little before the address was removed.
        ensure!(gap > ABSENCE && gap < absence + Duration::from_millis(200), "{gap:?}, absent {absence:?}: {seen:?}");
    }
    ensure!(seen.hosts(Kind::Udp) == [Hosts::one(0), Hosts::one(1)], "{seen:?}");
    Ok(())
}
