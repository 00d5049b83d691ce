//! The management side: brings the agent up in order, reports and serves while it runs, and takes it down again.
//!
//! Whatever it puts on the host it undoes on every way out of [`run`], unless a successor takes it over; what a crash left
//! is taken over or undone by the next start.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::SigSet;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::adoption::adopt;
use crate::attachment_watch::AttachmentWatch;
use crate::config::{Config, host};
use crate::control::{Answer, Request, Server, Singleton};
use crate::dataplane::{Attachments, Capacity, Dataplane, Pins, Predecessor, Tables, XdpMode};
use crate::election::{self, Command, Ending, Instance, InstanceConfig};
use crate::inspector::Inspector;
use crate::net::{Interface, LinkChange, LinkMonitor, LinkNews, Netlink, PacketSocket};
use crate::plan::{Plan, facts, plans};
use crate::report::{self, Reporter};
use crate::unicast_filters::UnicastFilters;
use crate::{addresses, clock, handover};

/// How often the counters are looked through for discarded packets, to tell of them.
const DISCARD_CHECK: Duration = Duration::from_secs(10);
/// After a failure to accept a client, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Where opened unicast filters are written down, beside the control socket.
pub const FILTER_RECORD: &str = "unicast-filters.json";

/// Checks the configuration against the host, without touching it.
pub async fn check(config: &Config) -> anyhow::Result<()> {
    checked_interfaces(config, &Netlink::open()?).await?;
    Ok(())
}

/// Runs the agent until SIGTERM or SIGINT, or until a successor takes over from it. With `replace` it takes over itself,
/// from the agent that runs, if one does.
pub async fn run(config: &Config, replace: bool) -> anyhow::Result<()> {
    let netlink = Netlink::open()?;
    // Before the interfaces are looked at: no change after that look is missed.
    let links = LinkMonitor::open()?;
    let interfaces = checked_interfaces(config, &netlink).await?;
    let capacity = capacity(config)?;
    let pins = Pins::below(&config.agent.bpffs)?;
    // Loading takes longest: where that can be done beside the other agent, it is done before that one goes.
    let loaded = match pins.predecessor(capacity) {
        Predecessor::Compatible(_) if replace => Some(Dataplane::open(capacity, &pins)?),
        _ => None,
    };
    let _singleton = if replace { handover::take_over(&config.agent.control).await? } else { Singleton::claim()? };
    // The other agent may have changed them since.
    let interfaces = if replace { checked_interfaces(config, &netlink).await? } else { interfaces };
    let mut plans = plans(config, &interfaces);
    let server = Server::open(&config.agent.control)?;
    let signals = Signals::listen()?;
    let mut filters = UnicastFilters::recover(netlink.clone(), config.agent.control.with_file_name(FILTER_RECORD))?;
    let (Dataplane { mut attachments, tables }, predecessor) = match loaded {
        Some(loaded) => loaded,
        None => {
            if let Predecessor::Incompatible(_) = pins.predecessor(capacity) {
                // Before the kernel half goes that drops ARP for them.
                remove_stale_addresses(&netlink, &BTreeSet::new()).await?;
            }
            Dataplane::open(capacity, &pins)?
        }
    };
    report::tell_of_predecessor(&predecessor);

    let host = Host { config, netlink: &netlink, interfaces: &interfaces };
    let outcome =
        host.serve(&mut plans, (tables, &predecessor), &mut attachments, &mut filters, server, links, signals).await;
    if let Ok(Ending::HandedOver) = outcome {
        tracing::info!("handed over to a successor");
        attachments.leave();
        return Ok(());
    }
    // Until the addresses are gone, the kernel half drops ARP for them. A start that failed has left a predecessor's.
    let removed = remove_stale_addresses(&netlink, &BTreeSet::new()).await;
    let detached = attachments.detach_all();
    let closed = filters.close_all(&interfaces).await;
    outcome?;
    removed?;
    closed?;
    Ok(detached?)
}

async fn checked_interfaces(config: &Config, netlink: &Netlink) -> anyhow::Result<Vec<Interface>> {
    let interfaces = netlink.interfaces().await?;
    let facts: Vec<_> = interfaces.iter().map(facts).collect();
    host::check(config, &facts)?;
    Ok(interfaces)
}

fn capacity(config: &Config) -> anyhow::Result<Capacity> {
    let routers = &config.virtual_routers;
    let count = |numbers: &mut dyn Iterator<Item = usize>| u32::try_from(numbers.sum::<usize>());
    Ok(Capacity {
        routers: u32::try_from(routers.len())?,
        vips: count(&mut routers.iter().map(|router| router.addresses.len()))?,
        sources: count(&mut routers.iter().map(|router| router.allowed_sources.len()))?,
    })
}

/// What stays as it is from start to end.
struct Host<'a> {
    config: &'a Config,
    netlink: &'a Netlink,
    interfaces: &'a [Interface],
}

