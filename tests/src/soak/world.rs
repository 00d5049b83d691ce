//! The routers that the faults happen to.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use xvrrp_common::units::MacAddress;

use super::judge::{Excuse, Judge};
use super::plan::{Fault, Planned};
use super::shim::Shim;
use crate::lab::{INTERFACE, Lab, Namespace, PATIENCE, VirtualRouter, Xvrrp, pause};
use crate::probe::{Destination, Serving, UdpEcho};

/// The routers' priorities.
const PRIORITIES: [u8; World::ROUTERS] = [200, 150, 100];
/// The lab's default.
const VRID: u8 = 51;

/// Three routers, and what is presently wrong with them.
#[derive(Debug)]
pub struct World {
    // Ended before the namespaces are removed.
    places: Vec<Place>,
    sampler: Serving,
    _echoes: Vec<UdpEcho>,
    lab: Lab,
    wall_clock: WallClock,
    seed: u64,
}

#[derive(Debug)]
struct Place {
    agent: Xvrrp,
    /// Whether its process should be there.
    running: bool,
    /// The one that has to end since another took over from it.
    predecessor: Option<Xvrrp>,
    shim: Option<Shim>,
    /// Since when it is cut off.
    apart_since: Option<Instant>,
    /// As it was in the beginning.
    mac: MacAddress,
}

impl World {
    pub const ROUTERS: usize = 3;
    /// Between adverts.
    pub const INTERVAL: Duration = Duration::from_millis(100);

    pub fn start(seed: u64) -> Result<Self> {
        let lab = Lab::new(Self::ROUTERS)?;
        let echoes = lab.routers.iter().zip(0..).map(|(router, host)| UdpEcho::start(router, host));
        let echoes = echoes.collect::<Result<_>>()?;
        let mut places = Vec::new();
        for (router, priority) in lab.routers.iter().zip(PRIORITIES) {
            let agent = Xvrrp::start(router, &[VirtualRouter::lan(priority)])?;
            let mac = router.mac(INTERFACE)?;
            places.push(Place { agent, running: true, predecessor: None, shim: None, apart_since: None, mac });
        }
        let sampler = Serving::start(&lab, Destination::VirtualMac(VRID))?;
        Ok(Self { places, sampler, _echoes: echoes, lab, wall_clock: WallClock::default(), seed })
    }

    pub fn sampler(&self) -> &Serving {
        &self.sampler
    }

    /// Every agent that should run does, and none has said that it panicked.
    pub fn check_agents(&mut self) -> Result<()> {
        for (router, place) in self.places.iter_mut().enumerate() {
            if place.running {
                place.agent.daemon.check_alive().with_context(|| format!("router {router}"))?;
            }
            ensure!(!place.agent.daemon.log().contains("panicked"), "the agent of router {router} has panicked");
        }
        Ok(())
    }

    /// The last lines that each agent has logged.
    pub fn logs(&self, lines: usize) -> String {
        let mut text = String::new();
        for (router, place) in self.places.iter().enumerate() {
            let log = place.agent.daemon.log();
            let skipped = log.lines().count().saturating_sub(lines);
            text += &format!("--- log of router {router}, {skipped} lines before left out ---\n");
            log.lines().skip(skipped).for_each(|line| {
                text += line;
                text.push('\n');
            });
        }
        text
    }

    /// The addresses, routes and neighbours of each router.
    pub fn hosts(&self) -> String {
        let mut text = String::new();
        for (number, router) in self.lab.routers.iter().enumerate() {
            let state = router.sh("ip -brief address; ip route; ip neighbour show nud all");
            text += &format!("--- router {number} ---\n{}\n", state.unwrap_or_else(|error| format!("{error:#}")));
        }
        text
    }

    /// Ends every agent as an operator would.
    pub fn stop(&mut self) -> Result<()> {
        for (router, place) in self.places.iter_mut().enumerate() {
            let status = place.agent.stop()?;
            ensure!(status.success(), "the agent of router {router} ends with {status}");
            ensure!(!self.lab.routers[router].pins()?.exists(), "the agent of router {router} leaves its pins");
        }
        Ok(())
    }

    /// Makes it happen. The judge is told what it excuses.
    pub fn strike(&mut self, planned: &Planned, judge: &mut Judge) -> Result<()> {
        let Planned { router, fault, .. } = *planned;
        let host = &self.lab.routers[router];
        let place = &mut self.places[router];
        match fault {
            Fault::Kill => {
                place.running = false;
                place.agent.kill().map(drop)
            }
            Fault::Stop => place.agent.daemon.signal(Signal::SIGSTOP),
            Fault::Restart => {
                place.running = false;
                place.agent.daemon.signal(Signal::SIGTERM)
            }
            Fault::Replace => {
                let successor = place.agent.replace(host, &[VirtualRouter::lan(PRIORITIES[router])])?;
                place.predecessor = Some(std::mem::replace(&mut place.agent, successor));
                Ok(())
            }
            Fault::Pull => self.lab.pull(router),
            Fault::Isolate => {
                place.apart_since = Some(Instant::now());
                self.lab.isolate(router)
            }
            Fault::InterfaceDown => host.ip(&format!("link set {INTERFACE} down")).map(drop),
            Fault::MacAddress => {
                let MacAddress([a, b, c, d, e, f]) = place.mac;
                set_mac(host, MacAddress([a, b, c, d, e, f ^ 0x55]))
            }
            Fault::InterfaceGone => {
                let (gone, switch) = (gone(router), self.lab.switch().name());
                host.ip(&format!("link set {INTERFACE} netns {switch} name {gone}")).map(drop)
            }
            Fault::PrimaryAddress => set_primary(host, [Lab::address(router), other_address(router)]),
            Fault::Detach => {
                host.detach_ingress()?;
                judge.excuse_deafness(Instant::now());
                Ok(())
            }
            Fault::Impair(impairment) => {
                place.shim = Some(Shim::insert(&self.lab, router, impairment, self.seed, judge)?);
                Ok(())
            }
            Fault::WallClock(milliseconds) => self.wall_clock.step(milliseconds),
        }
    }

