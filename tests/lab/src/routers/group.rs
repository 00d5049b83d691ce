//! Groups of routers of several implementations that share virtual addresses.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::probe::{UdpEcho, UdpProbe, ask_for};
use crate::{
    Frr, FrrConfig, INTERFACE, Keepalived, KeepalivedConfig, Lab, Namespace, PATIENCE, VirtualRouter, Xvrrp, eventually,
};

/// How long answers to an ARP request are collected. They normally come within microseconds.
const ANSWERS_WITHIN: Duration = Duration::from_millis(200);

/// Time between two datagrams of the client.
const PACE: Duration = Duration::from_millis(10);

/// The program that runs on a router, with its configuration.
#[derive(Clone, Debug)]
pub enum Implementation {
    /// An agent.
    Xvrrp(VirtualRouter),
    /// keepalived.
    Keepalived(KeepalivedConfig),
    /// vrrpd of FRR.
    Frr(FrrConfig),
}

/// The role of a router.
#[derive(Clone, Copy)]
enum Role {
    Active,
    Backup,
}

#[derive(Debug)]
enum Running {
    Xvrrp(Xvrrp),
    Keepalived(Keepalived),
    Frr(Frr),
}

impl Running {
    fn start(namespace: &Namespace, implementation: &Implementation) -> Result<Self> {
        Ok(match implementation {
            Implementation::Xvrrp(config) => Self::Xvrrp(Xvrrp::start(namespace, std::slice::from_ref(config))?),
            Implementation::Keepalived(config) => Self::Keepalived(Keepalived::start(namespace, config)?),
            Implementation::Frr(config) => Self::Frr(Frr::start(namespace, config)?),
        })
    }

    fn wait_for(&mut self, role: Role) -> Result<()> {
        match (self, role) {
            (Self::Xvrrp(agent), Role::Active) => agent.wait_for_state("lan", "active"),
            (Self::Xvrrp(agent), Role::Backup) => agent.wait_for_state("lan", "backup"),
            (Self::Keepalived(keepalived), Role::Active) => keepalived.wait_for_state("MASTER"),
            (Self::Keepalived(keepalived), Role::Backup) => keepalived.wait_for_state("BACKUP"),
            (Self::Frr(frr), Role::Active) => frr.wait_for_state("Master"),
            (Self::Frr(frr), Role::Backup) => frr.wait_for_state("Backup"),
        }
    }

    fn stop(&mut self) -> Result<()> {
        match self {
            Self::Xvrrp(agent) => {
                let status = agent.stop()?;
                ensure!(status.success(), "the agent failed: {status}");
                Ok(())
            }
            Self::Keepalived(keepalived) => keepalived.stop(),
            Self::Frr(frr) => frr.stop(),
        }
    }

    fn ensure_understood(&self) -> Result<()> {
        match self {
            Self::Xvrrp(agent) => agent.ensure_understood("lan"),
            Self::Keepalived(keepalived) => keepalived.ensure_understood(),
            Self::Frr(frr) => frr.ensure_understood(),
        }
    }
}

/// A lab whose routers run one implementation each, or nothing. Router 0 has the highest priority, the last router the
/// lowest.
#[derive(Debug)]
pub struct Group {
    running: Vec<Option<Running>>,
    implementations: Vec<Implementation>,
    addresses: Vec<IpAddr>,
    traffic: Option<Traffic>,
    lab: Lab,
}

/// A service at the virtual addresses, and a client that uses it at each of them continuously.
#[derive(Debug)]
struct Traffic {
    probes: Vec<UdpProbe>,
    _services: Vec<UdpEcho>,
}

impl Group {
    /// Creates a group in which nothing runs yet. The client will be served at `addresses`, at most one of which is an
    /// IPv4 address.
    pub fn new(lab: Lab, addresses: &[IpAddr], implementations: Vec<Implementation>) -> Result<Self> {
        // Otherwise the kernel ignores a change of a neighbor's MAC within a second of the previous one. Roles change
        // faster than that here, and not all implementations use the virtual MAC.
        lab.client.sysctl(&format!("net.ipv4.neigh.{INTERFACE}.locktime"), "0")?;
        let running = implementations.iter().map(|_| None).collect();
        Ok(Self { running, implementations, addresses: addresses.to_vec(), traffic: None, lab })
    }

