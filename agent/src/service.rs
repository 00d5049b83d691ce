//! The management side while the agent runs: starts the threads, reports what they do, and answers who asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::net::if_::if_nametoindex;
use tokio::sync::{mpsc, oneshot};

use crate::addresses::Placement;
use crate::adoption::adopt;
use crate::agent::report_warnings;
use crate::attachment_watch::AttachmentWatch;
use crate::config::Config;
use crate::control::{Incumbent, Server, Successor};
use crate::dataplane::{Attachments, Capacity, Dataplane, Pins, Predecessor, Tables, XdpMode};
use crate::departure::{Departure, Wish};
use crate::election::{self, Command, Ending, Report};
use crate::equipment::{self, Sockets};
use crate::farewell::Farewell;
use crate::fence_watch::FenceWatch;
use crate::herald::Herald;
use crate::inspector::{Inspector, Sources};
use crate::interface_watch::InterfaceWatch;
use crate::monitor::Monitors;
use crate::net::{Interface, LinkMonitor, LinkNews, Memberships, Netlink, PacketSocket};
use crate::plan::{Plan, Plans};
use crate::program::Children;
use crate::reload::{Bequest, Files, Reload, Rests};
use crate::report::Reporter;
use crate::signals::{Signals, Told};
use crate::standby::Switch;
use crate::tracking::{self, Tracker, Update, Verdict};
use crate::unicast_filters::UnicastFilters;
use crate::{addresses, clients, clock, open_files, realtime, report, supervisor};

/// How often the counters are looked through for discarded packets, to tell of them.
const DISCARD_CHECK: Duration = Duration::from_secs(10);
/// How long to wait until the address thread is done with what it is doing.
const HOLD: Duration = Duration::from_millis(500);

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
    pub socket: Arc<PacketSocket>,
}

/// Where others reach us.
#[derive(Debug)]
pub struct Doors<'a> {
    pub server: Arc<Server>,
    pub links: LinkMonitor,
    pub signals: Signals,
    pub reload: Arc<Reload>,
    /// The agent that we take over from, until it is relieved.
    pub incumbent: &'a mut Option<Incumbent>,
    /// What an agent that this process was has kept open.
    pub files: Files,
}

/// What is left to the agent that this process becomes.
#[derive(Debug)]
pub struct Legacy {
    pub reload: Arc<Reload>,
    pub bequest: Bequest,
    pub files: Files,
}

