//! The routers into which the faults are injected.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use xvrrp_common::units::MacAddress;

use super::fault::Fault;
use super::judge::{Excuse, Judge};
use super::order;
use super::place::{PRIORITIES, Place, ROUTERS, VRID, configuration};
use super::plan::Planned;
use super::shim::Shim;
use xvrrp_lab::metronome::Metronome;
use xvrrp_lab::probe::{Destination, Kind, Serving, UdpEcho};
use xvrrp_lab::{INTERFACE, Lab, Namespace, PATIENCE, VIP, pause};

/// Three routers and their present faults.
#[derive(Debug)]
pub struct World {
    // Dropped before the lab, so that the agents end before their namespaces are removed.
    places: Vec<Place>,
    sampler: Serving,
    sampler_behind: Serving,
    _echoes: Vec<UdpEcho>,
    metronome: Metronome,
    lab: Lab,
    wall_clock: WallClock,
    seed: u64,
}

impl World {
    pub fn start(seed: u64) -> Result<Self> {
        let lab = Lab::with_second_interfaces(ROUTERS)?;
        let echoes = lab.routers.iter().zip(0..).map(|(router, host)| UdpEcho::start(router, host));
        let echoes = echoes.collect::<Result<_>>()?;
        let mut places = Vec::new();
        for (router, priority) in lab.routers.iter().zip(PRIORITIES) {
            places.push(Place::start(router, priority)?);
        }
        let sampler = Serving::start(&lab, Destination::VirtualMac(VRID))?;
        let sampler_behind = Serving::start_behind(&lab)?;
        let (metronome, wall_clock) = (Metronome::start()?, WallClock::default());
        Ok(Self { places, sampler, sampler_behind, _echoes: echoes, metronome, lab, wall_clock, seed })
    }

    pub fn sampler(&self) -> &Serving {
        &self.sampler
    }

    /// Returns the sampler at the second interfaces.
    pub fn sampler_behind(&self) -> &Serving {
        &self.sampler_behind
    }

    pub fn metronome(&self) -> &Metronome {
        &self.metronome
    }

    /// Returns the number of changes of role that the agents have logged, except those of [`Side`](xvrrp_lab::Side). A
    /// successor that continues a role has not changed it.
    pub fn role_changes(&self) -> usize {
        self.places.iter().map(Place::role_changes).sum()
    }

    /// Fails unless every agent that should be running is running and none has logged a panic.
    pub fn check_agents(&mut self) -> Result<()> {
        for (router, place) in self.places.iter_mut().enumerate() {
            if place.running {
                place.agent.daemon.check_alive().with_context(|| format!("router {router}"))?;
            }
            ensure!(!place.agent.daemon.log().contains("panicked"), "the agent of router {router} has panicked");
        }
        Ok(())
    }

    /// Returns the last lines that each agent has logged.
    pub fn logs(&self, lines: usize) -> String {
        let mut text = String::new();
        for (router, place) in self.places.iter().enumerate() {
            let log = place.agent.daemon.log();
            let skipped = log.lines().count().saturating_sub(lines);
            text += &format!("--- log of router {router}, without the first {skipped} lines ---\n");
            log.lines().skip(skipped).for_each(|line| {
                text += line;
                text.push('\n');
            });
        }
        text
    }

