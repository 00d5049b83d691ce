//! The management side while the agent runs: starts the threads, reports what they do, and answers who asks.

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
use crate::config::{Config, Occasion, Text};
use crate::control::{Answer, Request, Server};
use crate::dataplane::{Attachments, Capacity, Dataplane, Pins, Predecessor, Tables, XdpMode};
use crate::election::{self, Command, Ending, Instance, InstanceConfig, Report, Transition, state_name};
use crate::history::History;
use crate::inspector::{Inspector, Sources};
use crate::interface_watch::InterfaceWatch;
use crate::mail::Mailer;
use crate::monitor::Monitors;
use crate::net::{Interface, LinkMonitor, LinkNews, Memberships, Netlink, PacketSocket, UnicastSocket};
use crate::notify::{self, Notifier};
use crate::plan::{Plan, Plans};
use crate::reload::{Bequest, Reload};
use crate::report::Reporter;
use crate::signals::{Signals, Told};
use crate::standby::Switch;
use crate::sync_group::SyncGroups;
use crate::tracking::{self, Tracker, Update, Verdict};
use crate::unicast_filters::UnicastFilters;
use crate::vrrp::{Reason, State};
use crate::{addresses, clock, exposition, metrics, open_files, report, supervisor};

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
    /// This process was an agent before.
    pub bequest: Option<Bequest>,
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
    Reload(Arc<Reload>, Bequest),
}

/// What somebody wants of us, beside an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    HandOver,
    Reload,
    /// To reload with the configuration that it has, for the sake of its interfaces.
    GoOn,
}

/// What one virtual router sends with. Its own: what one of them sends takes no room from another's adverts.
#[derive(Debug)]
struct Sockets {
    frames: PacketSocket,
    /// One each, for the same reason.
    peers: Vec<UnicastSocket>,
}

/// Where the kernel half is.
#[derive(Debug, Default)]
struct Attached {
    modes: BTreeMap<u32, XdpMode>,
    /// The interfaces, by name, where it should be and is not.
    lost: BTreeMap<u32, String>,
}

