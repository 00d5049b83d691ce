//! The management side: brings the agent up in order, reports and serves while it runs, and takes it down again.
//!
//! Whatever it puts on the host it undoes on every way out of [`run`]; what a crash left is undone by the next start.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::SigSet;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::addresses;
use crate::config::{Config, host};
use crate::control::{Request, Server, Singleton};
use crate::dataplane::{Capacity, Dataplane, XdpMode};
use crate::election::{self, Command, Instance, InstanceConfig};
use crate::inspector::Inspector;
use crate::net::{Interface, LinkChange, LinkMonitor, Netlink, PacketSocket};
use crate::plan::{Plan, facts, plans};
use crate::report::Reporter;
use crate::unicast_filters::UnicastFilters;

/// How often the counters are looked through for discarded packets, to tell of them.
const DISCARD_CHECK: Duration = Duration::from_secs(10);
/// After a failure to accept a client, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Where opened unicast filters are written down, beside the control socket.
const FILTER_RECORD: &str = "unicast-filters.json";

/// Checks the configuration against the host, without touching it.
pub async fn check(config: &Config) -> anyhow::Result<()> {
    checked_interfaces(config, &Netlink::open()?).await?;
    Ok(())
}

/// Runs the agent until SIGTERM or SIGINT.
pub async fn run(config: &Config) -> anyhow::Result<()> {
    let netlink = Netlink::open()?;
    // Before the interfaces are looked at: no change after that look is missed.
    let links = LinkMonitor::open()?;
    let interfaces = checked_interfaces(config, &netlink).await?;
    let _singleton = Singleton::claim()?;
    let server = Server::open(&config.agent.control)?;
    let signals = Signals::listen()?;

    remove_stale_addresses(&netlink).await?;
    let record = config.agent.control.with_file_name(FILTER_RECORD);
    let mut filters = UnicastFilters::recover(netlink.clone(), record, &interfaces).await?;
    let plans = plans(config, &interfaces);
    let outcome = serve(config, &plans, &mut filters, server, links, signals).await;
    let closed = filters.close_all(&interfaces).await;
    outcome.and(closed.map_err(Into::into))
}

async fn checked_interfaces(config: &Config, netlink: &Netlink) -> anyhow::Result<Vec<Interface>> {
    let interfaces = netlink.interfaces().await?;
    let facts: Vec<_> = interfaces.iter().map(facts).collect();
    host::check(config, &facts)?;
    Ok(interfaces)
}

async fn remove_stale_addresses(netlink: &Netlink) -> anyhow::Result<()> {
    let (removed, failures) = netlink.remove_stale_addresses().await?;
    for address in removed {
        tracing::warn!("removed {address}, which an agent that did not end properly had left");
    }
    failures.into_iter().next().map_or(Ok(()), |failure| Err(failure.into()))
}

