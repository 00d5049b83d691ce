//! Fails the Active router of a pair (it dies, hangs or loses the network), brings it back, and records who serves at
//! each moment.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::probe::{Destination, Hosts, Kind, Sample, Serving, ServingTimeline, UdpEcho};
use crate::{Keepalived, KeepalivedConfig, Lab, PATIENCE, VirtualRouter, Xvrrp, eventually};

/// The first router is Active unless it has failed.
const PRIORITIES: [u8; 2] = [200, 100];
const VRID: u8 = 51;

/// The program that runs on both routers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// xvrrp, with a virtual MAC or without, as [`Setup::virtual_mac`] says.
    Xvrrp,
    /// keepalived without a virtual MAC, which is its default.
    Keepalived,
}

/// A fault of the Active router, which is undone after a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, undone by another start.
    Kill,
    /// SIGSTOP, undone by SIGCONT.
    Stop,
    /// The cable is pulled: neither end has a carrier.
    Pull,
    /// The switch port leaves the bridge, which the router cannot notice.
    Isolate,
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 4] = [Self::Kill, Self::Stop, Self::Pull, Self::Isolate];

    /// Returns the name that reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Stop => "SIGSTOP/CONT",
            Self::Pull => "cable pulled",
            Self::Isolate => "isolated",
        }
    }
}

/// The configuration of both routers.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Program on both routers.
    pub program: Program,
    /// Advertisement interval, from 10 ms to 1 s.
    pub interval: Duration,
    /// Whether the virtual addresses have the virtual MAC instead of that of the interface.
    pub virtual_mac: bool,
}

impl Setup {
    /// Returns xvrrp with a virtual MAC.
    pub fn xvrrp(interval: Duration) -> Self {
        Self { program: Program::Xvrrp, interval, virtual_mac: true }
    }

    /// Returns the Active_Down_Interval of the router that takes over (RFC 9568 6.1).
    pub fn active_down_interval(&self) -> Duration {
        self.interval * 3 + self.interval * (256 - u32::from(PRIORITIES[1])) / 256
    }

    fn destination(&self) -> Destination {
        if self.virtual_mac { Destination::VirtualMac(VRID) } else { Destination::OwnMac }
    }
}

/// What the sampler saw of one fault.
#[derive(Debug)]
pub struct Outcome {
    /// Time between the last datagram that the old Active router served and the first one that the new one served.
    pub gap: Duration,
    /// Time between the fault and the first datagram that the new Active router served.
    pub takeover: Duration,
    /// Samples in which two hosts served while the segment was whole, that is, while each router's adverts reached the
    /// other. After an isolation, the segment counts as whole again once the Active router has had time for an advert.
    pub served_twice: Vec<Sample>,
    /// All samples, from before the fault until after it was undone.
    pub seen: ServingTimeline,
}

/// Two routers, with a service on each of them for the sampler to ask.
#[derive(Debug)]
pub struct Pair {
    setup: Setup,
    // Declared before `lab`: the routers end before their namespaces are removed.
    routers: [Option<Router>; 2],
    _echoes: [UdpEcho; 2],
    lab: Lab,
}

impl Pair {
    /// Creates a lab and starts both routers in it.
    pub fn start(setup: Setup) -> Result<Self> {
        let lab = Lab::new(2)?;
        let echoes = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
        let mut pair = Self { setup, routers: [None, None], _echoes: echoes, lab };
        for router in 0..2 {
            pair.start_router(router)?;
        }
        Ok(pair)
    }

    /// Injects the fault and undoes it once the new Active router has served for `hold`. Returns once the old one has
    /// served again for as long. A keepalived that does not return within three times `hold` is not an error.
    ///
    /// `phase` is the moment of the fault within an advertisement interval, in hundredths. `slack` is how long after an
    /// isolation two routers may still serve, in addition to an interval.
    pub fn suffer(&mut self, fault: Fault, phase: u32, hold: Duration, slack: Duration) -> Result<Outcome> {
        let [old, new] = [Hosts::one(0), Hosts::one(1)];
        let sampler = Serving::start(&self.lab, self.setup.destination())?;
        eventually("only the first router serves", PATIENCE, || serves(&sampler, |hosts| hosts == old))?;
        thread::sleep(hold / 2 + self.setup.interval * phase / 100);

        let struck = Instant::now();
        self.inject(fault)?;
        eventually("the second router serves", PATIENCE, || serves(&sampler, |hosts| hosts.or(new) == hosts))?;
        thread::sleep(hold);
        self.undo(fault)?;
        let undone = Instant::now();
        // With keepalived, two routers may keep serving.
        let back = eventually("only the first router serves again", self.patience(hold), || {
            serves(&sampler, |hosts| hosts == old)
        });
        thread::sleep(hold);
        let seen = sampler.finish();
        if self.setup.program == Program::Xvrrp {
            back.with_context(|| format!("{seen:?}"))?;
        }
        self.outcome(fault, struck, undone, slack, seen)
    }