    /// Returns the addresses, routes and neighbors of each router.
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
            ensure!(status.success(), "the agent of router {router} has failed on a graceful stop: {status}");
            ensure!(!self.lab.routers[router].pins()?.exists(), "the agent of router {router} has left its pins");
        }
        Ok(())
    }

    /// Injects a fault, and adds to the judge what it excuses.
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
                let successor = place.agent.replace(host, &configuration(PRIORITIES[router]))?;
                place.predecessor = Some(std::mem::replace(&mut place.agent, successor));
                Ok(())
            }
            Fault::Reload => place.reload(),
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
            // If the host has lost its role in the meantime, there is nothing to delete.
            Fault::AddressDeleted => {
                // Only a secondary address is deleted. If the virtual address was added before the host's own, the
                // kernel would delete the latter with it (docs/security.md).
                let host = self.holder(router);
                let shown = host.ip(&format!("-4 -o addr show dev {INTERFACE} to {VIP}")).unwrap_or_default();
                if shown.contains("secondary") {
                    let _ = host.ip(&format!("addr del {VIP}/24 dev {INTERFACE}"));
                }
                Ok(())
            }
            Fault::FilterDeleted => {
                let mac = order::virtual_mac(VRID);
                let _ = self.holder(router).sh(&format!("bridge fdb del {mac} dev {INTERFACE} self"));
                Ok(())
            }
            Fault::SideAddress => place.change_side(host),
            Fault::Full(shortage) => place.agent.tiny_run()?.fill(shortage),
            Fault::Impair(impairment) => {
                place.shim = Some(Shim::insert(&self.lab, router, impairment, self.seed, judge)?);
                Ok(())
            }
            Fault::WallClock(milliseconds) => self.wall_clock.step(milliseconds),
        }
    }

    /// Undoes a fault. Returns a remark for the history.
    pub fn undo(&mut self, planned: &Planned, judge: &mut Judge) -> Result<String> {
        let Planned { router, fault, .. } = *planned;
        let host = &self.lab.routers[router];
        let place = &mut self.places[router];
        match fault {
            Fault::Kill => self.restart(router)?,
            Fault::Stop => place.agent.daemon.signal(Signal::SIGCONT)?,
            Fault::Restart => {
                let status = place.agent.daemon.wait(PATIENCE)?;
                ensure!(status.success(), "the agent has failed on a graceful stop: {status}");
                self.restart(router)?;
            }
            Fault::Replace => {
                let Some(mut predecessor) = place.predecessor.take() else { bail!("no agent was replaced") };
                let status = predecessor.daemon.wait(PATIENCE).context("the replaced agent has not ended")?;
                ensure!(status.success(), "the replaced agent has failed: {status}");
            }
            Fault::Pull => self.lab.plug(router)?,
            Fault::Isolate => {
                self.lab.rejoin(router)?;
                let since = place.apart_since.take().context("the router is not isolated")?;
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
            Fault::Detach | Fault::Reload | Fault::AddressDeleted | Fault::FilterDeleted => {}
            Fault::SideAddress => place.change_side(host)?,
            Fault::Full(_) => place.agent.tiny_run()?.empty()?,
            Fault::Impair(_) => {
                let shim = place.shim.take().context("the cable is not impaired")?;
                return Ok(format!("({} adverts were impaired)", shim.remove(&self.lab, judge)?));
            }
            Fault::WallClock(milliseconds) => self.wall_clock.step(-milliseconds)?,
        }
        Ok(String::new())
    }

    /// Returns the router that has the virtual address, or this one if none has it.
    fn holder(&self, otherwise: usize) -> &Namespace {
        // A router whose interface has been moved away has no address.
        let holds = |router: &&Namespace| order::has_address(router, VIP).unwrap_or(false);
        self.lab.routers.iter().find(holds).unwrap_or(&self.lab.routers[otherwise])
    }

    fn restart(&mut self, router: usize) -> Result<()> {
        let place = &mut self.places[router];
        place.agent.start_again(&self.lab.routers[router], &configuration(PRIORITIES[router]))?;
        place.running = true;
        Ok(())
    }

    /// Waits until one router alone has served, by ARP and by datagram, for `long` after `from`. It must have begun
    /// before the deadline. Returns the time since which it has served.
    pub fn wait_until_steady(&mut self, from: Instant, long: Duration, deadline: Instant) -> Result<Instant> {
        loop {
            self.check_agents()?;
            let seen = self.sampler.so_far();
            let (since, newest) = (seen.sole_server_since(), seen.samples().last().map(|sample| sample.at));
            if let (Some(since), Some(newest)) = (since, newest)
                && newest >= since.max(from) + long
            {
                return Ok(since);
            }
            ensure!(newest.is_none_or(|newest| newest < deadline + long), "no router has served alone in time");
            // Without new samples, the check above would never fail.
            ensure!(Instant::now() < deadline + long + PATIENCE, "the sampler has stopped");
            pause(Duration::from_millis(20))?;
        }
    }

    /// Waits until everything is in order: one router alone is Active (if `first` is set, the first one), it serves the
    /// client behind its second interface too, and every host has the addresses and filter entries that it should have.
    pub fn wait_until_in_order(&mut self, first: bool, long: Duration, deadline: Instant) -> Result<()> {
        loop {
            self.check_agents()?;
            let behind = self.sampler_behind.so_far().sole_server_for(Kind::Udp, long);
            let unfinished = self
                .places
                .iter_mut()
                .enumerate()
                .find_map(|(router, place)| place.unfinished().map(|what| format!("router {router}: {what}")));
            let wrong = match order::active(&self.lab)? {
                _ if unfinished.is_some() => unfinished.unwrap_or_default(),
                Err(wrong) => wrong,
                Ok(active) if first && active != 0 => format!("router {active} is Active, not the first"),
                Ok(active) if behind.is_none_or(|hosts| !hosts.contains(active)) => {
                    format!("router {active} is Active, but {behind:?} serves behind the second interfaces")
                }
                Ok(_) => return Ok(()),
            };
            ensure!(Instant::now() < deadline, "the hosts are not in order in time: {wrong}");
            pause(Duration::from_millis(50))?;
        }
    }
}

/// Returns the name of a router's interface while it is in another namespace.
fn gone(router: usize) -> String {
    format!("gone{router}")
}

fn other_address(router: usize) -> Ipv4Addr {
    let [a, b, c, d] = Lab::address(router).octets();
    Ipv4Addr::new(a, b, c, d + 20)
}

fn set_primary(host: &Namespace, [old, new]: [Ipv4Addr; 2]) -> Result<()> {
    // The kernel may have deleted it already, together with a virtual address that was added before it.
    let _ = host.ip(&format!("addr del {old}/24 dev {INTERFACE}"));
    host.ip(&format!("addr add {new}/24 dev {INTERFACE}"))?;
    // With the last address of the interface, the kernel has forgotten every neighbor, even permanent ones.
    Serving::introduce(host)
}

fn set_mac(host: &Namespace, mac: MacAddress) -> Result<()> {
    host.ip(&format!("link set {INTERFACE} address {mac}"))?;
    Serving::introduce(host)
}

/// The wall clock of the machine, and the number of milliseconds by which it was stepped. It is corrected when this is
/// dropped.
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
            eprintln!("cannot correct the wall clock, which is wrong by {} ms: {error:#}", self.0);
        }
    }
}