/// From the first program attached to the last one detached.
async fn serve(
    config: &Config,
    plans: &[Plan<'_>],
    filters: &mut UnicastFilters,
    server: Server,
    mut links: LinkMonitor,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let (mut dataplane, modes) = data_path(plans)?;
    tokio::spawn(dataplane.forward_log()?);
    let counters = Arc::new(dataplane.take_counters()?);
    let virtual_macs: Vec<_> =
        plans.iter().filter(|plan| plan.config.virtual_mac).map(|plan| (plan.interface, plan.mac)).collect();
    filters.open(&virtual_macs).await?;
    let mut watching_links = true;

    let realtime_priority = config.agent.realtime_priority;
    let placements = plans.iter().map(Plan::placement).collect();
    let addresses = addresses::spawn(placements, realtime_priority).context("cannot start the address thread")?;
    let mut election = election::spawn(dataplane, instances(plans)?, addresses.requests.clone(), realtime_priority)
        .context("cannot start the election thread")?;
    let inspector = Inspector::new(config, plans, &modes, Arc::clone(&counters), election.commands.clone());
    let service = spawn_server(server, inspector);
    let mut reporter = Reporter::new(plans, counters);
    let mut discard_check = tokio::time::interval(DISCARD_CHECK);

    loop {
        tokio::select! {
            report = election.reports.recv() => match report {
                Some(report) => reporter.report(&report),
                // The thread has ended, asked to or not.
                None => break,
            },
            change = links.next(), if watching_links => match change {
                Some(LinkChange { ifindex, running }) => {
                    let _ = election.commands.send(Command::Interface { ifindex, running });
                }
                None => {
                    watching_links = false;
                    tracing::error!("the kernel's link notifications have ended: a lost carrier goes unnoticed");
                }
            },
            (name, stop) = signals.next() => if stop {
                tracing::info!("{name}: giving up every role");
                let _ = election.commands.send(Command::Stop);
            } else {
                tracing::warn!("{name}: this version cannot reload its configuration; restart it instead");
            },
            _ = discard_check.tick() => reporter.report_discards(),
        }
    }
    let (dataplane, outcome) = election.join();
    // The addresses go while the kernel half still drops ARP for them.
    addresses.join();
    service.abort();
    drop(dataplane);
    outcome.map_err(Into::into)
}

/// Attaches the kernel half to every interface that has a virtual router, with no role yet.
fn data_path(plans: &[Plan<'_>]) -> anyhow::Result<(Dataplane, BTreeMap<u32, XdpMode>)> {
    let count = |numbers: &mut dyn Iterator<Item = usize>| u32::try_from(numbers.sum::<usize>());
    let mut dataplane = Dataplane::load(Capacity {
        routers: count(&mut plans.iter().map(|_| 1))?,
        vips: count(&mut plans.iter().map(|plan| plan.config.addresses.len()))?,
        sources: count(&mut plans.iter().map(|plan| plan.config.allowed_sources.len()))?,
    })?;
    for plan in plans {
        dataplane.set_router(plan.key, &plan.kernel())?;
        for vip in plan.vips() {
            dataplane.add_vip(vip, plan.key)?;
        }
        for source in plan.allowed_sources() {
            dataplane.allow_source(source)?;
        }
    }
    let mut modes = BTreeMap::new();
    for Plan { interface, .. } in plans {
        if let Entry::Vacant(vacant) = modes.entry(interface.ifindex) {
            let mode = dataplane.attach(&interface.name, interface.ifindex, interface.xdp)?;
            tracing::info!(interface = %interface.name, xdp_mode = %mode, "kernel half attached");
            vacant.insert(mode);
        }
    }
    Ok((dataplane, modes))
}

fn instances(plans: &[Plan<'_>]) -> anyhow::Result<Vec<Instance>> {
    let mut sockets: BTreeMap<u32, Arc<PacketSocket>> = BTreeMap::new();
    let mut instances = Vec::with_capacity(plans.len());
    for plan in plans {
        let Interface { name, ifindex, running, .. } = plan.interface;
        let socket = match sockets.entry(*ifindex) {
            Entry::Occupied(open) => Arc::clone(open.get()),
            Entry::Vacant(vacant) => {
                let socket = PacketSocket::open(*ifindex).with_context(|| format!("cannot send on {name}"))?;
                Arc::clone(vacant.insert(Arc::new(socket)))
            }
        };
        let instance = Instance::new(InstanceConfig {
            index: plan.index,
            key: plan.key,
            kernel: plan.kernel(),
            machine: plan.machine(),
            primary: plan.primary,
            addresses: plan.config.addresses.iter().map(|vip| vip.address).collect(),
            mac: plan.mac,
            password: plan.config.password.map(|password| password.0),
            socket,
            running: *running,
        });
        instances.push(
            instance.with_context(|| format!("virtual_router \"{}\": no advert can be built", plan.config.name))?,
        );
    }
    Ok(instances)
}

/// Answers clients until aborted, each in a task of its own: a silent one holds nobody up.
fn spawn_server(server: Server, inspector: Inspector) -> JoinHandle<()> {
    let inspector = Arc::new(inspector);
    tokio::spawn(async move {
        loop {
            match server.accept().await {
                Ok(client) => {
                    let inspector = Arc::clone(&inspector);
                    tokio::spawn(async move {
                        client
                            .serve(async |request| match request {
                                Request::Status => inspector.status().await,
                            })
                            .await;
                    });
                }
                Err(error) => {
                    tracing::error!("the control socket fails: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        // Whoever started us may have had them blocked, and a child inherits that.
        SigSet::all().thread_unblock().context("cannot unblock signals")?;
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// The name of the next signal, and whether it asks us to stop.
    async fn next(&mut self) -> (&'static str, bool) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", true),
            _ = self.interrupt.recv() => ("SIGINT", true),
            _ = self.hangup.recv() => ("SIGHUP", false),
        }
    }
}