    fn patience(&self, hold: Duration) -> Duration {
        match self.setup.program {
            Program::Xvrrp => PATIENCE,
            Program::Keepalived => hold * 3,
        }
    }

    fn outcome(
        &self,
        fault: Fault,
        struck: Instant,
        undone: Instant,
        slack: Duration,
        seen: ServingTimeline,
    ) -> Result<Outcome> {
        let serves = |sample: &&Sample, host| sample.answering(Kind::Udp).contains(host);
        let samples = seen.samples();
        let first_of_new = samples.iter().find(|sample| sample.at >= struck && serves(sample, 1));
        let first_of_new = first_of_new.context("the second router never served after the fault")?.at;
        // What an isolated router serves reaches nobody.
        let end_of_old = if fault == Fault::Isolate { struck } else { first_of_new };
        let last_of_old = samples.iter().rfind(|sample| sample.at < end_of_old && serves(sample, 0));
        let last_of_old = last_of_old.context("the first router never served before the takeover")?.at;
        let whole_from = undone + self.setup.interval + slack;
        let mut served_twice = seen.served_twice();
        served_twice.retain(|sample| fault != Fault::Isolate || sample.at < struck || sample.at > whole_from);
        Ok(Outcome { gap: first_of_new - last_of_old, takeover: first_of_new - struck, served_twice, seen })
    }

    fn inject(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill => self.old()?.signal(Signal::SIGKILL),
            Fault::Stop => self.old()?.signal(Signal::SIGSTOP),
            Fault::Pull => self.lab.pull(0),
            Fault::Isolate => self.lab.isolate(0),
        }
    }

    fn undo(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill => self.start_router(0),
            Fault::Stop => self.old()?.signal(Signal::SIGCONT),
            Fault::Pull => self.lab.plug(0),
            Fault::Isolate => self.lab.rejoin(0),
        }
    }

    fn old(&self) -> Result<&Router> {
        self.routers[0].as_ref().context("the first router does not run")
    }

    /// Starts a router for the first time, or again after it has ended.
    fn start_router(&mut self, index: usize) -> Result<()> {
        let host = &self.lab.routers[index];
        let router = match (self.routers[index].take(), self.setup.program) {
            (Some(Router::Xvrrp(agent)), _) => Router::Xvrrp(agent.restart(host, &[self.xvrrp_config(index)])?),
            (_, Program::Xvrrp) => Router::Xvrrp(Xvrrp::start(host, &[self.xvrrp_config(index)])?),
            (_, Program::Keepalived) => {
                let config = KeepalivedConfig {
                    advert_int: self.setup.interval.as_secs_f64(),
                    ..KeepalivedConfig::v3(VRID, PRIORITIES[index])
                };
                Router::Keepalived(Keepalived::start(host, &config)?)
            }
        };
        self.routers[index] = Some(router);
        Ok(())
    }

    fn xvrrp_config(&self, index: usize) -> VirtualRouter {
        VirtualRouter::lan(PRIORITIES[index])
            .with("advert_interval", &format!("\"{}ms\"", self.setup.interval.as_millis()))
            .with("virtual_mac", &self.setup.virtual_mac.to_string())
    }

    /// Returns the logs of both routers.
    pub fn logs(&self) -> String {
        let logs = self.routers.iter().flatten().map(|router| match router {
            Router::Xvrrp(agent) => agent.daemon.log(),
            Router::Keepalived(daemon) => daemon.daemon.log(),
        });
        logs.collect::<Vec<_>>().join("---\n")
    }
}

/// Fails unless the hosts that answered the latest sample meet the condition.
fn serves(sampler: &Serving, expected: impl Fn(Hosts) -> bool) -> Result<()> {
    let hosts = sampler.latest(Kind::Udp).context("no samples yet")?;
    ensure!(expected(hosts), "{hosts:?} serve");
    Ok(())
}

#[derive(Debug)]
enum Router {
    Xvrrp(Xvrrp),
    Keepalived(Keepalived),
}

impl Router {
    fn signal(&self, signal: Signal) -> Result<()> {
        match self {
            Self::Xvrrp(agent) => Ok(kill(pid(agent.daemon.pid())?, signal)?),
            Self::Keepalived(daemon) => {
                // keepalived is a parent that starts a child, starts it again if it ends, and ends with it. The parent
                // is stopped first, so that it cannot do either.
                let parent = daemon.daemon.pid();
                let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
                let parent = pid(parent)?;
                if signal != Signal::SIGCONT {
                    kill(parent, Signal::SIGSTOP)?;
                }
                for child in children.split_whitespace() {
                    kill(pid(child.parse()?)?, signal)?;
                }
                Ok(kill(parent, signal)?)
            }
        }
    }
}

fn pid(number: u32) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(number)?))
}
