//! The management side while the agent runs: starts the threads, reports what they do, and answers who asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;

use crate::adoption::adopt;
use crate::agent::remove_stale_addresses;
use crate::attachment_watch::AttachmentWatch;
use crate::config::Config;
use crate::control::Server;
use crate::dataplane::{Attachments, Capacity, Dataplane, Pins, Predecessor, Tables, XdpMode};
use crate::departure::{Departure, Wish};
use crate::election::{self, Command, Ending, Report};
use crate::equipment::{self, Sockets};
use crate::fence_watch::FenceWatch;
use crate::herald::Herald;
use crate::inspector::{Inspector, Sources};
use crate::interface_watch::InterfaceWatch;
use crate::monitor::Monitors;
use crate::net::{Interface, LinkMonitor, LinkNews, Memberships, Netlink};
use crate::plan::{Plan, Plans};
use crate::reload::{Bequest, Reload};
use crate::report::Reporter;
use crate::signals::{Signals, Told};
use crate::standby::Switch;
use crate::tracking::{self, Tracker, Update, Verdict};
use crate::unicast_filters::UnicastFilters;
use crate::{addresses, clients, clock, open_files, realtime, report, supervisor};

/// How often the counters are looked through for discarded packets, to tell of them.
const DISCARD_CHECK: Duration = Duration::from_secs(10);
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
        let inherited = self.bequest.clone().unwrap_or_default();
        let outcomes = tracking::inherited(&self.config.checks, &inherited.checks);
        let instances = equipment::instances(all, sockets, &held, &outcomes)?;
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

        let mut tracker = Tracker::start(self.config, &outcomes, plans.iter().map(|plan| plan.config));
        let mut herald = Herald::start(self.config, all, &inherited.told)?;
        let sources = Sources {
            counters: Arc::clone(&counters),
            checks: tracker.accounts(),
            notify_failures: herald.notifier.failures(),
            history: Arc::clone(&herald.history),
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
        let service = clients::serve(server, inspector, switch, monitors, departure.clone());
        let mut leaving = None;
        let mut reporter = Reporter::new(plans, counters);
        let mut discard_check = tokio::time::interval(DISCARD_CHECK);
        let mut watch = AttachmentWatch::new(plans, lost.clone());
        watch.look_at_links(&held, self.netlink, &election.commands).await;
        let mut interfaces = InterfaceWatch::new(all);
        let ours: BTreeSet<u32> = plans.iter().map(|plan| plan.interface.ifindex).collect();
        let fence = attachments.open_fence().unwrap_or_else(|error| {
            tracing::warn!("{error}: if this agent dies, its host may serve on through other interfaces");
            None
        });
        let fence = fence.map(|fence| FenceWatch::start(fence, ours.clone(), self.netlink.clone()));
        let mut watching_links = true;
        // Whether there were more changes of links than could be told.
        let mut missed = false;

        if realtime_priority > 0
            && let Err(error) = realtime::settle_memory()
        {
            reporter.report(&Report::NotRealtime { what: "lock its memory (CAP_IPC_LOCK)", error });
        }
        signals.let_in();
        supervisor::spawn_watchdog(election.commands.clone());
        supervisor::tell_ready(plans.len(), waits.len());
        loop {
            tokio::select! {
                report = election.reports.recv() => match report {
                    Some(report) => {
                        reporter.report(&report);
                        if let Report::Transition { router, transition } = report {
                            herald.transition(plans[router].place, &transition);
                        }
                    }
                    // The thread has ended, asked to or not.
                    None => break,
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
                () = interfaces.due(), if leaving.is_none() => match self.netlink.interfaces().await {
                    Ok(now) => match interfaces.difference(self.config, &now) {
                        Some(reason) => drop(tokio::spawn(departure.clone().go_on(reason, self.config.text.clone()))),
                        None if interfaces.are_settled() => drop(addresses.requests.send(addresses::Request::Restore)),
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
                    herald.flush().await;
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
        // To a successor it is left, without waiting for anything.
        if let Some(fence) = fence.filter(|_| !matches!(outcome, Ok(Ending::HandedOver))) {
            fence.stop().await;
        }
        addresses.join();
        let checks = tracker.outcomes();
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
                End::Reload(reload, Bequest { configuration, waiting: waits, told: herald.notifier.told(), checks })
            }
            Ending::HandedOver => End::HandedOver,
            Ending::Stopped => {
                herald.finish().await;
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
        let equipment = plans.equip(|plan| Ok((Sockets::open(plan)?, equipment::memberships(plan, &mut joined_by)?)));
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
