//! The management side while the agent runs: starts the threads, reports what they do, and answers who asks.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use xvrrp_common::units::Family;

use crate::addresses::Request as AddressRequest;
use crate::adoption::adopt;
use crate::agent::remove_stale_addresses;
use crate::attachment_watch::AttachmentWatch;
use crate::config::{Config, Occasion};
use crate::control::{Answer, Request, Server};
use crate::dataplane::{Attachments, Capacity, Dataplane, Pins, Predecessor, Tables, XdpMode};
use crate::election::{self, Command, Ending, Instance, InstanceConfig, Report, Transition, state_name};
use crate::inspector::{Inspector, Sources, Tally};
use crate::net::{Interface, LinkMonitor, LinkNews, Memberships, Netlink, PacketSocket};
use crate::notify::{self, Notifier};
use crate::plan::{self, Plan};
use crate::reload::Reload;
use crate::report::Reporter;
use crate::signals::{Signals, Told};
use crate::tracking::{self, Tracker, Update, Verdict};
use crate::unicast_filters::UnicastFilters;
use crate::vrrp::{Reason, State};
use crate::{addresses, clock, exposition, metrics, supervisor};

/// How often the counters are looked through for discarded packets, to tell of them.
const DISCARD_CHECK: Duration = Duration::from_secs(10);
/// How long a successor may have to wait for addresses that come or go.
const SETTLE: Duration = Duration::from_secs(1);
/// After a failure to accept a client, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What stays as it is from start to end.
#[derive(Debug)]
pub struct Host<'a> {
    pub config: &'a Config,
    pub capacity: Capacity,
    pub pins: &'a Pins,
    pub predecessor: Predecessor,
    pub netlink: &'a Netlink,
    pub interfaces: &'a [Interface],
}

/// Where others reach us.
#[derive(Debug)]
pub struct Doors {
    pub server: Server,
    pub links: LinkMonitor,
    pub signals: Signals,
    pub reload: Arc<Reload>,
}

/// Why nothing is served any more.
#[derive(Debug)]
pub enum End {
    /// No role is left.
    Stopped,
    /// Roles, leases and addresses are left to another process.
    HandedOver,
    /// The same, but to this process, as it will be.
    Reload(Arc<Reload>),
}

/// What somebody wants of us, beside an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    HandOver,
    Reload,
}

type Modes = BTreeMap<u32, XdpMode>;