    /// Puts it right; what there is to say of it.
    pub fn undo(&mut self, planned: &Planned, judge: &mut Judge) -> Result<String> {
        let Planned { router, fault, .. } = *planned;
        let host = &self.lab.routers[router];
        let place = &mut self.places[router];
        match fault {
            Fault::Kill => self.restart(router)?,
            Fault::Stop => place.agent.daemon.signal(Signal::SIGCONT)?,
            Fault::Restart => {
                let status = place.agent.daemon.wait(PATIENCE)?;
                ensure!(status.success(), "the agent ends with {status}");
                self.restart(router)?;
            }
            Fault::Replace => {
                let Some(mut predecessor) = place.predecessor.take() else { bail!("nobody was replaced") };
                let status = predecessor.daemon.wait(PATIENCE).context("the predecessor stays")?;
                ensure!(status.success(), "the predecessor ends with {status}");
            }
            Fault::Pull => self.lab.plug(router)?,
            Fault::Isolate => {
                self.lab.rejoin(router)?;
                let since = place.apart_since.take().context("it is not isolated")?;
                judge.excuse(Excuse::Apart { router }, since, Instant::now());
            }
            Fault::InterfaceDown => {
                host.ip(&format!("link set {INTERFACE} up"))?;
                Serving::introduce(host)?;
            }
            Fault::MacAddress => set_mac(host, place.mac)?,
            Fault::InterfaceGone => {
                let (gone, name) = (gone(router), host.name());
                self.lab.switch().ip(&format!("link set {gone} netns {name} name {INTERFACE}"))?;
                host.ip(&format!("addr add {}/24 dev {INTERFACE}", Lab::address(router)))?;
                host.ip(&format!("link set {INTERFACE} up"))?;
                Serving::introduce(host)?;
            }
            Fault::PrimaryAddress => set_primary(host, [other_address(router), Lab::address(router)])?,
            Fault::Detach => {}
            Fault::Impair(_) => {
                let shim = place.shim.take().context("there is no other cable")?;
                return Ok(format!("{} adverts were concerned", shim.remove(&self.lab, judge)?));
            }
            Fault::WallClock(milliseconds) => self.wall_clock.step(-milliseconds)?,
        }
        Ok(String::new())
    }

    fn restart(&mut self, router: usize) -> Result<()> {
        let configuration = [VirtualRouter::lan(PRIORITIES[router])];
        let place = &mut self.places[router];
        place.agent.start_again(&self.lab.routers[router], &configuration)?;
        place.running = true;
        Ok(())
    }

    /// Waits until one router alone has served, in both ways, for `long`, and has begun to before the deadline; since when
    /// it has.
    pub fn wait_until_steady(&mut self, long: Duration, deadline: Instant) -> Result<Instant> {
        loop {
            self.check_agents()?;
            let seen = self.sampler.so_far();
            let (since, newest) = (seen.sole_server_since(), seen.samples().last().map(|sample| sample.at));
            if let (Some(since), Some(newest)) = (since, newest)
                && newest - since >= long
            {
                return Ok(since);
            }
            ensure!(newest.is_none_or(|newest| newest < deadline + long), "no router serves alone in time");
            // A sampler that says nothing any more would be waited for in vain.
            ensure!(Instant::now() < deadline + long + PATIENCE, "the sampler has stopped");
            pause(Duration::from_millis(20))?;
        }
    }
}

/// What its interface is called while it is elsewhere.
fn gone(router: usize) -> String {
    format!("gone{router}")
}

fn other_address(router: usize) -> Ipv4Addr {
    let [a, b, c, d] = Lab::address(router).octets();
    Ipv4Addr::new(a, b, c, d + 20)
}

fn set_primary(host: &Namespace, [old, new]: [Ipv4Addr; 2]) -> Result<()> {
    host.ip(&format!("addr del {old}/24 dev {INTERFACE}"))?;
    host.ip(&format!("addr add {new}/24 dev {INTERFACE}"))?;
    // The kernel has forgotten every neighbour, also permanent ones, with the last address of the interface.
    Serving::introduce(host)
}

fn set_mac(host: &Namespace, mac: MacAddress) -> Result<()> {
    host.ip(&format!("link set {INTERFACE} address {mac}"))?;
    Serving::introduce(host)
}

/// The clock of the whole machine, and by how many milliseconds it is wrong; put right when this is dropped.
#[derive(Debug, Default)]
struct WallClock(i64);

impl WallClock {
    fn step(&mut self, milliseconds: i64) -> Result<()> {
        let now = clock_gettime(ClockId::CLOCK_REALTIME)?;
        let step = TimeSpec::new(milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000) * 1_000_000);
        clock_settime(ClockId::CLOCK_REALTIME, now + step).context("cannot set the wall clock")?;
        self.0 += milliseconds;
        Ok(())
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        if self.0 != 0
            && let Err(error) = self.step(-self.0)
        {
            eprintln!("the wall clock stays wrong by {} ms: {error:#}", self.0);
        }
    }
}