impl Host<'_> {
    /// From the first program attached to the last role given up. `attachments` is there afterwards if anything is
    /// attached by us.
    pub async fn serve(
        &self,
        all: &mut Plans<'_>,
        attachments: &mut Option<Attachments>,
        filters: &mut UnicastFilters,
        doors: Doors,
    ) -> anyhow::Result<End> {
        let Doors { server, mut links, mut signals, reload } = doors;
        let equipment = self.equip(all)?;
        let mut tables = self.tables(&all.ready, attachments)?;
        adopt(&mut all.ready, &mut tables, clock::now())?;
        let plans = &*all.ready;
        // New ones have to wait until our programs are loaded: no other's adverts may.
        let held: BTreeSet<u32> = match attachments {
            Some(_) => BTreeSet::new(),
            None => plans.iter().map(|it| it.interface.ifindex).filter(|it| !self.pins.are_attached(*it)).collect(),
        };
        let attached = match attachments {
            Some(attachments) => Some(self.attach(plans, attachments, filters).await?),
            None => None,
        };
        let placements: Vec<_> = plans.iter().map(Plan::placement).collect();
        let going_on = placements
            .iter()
            .flat_map(|placement| placement.installed.iter().map(move |&(address, _)| (placement.ifindex, address)));
        remove_stale_addresses(self.netlink, &going_on.collect()).await?;

        let (sockets, _memberships): (Vec<_>, Vec<_>) = equipment.into_iter().unzip();
        let counters = Arc::new(tables.take_counters()?);
        let realtime_priority = self.config.agent.realtime_priority;
        let instances = instances(all, sockets, &held)?;
        let addresses = addresses::spawn(placements, realtime_priority).context("cannot start the address thread")?;
        let mut election = election::spawn(tables, instances, addresses.requests.clone(), realtime_priority)
            .context("cannot start the election thread")?;
        let attached = match attached {
            Some(attached) => Ok(attached),
            // A predecessor's programs have been at work all the time, and adverts go out again: now ours.
            None => self.replace(plans, attachments, filters).await,
        };
        let (Ok(Attached { modes, lost }), Some(attachments)) = (&attached, attachments) else {
            let _ = election.commands.send(Command::Stop);
            let _ = election.join();
            addresses.join();
            return Err(attached.err().unwrap_or_else(|| anyhow::anyhow!("the kernel half is not attached")));
        };
        tokio::spawn(attachments.forward_log()?);
        let monitor = attachments.take_monitor()?;

        let mut tracker = Tracker::start(self.config, plans.iter().map(|plan| plan.config));
        // Groups come after all virtual routers.
        let first_group = plans.len() + all.waiting.len();
        let audiences = all.audiences(&self.config.sync_groups);
        let names = audiences.iter().take(first_group);
        let names = names.map(|audience| audience.as_ref().map(|audience| audience.name.clone()));
        let mailer = Mailer::start(self.config, names).context("cannot start the mail thread")?;
        let told = self.bequest.as_ref().map(|bequest| bequest.told.clone()).unwrap_or_default();
        let notifier = Notifier::new(audiences, &told);
        let mut groups = SyncGroups::new(self.config, all);
        let history = Arc::new(History::new(first_group));
        let sources = Sources {
            counters: Arc::clone(&counters),
            checks: tracker.accounts(),
            notify_failures: notifier.failures(),
            history: Arc::clone(&history),
        };
        let before = self.bequest.as_ref().map_or(&[][..], |bequest| &bequest.waiting);
        let waits = report::waits(&all.waiting, before);
        for (waiting, waits) in all.waiting.iter().zip(&waits) {
            let (state, priority) = ("fault", waiting.config.priority.get());
            let change = notify::Change { on: Occasion::Fault, state, reason: waits.reason.clone(), priority };
            let news = !before.iter().any(|before| before.is_of(waits));
            let of_group = groups.note(waiting.place, &change, news);
            if news {
                history.note(waiting.place, state, &waits.reason);
                mailer.tell(waiting.place, &change);
                notifier.notify(waiting.place, change);
            }
            if let Some((group, change)) = of_group {
                notifier.notify(first_group + group, change);
            }
        }
        let inspector = Arc::new(Inspector::new(self.config, all, &waits, modes, sources, election.commands.clone()));
        let metrics = self.config.agent.metrics.map(|address| spawn_metrics(address, Arc::clone(&inspector)));
        let (wishes, mut wished) = mpsc::unbounded_channel();
        let departure = Departure { reload: Arc::clone(&reload), addresses: addresses.requests.downgrade(), wishes };
        let switch = Arc::new(Switch::new(plans, election.commands.clone()));
        let monitors = Arc::new(Monitors::new(monitor, plans));
        let service = spawn_server(server, inspector, switch, monitors, departure.clone());
        let mut leaving = None;
        let mut reporter = Reporter::new(plans, counters);
        let mut discard_check = tokio::time::interval(DISCARD_CHECK);
        let mut watch = AttachmentWatch::new(plans, lost.clone());
        watch.look_at_links(&held, self.netlink, &election.commands).await;
        let mut interfaces = InterfaceWatch::new(all);
        let ours: BTreeSet<u32> = plans.iter().map(|plan| plan.interface.ifindex).collect();
        let mut watching_links = true;
        // Whether there were more changes of links than could be told.
        let mut missed = false;

        signals.let_in();
        supervisor::spawn_watchdog(election.commands.clone());
        supervisor::tell_ready(plans.len(), waits.len());
        loop {
            tokio::select! {
                report = election.reports.recv() => match report {
                    Some(report) => {
                        reporter.report(&report);
                        if let Report::Transition { router, transition } = report {
                            let (place, change) = (plans[router].place, change(&transition));
                            // Who goes on where another agent was has nothing new to tell.
                            let news = !matches!(transition.reason, Reason::Resumed);
                            let of_group = groups.note(place, &change, news);
                            if news {
                                history.note(place, change.state, &change.reason);
                                mailer.tell(place, &change);
                                notifier.notify(place, change);
                            }
                            if let Some((group, change)) = of_group {
                                notifier.notify(first_group + group, change);
                            }
                        }
                    }
                    // The thread has ended, asked to or not.
                    None => break,
                },
                news = links.next(), if watching_links => {
                    if let Some(news) = &news {
                        interfaces.note(news);
                    }
                    match news {
                        Some(LinkNews::Change(change)) => watch.tell(change, &election.commands),
                        Some(LinkNews::Addresses) => {}
                        Some(LinkNews::Missed) => missed = true,
                        None => {
                            watching_links = false;
                            tracing::error!("the kernel's link notifications have ended: a lost carrier goes unnoticed");
                        }
                    }
                }
                () = interfaces.due(), if leaving.is_none() => match self.netlink.interfaces().await {
                    Ok(now) => match interfaces.difference(self.config, &now) {
                        Some(reason) => drop(tokio::spawn(departure.clone().go_on(reason, self.config.text.clone()))),
                        None if interfaces.are_settled() => drop(addresses.requests.send(AddressRequest::Restore)),
                        None => {}
                    },
                    Err(_) => interfaces.look_again(),
                },
                // Else it is for the new agent.
                Told { signal, stop } = signals.next(), if !matches!(leaving, Some(Wish::Reload | Wish::GoOn)) => if stop {
                    tracing::info!("{signal}: giving up every role");
                    supervisor::tell_stopping();
                    let _ = election.commands.send(Command::Stop);
                } else {
                    tokio::spawn(departure.clone().reload_on_signal());
                },
                // Never closed: we have a sender ourselves. The first one counts; who comes later meets somebody else.
                Some(wish) = wished.recv(), if leaving.is_none() => {
                    leaving = Some(wish);
                    // Adverts go on in the meantime.
                    mailer.flush().await;
                    if wish != Wish::HandOver {
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
        // What somebody asked for in the meantime, and was promised, goes before what we want ourselves.
        let leaving = wished.try_recv().ok().filter(|_| leaving == Some(Wish::GoOn)).or(leaving);
        Ok(match outcome? {
            Ending::HandedOver if leaving != Some(Wish::HandOver) => {
                signals.send_again().await;
                let configuration = (leaving == Some(Wish::GoOn)).then(|| self.config.text.clone());
                End::Reload(reload, Bequest { configuration, waiting: waits, told: notifier.told() })
            }
            Ending::HandedOver => End::HandedOver,
            Ending::Stopped => {
                tokio::join!(notifier.finish(), mailer.finish());
                End::Stopped
            }
        })
    }

    /// What each virtual router needs of its interface: sockets and multicast groups. Where this cannot be had, it waits if
    /// we were an agent before.
    fn equip(&self, plans: &mut Plans<'_>) -> anyhow::Result<Vec<(Sockets, Option<Memberships>)>> {
        // For frames, for multicast groups and for each peer.
        open_files::make_room(plans.ready.iter().map(|plan| 2 + plan.unicast_peers().count()).sum());
        let mut joined_by = BTreeSet::new();
        let equipment = plans.equip(|plan| Ok((Sockets::open(plan)?, memberships(plan, &mut joined_by)?)));
        match plans.waiting.iter().find(|waiting| waiting.failed) {
            Some(failed) if self.bequest.is_none() => Err(anyhow::anyhow!("{}", failed.reason)),
            _ => Ok(equipment),
        }
    }

    /// The maps: a predecessor's as they are, if its programs are on all of our interfaces, so that there is no hurry to
    /// replace these, or if we were that predecessor; else with our programs, loaded.
    fn tables(&self, plans: &[Plan<'_>], attachments: &mut Option<Attachments>) -> anyhow::Result<Tables> {
        let compatible = matches!(self.predecessor, Predecessor::Compatible(_));
        let mut interfaces = plans.iter().map(|plan| plan.interface.ifindex);
        if compatible && (self.bequest.is_some() || interfaces.all(|ifindex| self.pins.are_attached(ifindex))) {
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
    ) -> anyhow::Result<Attached> {
        let attachments = attachments.insert(Dataplane::open(self.capacity, self.pins)?.attachments);
        self.attach(plans, attachments, filters).await
    }

    /// Attaches the kernel half to every interface that has a virtual router. Where that fails, the agent does not start; but
    /// if it was one before, it does not give up the others.
    async fn attach(
        &self,
        plans: &[Plan<'_>],
        attachments: &mut Attachments,
        filters: &mut UnicastFilters,
    ) -> anyhow::Result<Attached> {
        let mut attached = Attached::default();
        let interfaces: BTreeMap<u32, &Interface> =
            plans.iter().map(|it| (it.interface.ifindex, it.interface)).collect();
        for (&ifindex, Interface { name, xdp, .. }) in &interfaces {
            // What was seen there before may have been a predecessor's, and is gone now.
            let occupant = xdp.filter(|_| !matches!(self.predecessor, Predecessor::Incompatible(_)));
            match attachments.attach(name, ifindex, occupant) {
                Ok(mode) => {
                    tracing::info!(interface = %name, xdp_mode = %mode, "kernel half attached");
                    attached.modes.insert(ifindex, mode);
                }
                Err(error) if self.bequest.is_some() => {
                    tracing::error!("the kernel half is not attached to {name}: {error}");
                    attached.lost.insert(ifindex, name.clone());
                }
                Err(error) => return Err(error.into()),
            }
        }
        attachments.detach_others();
        let virtual_macs: Vec<_> =
            plans.iter().filter(|plan| plan.config.virtual_mac).map(|plan| (plan.interface, plan.mac)).collect();
        match filters.open(&virtual_macs, self.interfaces).await {
            Err(error) if self.bequest.is_some() => tracing::error!("{error}"),
            opened => opened?,
        }
        Ok(attached)
    }
}

impl Sockets {
    fn open(plan: &Plan<'_>) -> anyhow::Result<Self> {
        let Interface { name, ifindex, .. } = plan.interface;
        let frames = PacketSocket::open(*ifindex).with_context(|| format!("cannot send on {name}"))?;
        let peers = plan.unicast_peers().map(|peer| {
            let to = peer.address;
            UnicastSocket::open(name, *ifindex, to).with_context(|| format!("cannot send to {to} on {name}"))
        });
        Ok(Self { frames, peers: peers.collect::<Result<_, _>>()? })
    }
}

/// Those on interfaces that are `held` start when something is told of these.
fn instances(plans: &Plans<'_>, sockets: Vec<Sockets>, held: &BTreeSet<u32>) -> anyhow::Result<Vec<Instance>> {
    let mut instances = Vec::with_capacity(plans.ready.len());
    for (plan, Sockets { frames, peers }) in plans.ready.iter().zip(sockets) {
        let Interface { ifindex, running, .. } = plan.interface;
        let instance = Instance::new(InstanceConfig {
            index: plan.index,
            key: plan.key,
            kernel: plan.kernel(),
            machine: plan.machine(),
            primary: plan.primary,
            partners: plans.partners(plan),
            partner_absent: plans.lacks_partner(plan),
            addresses: plan.addresses().map(|vip| vip.address).collect(),
            mac: plan.mac,
            password: plan.config.password.map(|password| password.0),
            socket: frames,
            peers,
            resume: plan.resume,
            stands_by: plan.stands_by,
            running: *running,
            held: held.contains(ifindex),
            checks: tracking::initial(plan.config),
        });
        instances.push(
            instance.with_context(|| format!("virtual_router \"{}\": no advert can be built", plan.config.name))?,
        );
    }
    Ok(instances)
}

/// Held as long as they are wanted; over IPv4 the interface's first one joins for all.
fn memberships(plan: &Plan<'_>, joined_by: &mut BTreeSet<u32>) -> anyhow::Result<Option<Memberships>> {
    let Interface { name, ifindex, .. } = plan.interface;
    let unicast = plan.unicast_peers().next().is_some();
    let joined = match plan.primary {
        IpAddr::V4(_) if unicast || joined_by.contains(ifindex) => return Ok(None),
        IpAddr::V4(_) => Memberships::ipv4(*ifindex),
        IpAddr::V6(_) => Memberships::ipv6(*ifindex, !unicast, plan.addresses().map(|vip| vip.address)),
    };
    let joined = joined.with_context(|| format!("cannot join multicast groups on {name}"))?;
    if plan.family == Family::Ipv4 {
        joined_by.insert(*ifindex);
    }
    Ok(Some(joined))
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

    async fn check_reload(&self, bequest: Option<&Bequest>) -> Result<(), String> {
        self.reload.check(bequest).await?;
        self.settle().await
    }

    /// Starts anew for this reason, with the configuration that runs.
    async fn go_on(self, reason: String, configuration: Text) {
        let bequest = Bequest { configuration: Some(configuration), ..Bequest::default() };
        match self.check_reload(Some(&bequest)).await {
            Ok(()) => {
                tracing::info!("{reason}: starting anew, with the configuration that runs");
                self.wish(Wish::GoOn);
            }
            Err(error) => tracing::error!("{reason}: but the agent cannot start anew, and goes on for now: {error}"),
        }
    }

    async fn reload_on_signal(self) {
        tracing::info!("SIGHUP: reloading");
        match self.check_reload(None).await {
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
fn spawn_server(
    server: Server,
    inspector: Arc<Inspector>,
    switch: Arc<Switch>,
    monitors: Arc<Monitors>,
    departure: Departure,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            match server.accept().await {
                Ok(client) => {
                    let (inspector, switch) = (Arc::clone(&inspector), Arc::clone(&switch));
                    let (monitors, departure) = (Arc::clone(&monitors), departure.clone());
                    tokio::spawn(async move {
                        let (mut wish, mut watch) = (None, None);
                        let client = client
                            .serve(async |request| match request {
                                Request::Status => Answer::Status(inspector.status().await),
                                Request::StandBy { name, on } => switch.set(&name, on),
                                Request::Monitor => match monitors.open() {
                                    Ok(opened) => {
                                        watch = Some(opened);
                                        Answer::Monitoring { monitoring: true }
                                    }
                                    Err(error) => Answer::Refused { error },
                                },
                                Request::HandOver => match departure.settle().await {
                                    Ok(()) => {
                                        wish = Some(Wish::HandOver);
                                        Answer::HandingOver { handing_over: true }
                                    }
                                    Err(error) => Answer::Refused { error },
                                },
                                Request::Reload => match departure.check_reload(None).await {
                                    Ok(()) => {
                                        wish = Some(Wish::Reload);
                                        Answer::Reloading { started: inspector.started() }
                                    }
                                    Err(error) => Answer::Refused { error },
                                },
                            })
                            .await;
                        // Whoever has gone in the meantime will not follow us.
                        let Some(client) = client else { return };
                        if let Some(wish) = wish {
                            departure.wish(wish);
                        }
                        if let Some(watch) = watch {
                            monitors.stream(watch, client).await;
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