impl Host<'_> {
    /// From the first program attached to the last role given up. `attachments` is there afterwards if anything is
    /// attached by us.
    pub async fn serve(
        &self,
        plans: &mut [Plan<'_>],
        attachments: &mut Option<Attachments>,
        filters: &mut UnicastFilters,
        doors: Doors,
    ) -> anyhow::Result<End> {
        let Doors { server, mut links, mut signals, reload } = doors;
        let mut tables = self.tables(plans, attachments)?;
        adopt(plans, &mut tables, clock::now())?;
        let plans = &*plans;
        let modes = match attachments {
            Some(attachments) => Some(self.attach(plans, attachments, filters).await?),
            None => None,
        };
        let placements: Vec<_> = plans.iter().map(Plan::placement).collect();
        let going_on = placements
            .iter()
            .flat_map(|placement| placement.installed.iter().map(move |&(address, _)| (placement.ifindex, address)));
        remove_stale_addresses(self.netlink, &going_on.collect()).await?;

        let _memberships = memberships(plans)?;
        let counters = Arc::new(tables.take_counters()?);
        let realtime_priority = self.config.agent.realtime_priority;
        let instances = instances(plans)?;
        let addresses = addresses::spawn(placements, realtime_priority).context("cannot start the address thread")?;
        let mut election = election::spawn(tables, instances, addresses.requests.clone(), realtime_priority)
            .context("cannot start the election thread")?;
        let modes = match modes {
            Some(modes) => Ok(modes),
            // A predecessor's programs have been at work all the time, and adverts go out again: now ours.
            None => self.replace(plans, attachments, filters).await,
        };
        let (Ok(modes), Some(attachments)) = (&modes, attachments) else {
            let _ = election.commands.send(Command::Stop);
            let _ = election.join();
            addresses.join();
            return Err(modes.err().unwrap_or_else(|| anyhow::anyhow!("the kernel half is not attached")));
        };
        tokio::spawn(attachments.forward_log()?);

        let mut tracker = Tracker::start(self.config, plans.iter().map(|plan| plan.config));
        let notifier = Notifier::new(plans.iter().map(Plan::audience));
        let tally = Arc::new(Tally::new(plans.len()));
        let sources = Sources {
            counters: Arc::clone(&counters),
            checks: tracker.accounts(),
            notify_failures: notifier.failures(),
            transitions: Arc::clone(&tally),
        };
        let inspector = Arc::new(Inspector::new(self.config, plans, modes, sources, election.commands.clone()));
        let metrics = self.config.agent.metrics.map(|address| spawn_metrics(address, Arc::clone(&inspector)));
        let (wishes, mut wished) = mpsc::unbounded_channel();
        let departure = Departure { reload: Arc::clone(&reload), addresses: addresses.requests.downgrade(), wishes };
        let service = spawn_server(server, inspector, departure.clone());
        let mut leaving = None;
        let mut reporter = Reporter::new(plans, counters);
        let mut discard_check = tokio::time::interval(DISCARD_CHECK);
        let mut watch = AttachmentWatch::new(plans);
        let ours: BTreeSet<u32> = plans.iter().map(|plan| plan.interface.ifindex).collect();
        let mut watching_links = true;
        // Whether there were more changes of links than could be told.
        let mut missed = false;

        signals.let_in();
        supervisor::spawn_watchdog(election.commands.clone());
        supervisor::tell_ready(plans.len());
        loop {
            tokio::select! {
                report = election.reports.recv() => match report {
                    Some(report) => {
                        reporter.report(&report);
                        // Who goes on where another agent was has nothing new to tell.
                        if let Report::Transition { router, transition } = report
                            && !matches!(transition.reason, Reason::Resumed)
                        {
                            let change = change(&transition);
                            tally.count(router, change.state);
                            notifier.notify(router, change);
                        }
                    }
                    // The thread has ended, asked to or not.
                    None => break,
                },
                change = links.next(), if watching_links => match change {
                    Some(LinkNews::Change(change)) => watch.tell(change, &election.commands),
                    Some(LinkNews::Missed) => missed = true,
                    None => {
                        watching_links = false;
                        tracing::error!("the kernel's link notifications have ended: a lost carrier goes unnoticed");
                    }
                },
                // Else it is for the new agent.
                Told { signal, stop } = signals.next(), if leaving != Some(Wish::Reload) => if stop {
                    tracing::info!("{signal}: giving up every role");
                    supervisor::tell_stopping();
                    let _ = election.commands.send(Command::Stop);
                } else {
                    tokio::spawn(departure.clone().reload_on_signal());
                },
                // Never closed: we have a sender ourselves. The first one counts; who comes later meets somebody else.
                Some(wish) = wished.recv(), if leaving.is_none() => {
                    leaving = Some(wish);
                    if wish == Wish::Reload {
                        supervisor::tell_reloading();
                        signals.leave();
                    }
                    let _ = election.commands.send(Command::HandOver);
                },
                Update { router, verdict: Verdict { priority, checks } } = tracker.next() => {
                    let _ = election.commands.send(Command::Track { router, priority, checks });
                }
                _ = discard_check.tick() => reporter.report_discards(),
                () = watch.tick() => {
                    watch.check(attachments, self.netlink, &election.commands).await;
                    if missed {
                        missed = !watch.look_at_links(&ours, self.netlink, &election.commands).await;
                    }
                }
            }
        }
        let (_tables, outcome) = election.join();
        addresses.join();
        tracker.stop().await;
        // Their sockets are closed, and the control socket's file is gone, before a successor may have its own.
        for service in metrics.into_iter().chain([service]) {
            service.abort();
            let _ = service.await;
        }
        Ok(match outcome? {
            Ending::HandedOver if leaving == Some(Wish::Reload) => {
                signals.send_again().await;
                End::Reload(reload)
            }
            Ending::HandedOver => End::HandedOver,
            Ending::Stopped => {
                notifier.finish().await;
                End::Stopped
            }
        })
    }

    /// The maps: a predecessor's as they are, if its programs are on all of our interfaces, so that there is no hurry to
    /// replace these; else with our programs, loaded.
    fn tables(&self, plans: &[Plan<'_>], attachments: &mut Option<Attachments>) -> anyhow::Result<Tables> {
        let compatible = matches!(self.predecessor, Predecessor::Compatible(_));
        if compatible && plans.iter().all(|plan| self.pins.are_attached(plan.interface.ifindex)) {
            return Ok(Tables::open(self.pins)?);
        }
        let loaded = Dataplane::open(self.capacity, self.pins)?;
        *attachments = Some(loaded.attachments);
        Ok(loaded.tables)
    }

    /// Puts our programs in the place of a predecessor's.
    async fn replace(
        &self,
        plans: &[Plan<'_>],
        attachments: &mut Option<Attachments>,
        filters: &mut UnicastFilters,
    ) -> anyhow::Result<Modes> {
        let attachments = attachments.insert(Dataplane::open(self.capacity, self.pins)?.attachments);
        self.attach(plans, attachments, filters).await
    }

    /// Attaches the kernel half to every interface that has a virtual router.
    async fn attach(
        &self,
        plans: &[Plan<'_>],
        attachments: &mut Attachments,
        filters: &mut UnicastFilters,
    ) -> anyhow::Result<Modes> {
        let mut modes = Modes::new();
        for Plan { interface, .. } in plans {
            if let Entry::Vacant(vacant) = modes.entry(interface.ifindex) {
                // What was seen there before may have been a predecessor's, and is gone now.
                let occupant = interface.xdp.filter(|_| !matches!(self.predecessor, Predecessor::Incompatible(_)));
                let mode = attachments.attach(&interface.name, interface.ifindex, occupant)?;
                tracing::info!(interface = %interface.name, xdp_mode = %mode, "kernel half attached");
                vacant.insert(mode);
            }
        }
        attachments.detach_others();
        let virtual_macs: Vec<_> =
            plans.iter().filter(|plan| plan.config.virtual_mac).map(|plan| (plan.interface, plan.mac)).collect();
        filters.open(&virtual_macs, self.interfaces).await?;
        Ok(modes)
    }
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
            partner: plan::partner(plans, plan),
            addresses: plan.addresses().map(|vip| vip.address).collect(),
            mac: plan.mac,
            password: plan.config.password.map(|password| password.0),
            socket,
            resume: plan.resume,
            running: *running,
            checks: tracking::initial(plan.config),
        });
        instances.push(
            instance.with_context(|| format!("virtual_router \"{}\": no advert can be built", plan.config.name))?,
        );
    }
    Ok(instances)
}