    /// Starts the implementation of a router.
    fn start(&mut self, router: usize) -> Result<()> {
        let (namespace, implementation) = (&self.lab.routers[router], &self.implementations[router]);
        match (&mut self.running[router], implementation) {
            // The agent was killed.
            (Some(Running::Xvrrp(agent)), Implementation::Xvrrp(config)) => {
                agent.start_again(namespace, std::slice::from_ref(config))
            }
            (running, _) => {
                *running = Some(Running::start(namespace, implementation)?);
                Ok(())
            }
        }
    }

    /// Stops it as an operator would.
    fn stop(&mut self, router: usize) -> Result<()> {
        let mut running = self.running[router].take().with_context(|| format!("nothing runs on router {router}"))?;
        running.ensure_understood()?;
        running.stop()
    }

    fn wait_for(&mut self, router: usize, role: Role) -> Result<()> {
        let running = self.running[router].as_mut();
        running.with_context(|| format!("nothing runs on router {router}"))?.wait_for(role)
    }

    /// Waits until the router `active` is Active, those of `others` are Backups, and only the Active one serves the
    /// client.
    fn settle(&mut self, active: usize, others: &[usize]) -> Result<()> {
        self.wait_for(active, Role::Active)?;
        others.iter().try_for_each(|&router| self.wait_for(router, Role::Backup))?;
        if let Some(address) = self.ipv4() {
            eventually(&format!("exactly one router answers ARP for {address}"), PATIENCE, || {
                let answers = ask_for(&self.lab.client, INTERFACE, address, ANSWERS_WITHIN)?;
                ensure!(answers.len() == 1, "{answers:?}");
                Ok(())
            })?;
        }
        if let Some(traffic) = &self.traffic {
            let host = u8::try_from(active)?;
            traffic.probes.iter().try_for_each(|probe| probe.wait_for_answer_from(host, PATIENCE))?;
        }
        self.ping()
    }

    /// Starts the routers, the one with the lowest priority first. Then stops, cuts off and kills routers and brings
    /// them back. Each time, all routers must get the roles that their priorities demand. Fails if the client is ever
    /// without an answer for longer than `outage`.
    pub fn change_roles(&mut self, outage: Duration) -> Result<()> {
        let last = self.implementations.len() - 1;
        let after = |router: usize| (router + 1..=last).collect::<Vec<_>>();
        for router in (0..=last).rev() {
            self.start(router)?;
            self.settle(router, &after(router))?;
            if router == last {
                self.start_traffic()?;
            }
        }

        self.stop(0)?;
        self.settle(1, &after(1))?;
        self.start(0)?;
        self.settle(0, &after(0))?;

        for router in 0..last {
            self.lab.pull(router)?;
            self.settle(router + 1, &after(router + 1))?;
        }
        for router in (0..last).rev() {
            self.lab.plug(router)?;
            self.settle(router, &after(router))?;
        }

        if let Some(Running::Xvrrp(agent)) = &mut self.running[0] {
            agent.kill()?;
            self.settle(1, &after(1))?;
            self.start(0)?;
            self.settle(0, &after(0))?;
        }
        self.running.iter().flatten().try_for_each(Running::ensure_understood)?;
        self.end_traffic(outage)
    }

    fn start_traffic(&mut self) -> Result<()> {
        let services = self.lab.routers.iter().zip(0..).map(|(router, host)| UdpEcho::start(router, host));
        let services = services.collect::<Result<_>>()?;
        let probes = self.addresses.iter().map(|address| UdpProbe::start(&self.lab.client, *address, PACE));
        self.traffic = Some(Traffic { probes: probes.collect::<Result<_>>()?, _services: services });
        Ok(())
    }

    fn end_traffic(&mut self, outage: Duration) -> Result<()> {
        if let Some(traffic) = self.traffic.take() {
            for (probe, address) in traffic.probes.into_iter().zip(&self.addresses) {
                let seen = probe.finish();
                let (_, gap) =
                    seen.longest_gap().with_context(|| format!("no router ever answered the client at {address}"))?;
                ensure!(gap < outage, "no router answered at {address} for {gap:?}: {:?}", seen.reigns());
            }
        }
        Ok(())
    }

    /// Waits until each of several pings to each address is answered exactly once.
    fn ping(&self) -> Result<()> {
        self.addresses.iter().try_for_each(|address| {
            eventually(&format!("{address} answers each ping once"), PATIENCE, || {
                let report = self.lab.client.sh(&format!("ping -n -c 4 -i 0.05 -W 1 {address}"))?;
                ensure!(report.contains(" 0% packet loss") && !report.contains("DUP"), "{report}");
                Ok(())
            })
        })
    }

    fn ipv4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
    }
}