impl Host<'_> {
    /// From the first program attached to the last role given up.
    #[expect(clippy::too_many_arguments, reason = "each thing that was opened, once")]
    async fn serve(
        &self,
        plans: &mut [Plan<'_>],
        (mut tables, predecessor): (Tables, &Predecessor),
        attachments: &mut Attachments,
        filters: &mut UnicastFilters,
        server: Server,
        mut links: LinkMonitor,
        mut signals: Signals,
    ) -> anyhow::Result<Ending> {
        adopt(plans, &mut tables, clock::now())?;
        let plans = &*plans;
        let modes = attach(plans, attachments, predecessor)?;
        let going_on = plans.iter().flat_map(|plan| {
            let placement = plan.placement();
            placement.installed.into_iter().map(move |(address, _)| (placement.ifindex, address))
        });
        remove_stale_addresses(self.netlink, &going_on.collect()).await?;
        tokio::spawn(attachments.forward_log()?);
        let virtual_macs: Vec<_> =
            plans.iter().filter(|plan| plan.config.virtual_mac).map(|plan| (plan.interface, plan.mac)).collect();
        filters.open(&virtual_macs, self.interfaces).await?;

        let counters = Arc::new(tables.take_counters()?);
        let realtime_priority = self.config.agent.realtime_priority;
        let instances = instances(plans)?;
        let placements = plans.iter().map(Plan::placement).collect();
        let addresses = addresses::spawn(placements, realtime_priority).context("cannot start the address thread")?;
        let mut election = election::spawn(tables, instances, addresses.requests.clone(), realtime_priority)
            .context("cannot start the election thread")?;
        let inspector = Inspector::new(self.config, plans, &modes, Arc::clone(&counters), election.commands.clone());
        let service = spawn_server(server, inspector, election.commands.clone());
        let mut reporter = Reporter::new(plans, counters);
        let mut discard_check = tokio::time::interval(DISCARD_CHECK);
        let mut watch = AttachmentWatch::new(plans);
        let mut watching_links = true;

        loop {
            tokio::select! {
                report = election.reports.recv() => match report {
                    Some(report) => reporter.report(&report),
                    // The thread has ended, asked to or not.
                    None => break,
                },
                change = links.next(), if watching_links => match change {
                    Some(LinkNews::Change(change)) => tell_of_link(change, &watch, &election.commands),
                    Some(LinkNews::Missed) => {
                        for interface in self.netlink.interfaces().await.unwrap_or_default() {
                            tell_of_link(interface.link(), &watch, &election.commands);
                        }
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
                () = watch.tick() => watch.check(attachments, self.netlink, &election.commands).await,
            }
        }
        let (_tables, outcome) = election.join();
        addresses.join();
        service.abort();
        Ok(outcome?)
    }
}

/// Removes addresses of an agent that did not end as it should, but for those to `keep`.
async fn remove_stale_addresses(netlink: &Netlink, keep: &BTreeSet<(u32, Ipv4Addr)>) -> anyhow::Result<()> {
    let (removed, failures) = netlink.remove_stale_addresses(keep).await?;
    for address in removed {
        tracing::warn!("removed {address}, which an agent that did not end properly had left");
    }
    failures.into_iter().next().map_or(Ok(()), |failure| Err(failure.into()))
}

fn tell_of_link(change: LinkChange, watch: &AttachmentWatch, election: &mpsc::UnboundedSender<Command>) {
    let LinkChange { ifindex, running, mac } = change;
    let running = running && !watch.has_lost(ifindex);
    let _ = election.send(Command::Interface { ifindex, running, mac });
}

/// Attaches the kernel half to every interface that has a virtual router.
fn attach(
    plans: &[Plan<'_>],
    attachments: &mut Attachments,
    predecessor: &Predecessor,
) -> anyhow::Result<BTreeMap<u32, XdpMode>> {
    let mut modes = BTreeMap::new();
    for Plan { interface, .. } in plans {
        if let Entry::Vacant(vacant) = modes.entry(interface.ifindex) {
            // What was seen there before may have been a predecessor's, and is gone now.
            let occupant = interface.xdp.filter(|_| !matches!(predecessor, Predecessor::Incompatible(_)));
            let mode = attachments.attach(&interface.name, interface.ifindex, occupant)?;
            tracing::info!(interface = %interface.name, xdp_mode = %mode, "kernel half attached");
            vacant.insert(mode);
        }
    }
    attachments.detach_others();
    Ok(modes)
}

fn instances(plans: &[Plan<'_>]) -> anyhow::Result<Vec<Instance>> {
    let mut instances = Vec::with_capacity(plans.len());
    for plan in plans {
        let Interface { name, ifindex, running, .. } = plan.interface;
        // One each: what one of them sends takes no room from another's adverts.
        let socket = PacketSocket::open(*ifindex).with_context(|| format!("cannot send on {name}"))?;
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
            resume: plan.resume,
            running: *running,
        });
        instances.push(
            instance.with_context(|| format!("virtual_router \"{}\": no advert can be built", plan.config.name))?,
        );
    }
    Ok(instances)
}

/// Answers clients until aborted, each in a task of its own: a silent one holds nobody up.
fn spawn_server(server: Server, inspector: Inspector, election: mpsc::UnboundedSender<Command>) -> JoinHandle<()> {
    let inspector = Arc::new(inspector);
    tokio::spawn(async move {
        loop {
            match server.accept().await {
                Ok(client) => {
                    let (inspector, election) = (Arc::clone(&inspector), election.clone());
                    tokio::spawn(async move {
                        let mut handing_over = false;
                        let answered = client
                            .serve(async |request| match request {
                                Request::Status => Answer::Status(inspector.status().await),
                                Request::HandOver => {
                                    handing_over = true;
                                    Answer::HandingOver { handing_over }
                                }
                            })
                            .await;
                        // Whoever has gone in the meantime will not follow us.
                        if answered && handing_over {
                            let _ = election.send(Command::HandOver);
                        }
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
