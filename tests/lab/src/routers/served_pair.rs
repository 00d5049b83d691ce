//! An Active router and its Backup, with a service at the virtual address and a client that uses it.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::probe::{UdpEcho, UdpProbe};
use crate::{Lab, PATIENCE, VIP, VirtualRouter, Xvrrp};

/// Time between two datagrams of the client.
const PROBE: Duration = Duration::from_millis(1);
/// Longer than the Active_Down_Interval, so that a wrong takeover shows: at 100 ms adverts, and at 1 s.
const AFTERMATHS: [Duration; 2] = [Duration::from_millis(600), Duration::from_millis(4500)];

/// Two agents on the first two routers of the lab. The Backup has the virtual router `lan` with priority 100.
#[derive(Debug)]
pub struct ServedPair {
    /// Agent of the first router.
    pub active: Xvrrp,
    /// Agent of the second router.
    pub backup: Xvrrp,
    /// Probe that a client sends to the virtual address of `lan`.
    pub probe: UdpProbe,
    aftermath: Duration,
    _echoes: [UdpEcho; 2],
    /// The lab, which outlives the agents.
    pub lab: Lab,
}

impl ServedPair {
    /// Starts both agents in a new lab. `active` are the virtual routers of the first one, `lan` among them.
    pub fn new(active: &[VirtualRouter]) -> Result<Self> {
        Self::in_lab(Lab::new(2)?, active)
    }

    /// Starts both agents in this lab.
    pub fn in_lab(lab: Lab, active: &[VirtualRouter]) -> Result<Self> {
        let first = Xvrrp::start(&lab.routers[0], active)?;
        Self::with(lab, first)
    }

    /// Adds the Backup, the service and the client to an agent that runs already.
    pub fn with(lab: Lab, active: Xvrrp) -> Result<Self> {
        Self::beside(lab, active, VirtualRouter::lan(100), AFTERMATHS[0])
    }

    /// Does the same for an agent that has [`VirtualRouter::unhurried_lan`].
    pub fn with_unhurried(lab: Lab, active: Xvrrp) -> Result<Self> {
        Self::beside(lab, active, VirtualRouter::unhurried_lan(100), AFTERMATHS[1])
    }

    fn beside(lab: Lab, mut active: Xvrrp, backup: VirtualRouter, aftermath: Duration) -> Result<Self> {
        let echoes = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
        active.wait_for_state("lan", "active")?;
        let mut backup = Xvrrp::start(&lab.routers[1], &[backup])?;
        backup.wait_for_state("lan", "backup")?;
        let probe = UdpProbe::start(&lab.client, VIP, PROBE)?;
        probe.wait_for_answer_from(0, PATIENCE)?;
        Ok(Self { active, backup, probe, aftermath, _echoes: echoes, lab })
    }

    /// Fails unless the first router has answered every datagram and the second one never became Active. Returns the
    /// agents and the lab.
    pub fn check_undisturbed(self) -> Result<(Xvrrp, Xvrrp, Lab)> {
        let Self { active, backup, probe, aftermath, _echoes, lab } = self;
        thread::sleep(aftermath);
        let seen = probe.finish();
        let (lost, hosts, gap) = (seen.lost(), seen.hosts(), seen.longest_gap().map(|(_, gap)| gap));
        let logs = || format!("{}\n{}", active.daemon.log(), backup.daemon.log());
        // On a busy machine, answers may be late, but none may be missing.
        ensure!(lost == 0 && hosts == [0], "{lost} lost, longest gap {gap:?}, answers from {hosts:?}\n{}", logs());
        ensure!(backup.transitions("lan", "active") == 0, "the Backup took over:\n{}", logs());
        Ok((active, backup, lab))
    }
}
