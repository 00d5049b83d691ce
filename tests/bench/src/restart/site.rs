//! An Active router and its Backup, with clients and taps on the wire, and the ways in which the Active router's agent
//! is replaced or reloaded.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::PROBE;
use super::matrix::Place;
use crate::routers::PRIORITIES;
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::traffic::{AdvertTap, Advertiser};
use xvrrp_lab::{Lab, PATIENCE, Segments, Side, VirtualRouter, Xvrrp, eventually, first_and_last, pause};

/// Way in which the Active router's agent is replaced or reloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Reload,
    Replace,
    /// Kills the agent (SIGKILL) and starts another one at once.
    Kill,
    /// Changes the primary address of an interface with a virtual router of its own.
    SelfReload,
}

impl Way {
    /// All ways. The self-reload comes last, because it adds a virtual router.
    pub const ALL: [Self; 4] = [Self::Reload, Self::Replace, Self::Kill, Self::SelfReload];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Replace => "run --replace",
            Self::Kill => "kill, start",
            Self::SelfReload => "self-reload",
        }
    }
}

/// The effects of one replacement or reload.
#[derive(Debug)]
pub struct Seen {
    /// Number of probes of all clients that were not answered.
    pub lost: f64,
    /// Number of changes of the Backup to Active.
    pub roles: f64,
    /// Longest time between two adverts of a virtual router, in intervals.
    pub gap: f64,
    /// Longest time between two answers to a client.
    pub client_gap: Duration,
    /// Number of starts that had to be repeated.
    pub refused: usize,
}

/// Both hosts with their agents, services and taps.
pub struct Site {
    active: Xvrrp,
    backup: Xvrrp,
    _echoes: Vec<UdpEcho>,
    tap: AdvertTap,
    side: Side,
    side_tap: AdvertTap,
    lab: Lab,
    place: Place,
    interval: Duration,
    /// Priority of the Active router.
    priority: u8,
    /// Whether the Active router has the virtual router of [`Side`].
    with_side: bool,
}

impl Site {
    pub fn start(place: Place, interval: Duration) -> Result<Self> {
        let lab = Lab::with_segments(2, place.interfaces)?;
        let echoes = lab.routers.iter().zip(0..).map(|(router, host)| UdpEcho::start(router, host));
        let echoes = echoes.collect::<Result<Vec<_>>>()?;
        let side = Side::new(&lab.routers[0])?;
        let ports: Vec<_> = (0..place.interfaces).map(|segment| Lab::segment_port(segment, 0)).collect();
        let tap = AdvertTap::start_on(lab.switch(), &ports)?;
        let side_tap = AdvertTap::start(&lab.routers[0], Side::OTHER_END)?;
        let [active, backup] = PRIORITIES.map(|priority| place.configuration(priority, interval));
        let mut active = Xvrrp::start(&lab.routers[0], &active)?;
        active.wait_until_all_are("active", place.routers.into())?;
        let mut backup = Xvrrp::start(&lab.routers[1], &backup)?;
        backup.wait_until_all_are("backup", place.routers.into())?;
        let priority = PRIORITIES[0];
        Ok(Self {
            active,
            backup,
            _echoes: echoes,
            tap,
            side,
            side_tap,
            lab,
            place,
            interval,
            priority,
            with_side: false,
        })
    }

    /// Measures the longest time between two adverts of a virtual router while nothing is done, in intervals.
    pub fn undisturbed(&self) -> Result<f64> {
        let start = Instant::now();
        // Each virtual router sends at least one advert first.
        pause(self.interval * 2)?;
        pause((self.interval * 4).max(Duration::from_secs(1)))?;
        Ok(self.gap(start + self.interval * 2))
    }