/// Held as long as they are wanted.
fn memberships(plans: &[Plan<'_>]) -> anyhow::Result<Vec<Memberships>> {
    let mut joined = Vec::new();
    let mut joined_by = BTreeSet::new();
    for Plan { interface, primary, .. } in plans {
        if let IpAddr::V4(address) = primary
            && joined_by.insert(interface.ifindex)
        {
            joined.push(Memberships::ipv4(*address).with_context(|| cannot_join(interface))?);
        }
    }
    for plan in plans.iter().filter(|plan| plan.family == Family::Ipv6) {
        let addresses = plan.addresses().map(|vip| vip.address);
        let memberships = Memberships::ipv6(plan.interface.ifindex, addresses);
        joined.push(memberships.with_context(|| cannot_join(plan.interface))?);
    }
    Ok(joined)
}

fn cannot_join(interface: &Interface) -> String {
    format!("cannot join multicast groups on {}", interface.name)
}

fn change(transition: &Transition) -> notify::Change {
    let Transition { to, reason, priority, .. } = *transition;
    let on = match to {
        State::Active => Occasion::Active,
        State::Backup => Occasion::Backup,
        State::Initialize if reason.is_fault() => Occasion::Fault,
        State::Initialize => Occasion::Stop,
    };
    notify::Change { on, state: state_name(to, reason), reason: reason.to_string(), priority: priority.get() }
}

/// What must hold before everything is left to a successor.
#[derive(Clone, Debug)]
struct Departure {
    reload: Arc<Reload>,
    /// Of the address thread, which ends when nobody can ask it for anything any more.
    addresses: mpsc::WeakUnboundedSender<AddressRequest>,
    wishes: mpsc::UnboundedSender<Wish>,
}

impl Departure {
    /// Adverts cease when the election ends: nothing may be left to wait for then.
    async fn settle(&self) -> Result<(), String> {
        if addresses::settle(&self.addresses, SETTLE).await {
            return Ok(());
        }
        Err("addresses are still being put on interfaces, or taken off; try again later".to_owned())
    }

    async fn check_reload(&self) -> Result<(), String> {
        self.reload.check().await?;
        self.settle().await
    }

    async fn reload_on_signal(self) {
        tracing::info!("SIGHUP: reloading");
        match self.check_reload().await {
            Ok(()) => self.wish(Wish::Reload),
            Err(error) => tracing::error!("not reloaded, everything stays as it was: {error}"),
        }
    }

    fn wish(&self, wish: Wish) {
        // Whoever carries it out has gone only if nothing is served any more.
        let _ = self.wishes.send(wish);
    }
}

/// Has metrics of what the inspector knows, until aborted.
fn spawn_metrics(address: SocketAddr, inspector: Arc<Inspector>) -> JoinHandle<()> {
    let write = move || {
        let inspector = Arc::clone(&inspector);
        async move { exposition::page(inspector.status().await) }.boxed()
    };
    tokio::spawn(metrics::serve(address, Arc::new(write)))
}

/// Answers clients until aborted, each in a task of its own: a silent one holds nobody up.
fn spawn_server(server: Server, inspector: Arc<Inspector>, departure: Departure) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            match server.accept().await {
                Ok(client) => {
                    let (inspector, departure) = (Arc::clone(&inspector), departure.clone());
                    tokio::spawn(async move {
                        let mut wish = None;
                        let answered = client
                            .serve(async |request| match request {
                                Request::Status => Answer::Status(inspector.status().await),
                                Request::HandOver => match departure.settle().await {
                                    Ok(()) => {
                                        wish = Some(Wish::HandOver);
                                        Answer::HandingOver { handing_over: true }
                                    }
                                    Err(error) => Answer::Refused { error },
                                },
                                Request::Reload => match departure.check_reload().await {
                                    Ok(()) => {
                                        wish = Some(Wish::Reload);
                                        Answer::Reloading { started: inspector.started() }
                                    }
                                    Err(error) => Answer::Refused { error },
                                },
                            })
                            .await;
                        // Whoever has gone in the meantime will not follow us.
                        if let Some(wish) = wish.filter(|_| answered) {
                            departure.wish(wish);
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
