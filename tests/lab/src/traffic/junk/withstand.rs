//! Floods one router of a pair with junk, and records how both routers behave.
//!
//! The flood leaves the switch port of the router as fast as one processor can send. A frame is lost on the way to the
//! kernel half only if the backlog of the processor is full, which the port counts.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::unistd::Pid;

use super::Junk;
use super::counts::{Counts, SERVED};
use crate::probe::{Destination, Gap, Hosts, Kind, Serving};
use crate::traffic::flood::{Flood, Handed, dropped};
use crate::{Lab, Pair};

/// Limit of the processor time of an agent during a flood, as a share of one processor.
pub const CPU_SHARE: f64 = 0.02;
/// How long frames may take from the port to the counter.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// The router that is flooded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The router that has the role.
    Active,
    /// The router that would take over.
    Backup,
}

impl Target {
    /// Both routers.
    pub const ALL: [Self; 2] = [Self::Active, Self::Backup];

    /// Returns the name that reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Backup => "Backup",
        }
    }

    /// Returns its index in the pair.
    pub const fn router(self) -> usize {
        match self {
            Self::Active => 0,
            Self::Backup => 1,
        }
    }
}

/// What a flood and the routers did.
#[derive(Clone, Copy, Debug)]
pub struct Withstood {
    /// Frames of the flood.
    pub handed: Handed,
    /// Frames that were lost on the way to the router.
    pub lost: u64,
    /// Frames that the router counted in the right counters.
    pub counted: u64,
    /// Processor time of the Active router's agent and of the Backup's, as shares of one processor.
    pub shares: [f64; 2],
    /// Changes of state of both agents.
    pub changes: usize,
    /// Frames that the Backup answered or admitted.
    pub served_by_backup: u64,
    /// Samples in which both routers served; 0 if there was no sampler.
    pub served_twice: usize,
}

impl Withstood {
    /// Whether neither role has changed and the Backup has not served.
    pub fn roles_held(&self) -> bool {
        self.changes == 0 && self.served_by_backup == 0 && self.served_twice == 0
    }

    /// Whether every frame was either counted or lost on the way.
    pub fn adds_up(&self) -> bool {
        self.counted + self.lost == self.handed.frames
    }

    /// Whether each agent used less than this share of a processor.
    pub fn was_cheap(&self, max: f64) -> bool {
        self.shares.iter().all(|share| *share < max)
    }
}

impl fmt::Display for Withstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { handed, lost, counted, shares: [active, backup], changes, served_by_backup, served_twice } = self;
        write!(
            f,
            "{} frames ({:.0}/s): {counted} counted, {lost} lost; the agents took {:.2} % and {:.2} %; {changes} changes of \
             state, {served_by_backup} requests served by the Backup, {served_twice} samples with two servers",
            handed.frames,
            handed.rate(),
            active * 100.0,
            backup * 100.0
        )
    }
}

impl Junk {
    /// Floods one of the routers. Both should run [`crate::probe::UdpEcho`], because a sampler asks them who serves,
    /// unless the flood consists of such requests.
    pub fn flood(self, pair: &Pair, target: Target, length: Duration) -> Result<Withstood> {
        pair.settle()?;
        let flood = Flood::of(self.frames(&pair.lab, target)?);
        let sampler = self.allows_sampling().then(|| Serving::start(&pair.lab, Destination::VirtualMac(51)));
        let sampler = sampler.transpose()?;
        let (router, switch) = (target.router(), pair.lab.switch());
        let port = Lab::port(router);
        let changes = pair.changes();
        let before = Counts::look(pair, router)?.sum(self.counters(target));
        let served_before = Counts::look(pair, Target::Backup.router())?.sum(SERVED);
        let lost_before = dropped(switch, &port)?;
        let used_before = used(pair)?;

        let start = Instant::now();
        let handed = flood.send(switch, &port, length)?;
        let took = start.elapsed();

        let used = used(pair)?;
        // The frames of the last system call may still be on their way.
        let arrived = || -> Result<(u64, u64)> {
            let lost = dropped(switch, &port)? - lost_before;
            Ok((Counts::look(pair, router)?.sum(self.counters(target)) - before, lost))
        };
        let (mut counted, mut lost) = arrived()?;
        let deadline = Instant::now() + ON_ITS_WAY;
        while counted + lost < handed.frames && Instant::now() < deadline {
            (counted, lost) = arrived()?;
        }
        let served_by_backup = Counts::look(pair, Target::Backup.router())?.sum(SERVED) - served_before;
        let seen = sampler.map(Serving::finish);
        if let Some(seen) = &seen {
            let silent: Duration = seen.gaps(Kind::Arp).iter().map(Gap::length).sum();
            ensure!(seen.hosts(Kind::Arp).contains(&Hosts::one(0)), "the Active router never answered the sampler");
            ensure!(silent < length / 2, "the Active router did not answer the sampler for {silent:?}");
        }
        Ok(Withstood {
            handed,
            lost,
            counted,
            shares: [0, 1].map(|agent| (used[agent] - used_before[agent]).as_secs_f64() / took.as_secs_f64()),
            changes: pair.changes_once_logged() - changes,
            served_by_backup,
            served_twice: seen.map_or(0, |seen| seen.served_twice().len()),
        })
    }
}

/// Returns the processor time of each agent so far.
fn used(pair: &Pair) -> Result<[Duration; 2]> {
    let used = |router: usize| -> Result<Duration> {
        let pid = Pid::from_raw(i32::try_from(pair.agents[router].daemon.pid())?);
        Ok(nix::time::clock_getcpuclockid(pid)?.now()?.into())
    };
    Ok([used(0)?, used(1)?])
}