    /// Replaces or reloads the agent, and measures the effects.
    pub fn go(&mut self, way: Way, number: usize) -> Result<Seen> {
        if way == Way::SelfReload && !self.with_side {
            self.with_side = true;
            self.reload()?;
            pause(self.settling())?;
        }
        self.wait_until_all_are_active()?;
        self.backup.wait_until_all_are("backup", self.place.routers.into())?;
        let vips: Vec<_> = self.place.each().map(|(interface, vrid)| Segments::vip(interface, vrid)).collect();
        let probes =
            first_and_last(&vips).into_iter().map(|vip: Ipv4Addr| UdpProbe::start(&self.lab.client, vip, PROBE));
        let probes = probes.collect::<Result<Vec<_>>>()?;
        probes.iter().try_for_each(|probe| probe.wait_for_answer_from(0, PATIENCE))?;
        let roles = self.backup.all_transitions("active");
        let start = Instant::now();
        self.tap.forget_before(start.checked_sub(self.interval * 3).context("the machine has only just booted")?);
        self.change(way, number)?;
        let refused = self.settle(way)?;
        let gap = self.gap(start);
        let (mut lost, mut client_gap) = (0, Duration::ZERO);
        for probe in probes {
            let seen = probe.finish();
            let longest = seen.longest_gap_between(start, Instant::now()).context("a client got no answers")?;
            lost += seen.lost();
            client_gap = client_gap.max(longest.1);
        }
        let roles = self.backup.all_transitions("active") - roles;
        let count = |count: usize| Ok::<_, anyhow::Error>(f64::from(u32::try_from(count)?));
        Ok(Seen { lost: count(usize::try_from(lost)?)?, roles: count(roles)?, gap, client_gap, refused })
    }

    fn change(&mut self, way: Way, number: usize) -> Result<()> {
        match way {
            Way::Reload => {
                self.priority = PRIORITIES[0] + u8::from(number.is_multiple_of(2));
                self.reload()
            }
            Way::Replace => {
                let successor = self.active.replace(&self.lab.routers[0], &self.configuration())?;
                let mut predecessor = std::mem::replace(&mut self.active, successor);
                ensure!(predecessor.daemon.wait(PATIENCE)?.success(), "{}", predecessor.daemon.log());
                Ok(())
            }
            Way::Kill => {
                self.active.daemon.signal(Signal::SIGKILL)?;
                let successor = self.active.start_beside(&self.lab.routers[0], &self.configuration())?;
                let mut dead = std::mem::replace(&mut self.active, successor);
                dead.daemon.wait(PATIENCE).map(drop)
            }
            Way::SelfReload => {
                self.side_tap.forget();
                let start = Instant::now();
                self.side.change(&self.lab.routers[0])?;
                // The advert shows that the agent has taken notice, however it did so.
                let advert = || self.side_tap.first_after(self.side.address(), start);
                eventually("the agent advertises from the other address", PATIENCE, advert).map(drop)
            }
        }
    }

    /// Waits for the time in which a Backup that hears no adverts would take over. An agent that was started beside a
    /// dying one may exit because of it. It is then started again. Returns the number of such starts.
    fn settle(&mut self, way: Way) -> Result<usize> {
        let (mut refused, deadline) = (0, Instant::now() + self.settling());
        while Instant::now() < deadline {
            pause(Duration::from_millis(5))?;
            if let Err(ended) = self.active.daemon.check_alive() {
                ensure!(way == Way::Kill, "{ended:#}: {}", self.active.daemon.log());
                refused += 1;
                self.active = self.active.start_beside(&self.lab.routers[0], &self.configuration())?;
            }
        }
        Ok(refused)
    }

    fn reload(&mut self) -> Result<()> {
        self.active.configure(&self.configuration())?;
        self.active.reload()
    }

    fn configuration(&self) -> Vec<VirtualRouter> {
        let side = self.with_side.then(Side::virtual_router);
        self.place.configuration(self.priority, self.interval).into_iter().chain(side).collect()
    }

    fn wait_until_all_are_active(&mut self) -> Result<()> {
        let count = usize::from(self.place.routers) + usize::from(self.with_side);
        self.active.wait_until_all_are("active", count)
    }

    fn gap(&self, from: Instant) -> f64 {
        let advertisers: Vec<_> = self
            .place
            .each()
            .map(|(interface, vrid)| Advertiser {
                interface: interface.into(),
                vrid,
                source: Lab::segment_address(interface, 0),
            })
            .collect();
        self.tap.longest_gap(&advertisers, from, Instant::now()).as_secs_f64() / self.interval.as_secs_f64()
    }

    /// Returns a time that is longer than a Backup waits, and than an agent takes to start.
    fn settling(&self) -> Duration {
        (self.interval * 37 / 10).max(Duration::from_millis(500))
    }
}