/// Why nothing is served any more.
#[derive(Debug)]
pub enum End {
    /// No role is left.
    Stopped,
    /// Roles, leases and addresses are left to another process; should that end too soon, to this one.
    HandedOver(Legacy, Successor, Signals),
    /// The same, but to this process, as it will be.
    Reload(Legacy),
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
        doors: Doors<'_>,
    ) -> anyhow::Result<End> {
        let Doors { server, mut links, mut signals, reload, incumbent, files } = doors;
        let equipment = self.equip(all)?;
        let mut tables = self.tables(attachments)?;
        let (removed, retained) = adopt(&mut all.ready, &mut tables, clock::now())?;
        let plans = &*all.ready;
        // New ones have to wait until our programs are loaded: no other's adverts may.
        let (attached, held): (_, BTreeSet<u32>) = match attachments {
            Some(attachments) => {
                let attached = self.attach(plans, attachments, filters).await?;
                let lost = attached.lost.keys().copied().collect();
                (Some(attached), lost)
            }
            None => {
                let ours: BTreeSet<u32> = plans.iter().map(|it| it.interface.ifindex).collect();
                (None, ours.into_iter().filter(|it| !self.pins.are_attached(*it)).collect())
            }
        };
        let inherited = self.bequest.clone().unwrap_or_default();
        let placements: Vec<_> = plans
            .iter()
            .map(|plan| Placement {
                rest: inherited.rest(&plan.config.name, &plan.family.to_string()),
                ..plan.placement()
            })
            .collect();
        let resting = (0..).zip(&placements).filter(|(_, placement)| placement.rest.is_on()).map(|(index, _)| index);
        let resting: BTreeSet<usize> = resting.collect();

        let (sockets, memberships): (Vec<_>, Vec<_>) = equipment.into_iter().unzip();
        let counters = Arc::new(tables.take_counters()?);
        let realtime_priority = self.config.agent.realtime_priority;
        let outcomes = tracking::inherited(&self.config.checks, &inherited.checks);
        let instances = equipment::instances(all, sockets, &held, &resting, &outcomes)?;
        let (addresses, standings) =
            addresses::spawn(placements, realtime_priority).context("cannot start the address thread")?;
        let hands = (addresses.requests.clone(), standings);
        let mut election = match election::spawn(tables, instances, hands, realtime_priority) {
            Ok(election) => election,
            Err(error) => {
                let _ = addresses.requests.send(addresses::Request::Leave);
                return Err(error).context("cannot start the election thread");
            }
        };
        // Resumed virtual routers advertise before anything else is done.
        let (reply, started) = oneshot::channel();
        let _ = election.commands.send(Command::Answer(reply));
        let _ = started.await;
        files.close_kept();
        let attached = match attached {
            Some(attached) => Ok(attached),
            // A predecessor's programs have been at work all the time, and adverts go out again: now ours.
            None => self.replace(plans, attachments, filters).await,
        };
        let (Ok(Attached { modes, lost }), Some(attachments)) = (&attached, attachments) else {
            give_up(election, addresses, incumbent.is_some());
            return Err(attached.err().unwrap_or_else(|| anyhow::anyhow!("the kernel half is not attached")));
        };
        // Not before they are open, and written down.
        let _ = addresses.requests.send(addresses::Request::KeepFilters(filters.record().clone()));
        let children = Children::default();
        let others = attachments.forward_log().and_then(|log| Ok((log, attachments.take_monitor()?)));
        let herald = Herald::start(self.config, all, &inherited.told, inherited.running, &children);
        let ((log, monitor), mut herald) = match (others, herald) {
            (Ok(others), Ok(herald)) => (others, herald),
            (others, herald) => {
                give_up(election, addresses, incumbent.is_some());
                let error = others.err().map(Into::into).or(herald.err());
                return Err(error.unwrap_or_else(|| anyhow::anyhow!("the agent cannot start")));
            }
        };
        tokio::spawn(log);
        // Nothing can go wrong any more that would end this agent.
        if let Some(Err(error)) = incumbent.as_mut().map(Incumbent::relieve) {
            give_up(election, addresses, true);
            return Err(error).context("the agent before did not wait until this one was ready");
        }
        *incumbent = None;
        let farewell = Farewell { removed, retained };
        let (requests, commands) = (addresses.requests.downgrade(), election.commands.clone());
        tokio::spawn(farewell.say(requests, commands, self.interfaces.to_vec(), Arc::clone(&self.socket)));
        if self.bequest.as_ref().is_some_and(|bequest| bequest.renewed) {
            tokio::spawn(report_warnings(self.config.clone()));
        }
        let mut tracker = Tracker::start(self.config, &outcomes, plans.iter().map(|plan| plan.config), &children);
        let mut watch = AttachmentWatch::new(plans, lost.clone());
        let sources = Sources {
            counters: Arc::clone(&counters),
            checks: tracker.accounts(),
            notify_failures: herald.notifier.failures(),
            history: Arc::clone(&herald.history),
            kept: Arc::clone(&addresses.accounts),
            unpinned: watch.unpinned(),
        };
        let waits = report::waits(&all.waiting, &inherited.waiting);
        for (waiting, waits) in all.waiting.iter().zip(&waits) {
            herald.waits(waiting, !inherited.waiting.iter().any(|before| before.is_of(waits)));
        }
        let inspector = Arc::new(Inspector::new(self.config, all, &waits, modes, sources, election.commands.clone()));
        let metrics = self.config.agent.metrics.map(|address| clients::serve_metrics(address, Arc::clone(&inspector)));
        let (wishes, mut wished) = mpsc::unbounded_channel();
        let departure = Departure { reload: Arc::clone(&reload), addresses: addresses.requests.downgrade(), wishes };
        let switch = Arc::new(Switch::new(plans, election.commands.clone()));
        let monitors = Arc::new(Monitors::new(monitor, plans));
        let service = clients::serve(Arc::clone(&server), inspector, switch, monitors, departure.clone());
        let mut reporter = Reporter::new(plans, counters);
        let mut discard_check = tokio::time::interval(DISCARD_CHECK);
        watch.look_at_links(&held, self.netlink, &election.commands).await;
        let mut interfaces = InterfaceWatch::new(all);
        let ours: BTreeSet<u32> = plans.iter().map(|plan| plan.interface.ifindex).collect();
        let fence = start_fence(attachments, ours.clone()).unwrap_or_else(|error| {
            tracing::warn!("{error}: if this agent dies, its host may serve on through other interfaces");
            None
        });
        let mut watching_links = true;
        // Whether there were more changes of links than could be told.
        let mut missed = false;

        if realtime_priority > 0
            && let Err(error) = realtime::settle_memory()
        {
            reporter.report(&Report::NotRealtime { what: "lock its memory (CAP_IPC_LOCK)", error });
        }
        signals.let_in();
        let (pulse, mut pulses) = mpsc::unbounded_channel();
        supervisor::spawn_watchdog(election.commands.clone(), pulse);
        supervisor::tell_ready(plans.len(), waits.len());
        // Where adverts go out, there is time for that.
        let pins = self.pins.clone();
        tokio::task::spawn_blocking(move || {
            for directory in pins.remove_of_gone_namespaces() {
                tracing::info!("removed {}: its network namespace is gone", directory.display());
            }
        });
        let wish = loop {
            tokio::select! {
                report = election.reports.recv() => match report {
                    Some(report) => {
                        reporter.report(&report);
                        if let Report::Transition { router, transition } = report {
                            herald.transition(plans[router].place, &transition);
                        }
                    }
                    // The thread has ended, asked to or not.
                    None => break None,
                },
                news = links.next(), if watching_links => {
                    if let Some(news) = &news {
                        interfaces.note(news);
                        if let (Some(fence), LinkNews::Change(_) | LinkNews::Missed) = (&fence, news) {
                            fence.note();
                        }
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
                () = interfaces.due() => match self.netlink.interfaces().await {
                    Ok(now) => match interfaces.difference(self.config, &now) {
                        Some(reason) => drop(tokio::spawn(departure.clone().go_on(reason, self.config.text.clone()))),
                        None if interfaces.are_settled() => drop(addresses.requests.send(addresses::Request::Restore)),
                        None => {}
                    },
                    Err(_) => interfaces.look_again(),
                },
                Told { signal, stop } = signals.next() => if stop {
                    tracing::info!("{signal}: giving up every role");
                    supervisor::tell_stopping();
                    let _ = election.commands.send(Command::Stop);
                } else {
                    tokio::spawn(departure.clone().reload_on_signal());
                },
                // Never closed: we have a sender ourselves.
                Some(wish) = wished.recv() => break Some(wish),
                Update { router, verdict: Verdict { priority, checks } } = tracker.next() => {
                    let _ = election.commands.send(Command::Track { router, priority, checks });
                }
                Some(reply) = pulses.recv() => {
                    let _ = reply.send(());
                }
                _ = discard_check.tick() => reporter.report_discards(),
                () = watch.tick() => {
                    watch.check(attachments, self.netlink, &election.commands).await;
                    if watch.check_pins(attachments) && let Some(fence) = &fence {
                        fence.note();
                    }
                    if missed {
                        missed = !watch.look_at_links(&ours, self.netlink, &election.commands).await;
                    }
                }
            }
        };
        // Whatever can be done before adverts cease is done before.
        if wish.is_some() {
            herald.flush().await;
        }
        if let Some(Wish::Reload(_) | Wish::GoOn) = wish {
            supervisor::tell_reloading();
            signals.leave();
        }
        let checks = tracker.outcomes();
        tracker.stop().await;
        // The process may not end, or become another program, while a thread of it waits for the kernel.
        let fence = match (&wish, fence) {
            (Some(_), Some(fence)) => {
                fence.park().await;
                None
            }
            (_, fence) => fence,
        };
        if wish.is_some() {
            addresses::hold(&addresses.requests, HOLD).await;
        }
        // Their sockets are closed, but for the control socket, before a successor may have its own.
        for service in metrics.into_iter().chain([service]) {
            service.abort();
            let _ = service.await;
        }
        // What somebody asked for in the meantime, and was promised, goes before what we want ourselves.
        let wish = match wish {
            Some(Wish::GoOn) => wished.try_recv().ok().or(wish),
            wish => wish,
        };
        if wish.is_some() {
            let _ = election.commands.send(Command::HandOver);
        }
        while let Some(report) = election.reports.recv().await {
            reporter.report(&report);
            if let Report::Transition { router, transition } = report {
                herald.transition(plans[router].place, &transition);
            }
        }
        let (_tables, outcome) = election.join();
        if let Some(fence) = fence {
            fence.stop().await;
        }
        let accounts = Arc::clone(&addresses.accounts);
        addresses.join();
        let ending = outcome?;
        let (Ending::HandedOver, Some(wish)) = (ending, wish) else {
            herald.finish().await;
            return Ok(End::Stopped);
        };
        let (configuration, renewed) = match &wish {
            Wish::Reload(text) => (text.clone(), true),
            Wish::GoOn | Wish::HandOver(_) => (self.config.text.clone(), false),
        };
        let (told, running) = (herald.notifier.told(), children.running());
        let rests = plans.iter().zip(&*accounts).map(|(plan, account)| Rests {
            name: plan.config.name.clone(),
            family: plan.family.to_string(),
            rest: account.rest(),
        });
        let bequest = Bequest {
            configuration: Some(configuration),
            renewed,
            waiting: waits,
            told,
            checks,
            rests: rests.collect(),
            running,
            ..Bequest::default()
        };
        let mut files = Files::default();
        let sockets = memberships.iter().flatten().try_for_each(|joined| files.keep(joined));
        if let Err(error) = files.keep(&*self.socket).and(sockets) {
            tracing::warn!("not all sockets stay open over the restart, which may take longer: {error}");
        }
        if !matches!(wish, Wish::HandOver(_)) {
            files.control = server.leave();
        }
        let legacy = Legacy { reload, bequest, files };
        Ok(match wish {
            Wish::HandOver(successor) => End::HandedOver(legacy, successor, signals),
            Wish::Reload(_) | Wish::GoOn => {
                signals.send_again().await;
                End::Reload(legacy)
            }
        })
    }

    /// What each virtual router needs of its interface: sockets and multicast groups. Where this cannot be had, it waits if
    /// we were an agent before.
    fn equip(&self, plans: &mut Plans<'_>) -> anyhow::Result<Vec<(Sockets, Option<Memberships>)>> {
        open_files::make_room(equipment::files(&plans.ready));
        let mut joined_by = BTreeSet::new();
        let equipment =
            plans.equip(|plan| Ok((Sockets::open(plan, &self.socket)?, equipment::memberships(plan, &mut joined_by)?)));
        match plans.waiting.iter().find(|waiting| waiting.failed) {
            Some(failed) if self.bequest.is_none() => Err(anyhow::anyhow!("{}", failed.reason)),
            _ => Ok(equipment),
        }
    }

    /// Whether there may be roles to go on with, for which everything is tolerated that can be put right later.
    pub fn goes_on(&self) -> bool {
        self.bequest.is_some() || matches!(self.predecessor, Predecessor::Compatible(_))
    }

    /// The maps: a predecessor's as they are, if they fit, since there is no hurry to replace its programs; else new ones,
    /// with our programs loaded.
    fn tables(&self, attachments: &mut Option<Attachments>) -> anyhow::Result<Tables> {
        if matches!(self.predecessor, Predecessor::Compatible(_)) {
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
                // One that has gone since it was looked at is waited for.
                Err(error) if self.goes_on() || if_nametoindex(name.as_str()) != Ok(ifindex) => {
                    tracing::error!("the kernel half is not attached to {name}: {error}");
                    attached.lost.insert(ifindex, name.clone());
                }
                Err(error) => return Err(error.into()),
            }
        }
        attachments.detach_others();
        let virtual_macs: Vec<_> =
            plans.iter().filter(|plan| plan.config.virtual_mac).map(|plan| (plan.interface, plan.mac)).collect();
        for interface in interfaces.values() {
            if if_nametoindex(interface.name.as_str()) != Ok(interface.ifindex) {
                attached.lost.entry(interface.ifindex).or_insert_with(|| interface.name.clone());
            }
        }
        match filters.open(&virtual_macs, self.interfaces).await {
            // The address thread tries again.
            Err(error) if self.goes_on() || !attached.lost.is_empty() => tracing::error!("{error}"),
            opened => opened?,
        }
        Ok(attached)
    }
}

/// Ends an agent that cannot start after all. If the agent before still waits, everything is left to it.
fn give_up(election: election::Handle, addresses: addresses::Handle, leaves: bool) {
    let end = if leaves { Command::HandOver } else { Command::Stop };
    let _ = election.commands.send(end);
    let _ = election.join();
    addresses.join();
}

/// Keeps the fence on a netlink socket of its own: the kernel lists one thing at a time on each.
fn start_fence(attachments: &mut Attachments, ours: BTreeSet<u32>) -> anyhow::Result<Option<FenceWatch>> {
    let Some(fence) = attachments.open_fence()? else { return Ok(None) };
    Ok(Some(FenceWatch::start(fence, ours, Netlink::open()?)))
}
