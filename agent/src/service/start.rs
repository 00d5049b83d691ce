//! Starts the agent: the maps and the kernel half, the two threads, and then everything that serves the operator.
//!
//! The order matters. The programs of a predecessor stay attached until this agent has sent its first adverts. Nothing
//! that may wait for the kernel happens between the predecessor's last advert and this agent's first one.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use nix::net::if_::if_nametoindex;
use tokio::sync::oneshot;
use xvrrp_common::units::{IfIndex, Instant, Interval};
use xvrrp_common::xdp::XdpMode;
use xvrrp_config::{AgentConfig, Config, Text};
use xvrrp_dataplane::{
    Attachments, Capacity, CounterReader, Dataplane, GoneNamespace, Monitor, Pins, Predecessor, Tables,
};
use xvrrp_net::{Interface, Memberships, Netlink, PacketSocket};

use super::adoption::adopt;
use super::attachment_watch::AttachmentWatch;
use super::clients::{self, RequestHandler};
use super::equipment::{self, EquipmentError, Sockets};
use super::fence_watch::FenceWatch;
use super::handover::Handovers;
use super::interface_watch::InterfaceWatch;
use super::links::LinkWatch;
use super::monitors::Monitors;
use super::threads::Threads;
use super::{Service, check, supervisor};
use crate::addresses::unicast_filters::{self, UnicastFilters};
use crate::addresses::{AddressRequest, Placement, Statics};
use crate::control::{Incumbent, Server};
use crate::election::Report;
use crate::identity::{PerRouter, RouterIndex};
use crate::notify::log::{self, Reporter};
use crate::notify::{Legacy, Notifications};
use crate::plan::waits::Waits;
use crate::plan::{self, Hindrance, Plan, Plans};
use crate::process::program::Children;
use crate::process::realtime::Haste;
use crate::process::signals::Signals;
use crate::process::{clock, command, open_files, realtime};
use crate::status::{Inspector, Sources};
use crate::succession::departure::Departure;
use crate::succession::farewell::Farewell;
use crate::succession::reload::Reload;
use crate::succession::{Files, InheritedState};
use crate::tracking::{self, Outcome, Tracker};

/// Interval at which the agent reads the counters of discarded packets and logs what is new.
const DISCARD_CHECK: Duration = Duration::from_secs(10);

/// Everything that [`Service::start`] needs.
#[derive(Debug)]
pub struct Start<'a> {
    pub config: &'a Config,
    pub capacity: Capacity,
    pub netlink: &'a Netlink,
    pub interfaces: &'a [Interface],
    pub socket: Arc<PacketSocket>,
    pub filters: UnicastFilters,

    pub pins: &'a Pins,
    pub predecessor: Predecessor,
    /// State that this process left to itself before a reload.
    pub inherited: Option<InheritedState>,
    /// Files that were kept open over the reload.
    pub files: Files,
    /// The agent that this one takes over from, until it is relieved.
    pub incumbent: &'a mut Option<Incumbent>,
    /// Set as soon as this process has attached anything.
    pub attachments: &'a mut Option<Attachments>,

    pub server: Arc<Server>,
    pub links: LinkWatch,
    pub signals: Signals,
    pub reload: Arc<Reload>,
    pub haste: Option<Haste>,
}

/// Result of attaching the kernel half.
#[derive(Debug, Default)]
struct Attached {
    modes: BTreeMap<IfIndex, XdpMode>,
    /// Names of the interfaces where the kernel half should be attached and is not.
    lost: BTreeMap<IfIndex, String>,
}

/// Everything that exists once the election runs and adverts are being sent.
struct Elected<'a> {
    plans: Plans<'a>,
    memberships: Vec<Memberships>,
    threads: Threads,
    /// `None` as long as the programs of a predecessor are attached.
    attached: Option<Attached>,
    counters: Arc<CounterReader>,
    outcomes: Vec<Outcome>,
    /// Whether another agent, or this process before a reload, did this before.
    continues: bool,
    inherited: InheritedState,
    /// FIFOs that were kept open over the reload.
    fifos: Vec<OwnedFd>,
    farewell: Farewell,
}

impl<'a> Service<'a> {
    /// Starts the agent. After a failure no role is held any more, but what was installed on the host is still there.
    ///
    /// # Errors
    /// Something is missing on the host, the kernel refuses an operation, or the previous agent did not wait for this
    /// one.
    pub async fn start(mut start: Start<'a>) -> anyhow::Result<Self> {
        let mut elected = start.elect().await?;
        let children = Children::default();
        let (attached, monitor, mut notifications) = match start.connect(&mut elected, &children).await {
            Ok(connected) => connected,
            Err(error) => {
                elected.threads.give_up(start.incumbent.is_some());
                return Err(error);
            }
        };
        // From here on, no failure ends this agent.
        let Elected { plans, memberships, threads, counters, outcomes, continues, inherited, farewell, .. } = elected;
        let election = threads.election.requests.clone();
        let farewell = say_farewell(&start, farewell, &threads, inherited.renewed);
        let tracker = Tracker::start(start.config, &outcomes, plans.taking_part(), &children, continues);
        let waits = notify_of_waiting(&plans, &inherited.waiting, &mut notifications);
        let attachment_watch = AttachmentWatch::new(&plans.ready, start.links.reports());
        let sources = Sources {
            counters: Arc::clone(&counters),
            checks: tracker.states(),
            notify_failures: notifications.programs.failures(),
            history: Arc::clone(&notifications.history),
            kept: Arc::clone(&threads.addresses.accounts),
            statics: Arc::clone(&threads.addresses.statics),
            unpinned: attachment_watch.unpinned(),
        };
        let inspector = Inspector::new(start.config, &plans, &waits, &attached.modes, sources, election.clone());
        let (departure, exit_requests) = Departure::new(start.reload, threads.addresses.requests.downgrade());
        let handler = RequestHandler {
            inspector: Arc::new(inspector),
            handovers: Handovers::new(&plans.ready, election.clone()),
            monitors: Monitors::new(monitor, &plans.ready),
            departure: departure.clone(),
        };
        let clients = clients::serve(handler, Arc::clone(&start.server), start.config.agent.metrics);
        let links_were_missed = !start.links.reports().release(attached.lost, start.netlink).await;
        let fence = start_fence(start.attachments, plans.ifindices());
        let reporter = lock_memory(start.config.agent.realtime_priority, Reporter::new(&plans.ready, counters));
        let heartbeats = supervisor::spawn_watchdog(election);
        start.signals.let_in();
        supervisor::notify_ready(plans.ready.len(), waits.len());
        clean_up_after_gone_namespaces(start.pins.clone(), start.config.agent.control.clone());
        Ok(Self {
            config: start.config,
            netlink: start.netlink,
            interface_watch: InterfaceWatch::new(&plans),
            plans,
            waits,
            threads,
            socket: start.socket,
            memberships,
            attachments: start.attachments,
            attachment_watch,
            fence,
            links: start.links,
            links_are_watched: true,
            links_were_missed,
            tracker,
            notifications,
            children,
            reporter,
            discard_check: tokio::time::interval(DISCARD_CHECK),
            signals: start.signals,
            server: start.server,
            clients,
            farewell,
            departure,
            exit_requests,
            heartbeats,
        })
    }
}

/// Returns when virtual routers may take over, if the agent was started now.
fn end_of_delay(agent: &AgentConfig, now: Instant) -> Instant {
    let boot = Instant::from_nanos(0);
    (now + agent.startup_delay).max(boot + agent.boot_delay)
}

impl<'a> Start<'a> {
    /// Returns whether there may be roles to resume. If so, every failure is tolerated that can be repaired later.
    pub fn may_resume(&self) -> bool {
        may_resume(self.inherited.as_ref(), &self.predecessor)
    }

    /// Returns when the delay of takeovers ends that begins now.
    fn delay_takeovers(&self) -> Instant {
        let now = clock::now();
        let end = end_of_delay(&self.config.agent, now);
        let delay = end.since(now);
        if delay > Interval::ZERO {
            let key = if delay > self.config.agent.startup_delay { "boot_delay" } else { "startup_delay" };
            tracing::info!("no virtual router takes over within the next {delay} ({key})");
        }
        end
    }

    /// Starts the election. When this returns, virtual routers that resume a role have advertised.
    async fn elect(&mut self) -> anyhow::Result<Elected<'a>> {
        let mut plans = Plans::new(self.config, self.interfaces);
        let (sockets, memberships) = self.equip(&mut plans)?;
        let mut tables = self.open_tables()?;
        let continues = self.inherited.is_some() || self.incumbent.is_some();
        let inherited = self.inherited.clone().unwrap_or_default();
        let outcomes = tracking::inherited(&self.config.checks, &inherited.checks);
        for plan in &mut plans.ready {
            plan.verdict = tracking::initial(plan.config, &outcomes);
        }
        plans.delayed_until = if continues { inherited.delayed_until } else { self.delay_takeovers() };
        let (removed, retained) = adopt(&mut plans.ready, &mut tables, clock::now())?;
        // The programs of a predecessor stay attached for now. If there are none, this agent's programs have to be
        // attached before it sends any advert.
        let attached = if self.attachments.is_some() { Some(self.attach(&plans.ready).await?) } else { None };
        let held = match &attached {
            Some(attached) => attached.lost.keys().copied().collect(),
            None => plans.ifindices().into_iter().filter(|ifindex| !self.pins.are_attached(*ifindex)).collect(),
        };
        let counters = Arc::new(tables.take_counters()?);
        let placements: PerRouter<_> = plans.ready.iter().map(|plan| placement(plan, &inherited)).collect();
        let resting = placements.enumerate().filter(|(_, placement)| placement.rest.is_on()).map(|(index, _)| index);
        let resting: BTreeSet<RouterIndex> = resting.collect();
        let instances = equipment::instances(&plans, sockets, &held, &resting)?;
        let statics = Statics {
            config: Arc::clone(&self.config.agent.statics),
            addresses: plan::present_statics(self.config, self.interfaces),
        };
        let realtime_priority = self.config.agent.realtime_priority;
        let threads = Threads::start(tables, instances, placements, statics, realtime_priority).await?;
        self.links.reports().connect(threads.election.requests.clone(), held);
        let mut files = std::mem::take(&mut self.files);
        let fifos = std::mem::take(&mut files.fifos);
        files.close_kept();
        let farewell = Farewell { removed, retained };
        Ok(Elected { plans, memberships, threads, attached, counters, outcomes, continues, inherited, fifos, farewell })
    }

    /// Replaces the programs of a predecessor, starts the notifications and relieves the predecessor. These are the
    /// steps after the first adverts that can fail.
    async fn connect(
        &mut self,
        elected: &mut Elected<'a>,
        children: &Children,
    ) -> anyhow::Result<(Attached, Monitor, Notifications)> {
        let attached = match elected.attached.take() {
            Some(attached) => attached,
            None => {
                *self.attachments = Some(Dataplane::open(self.capacity, self.pins)?.attachments);
                self.attach(&elected.plans.ready).await?
            }
        };
        let attachments = self.attachments.as_mut().context("the kernel half is not attached")?;
        // Requested only now that the filters have been opened and recorded.
        elected.threads.request(AddressRequest::KeepFilters(self.filters.record().clone()));
        tokio::spawn(attachments.forward_log()?);
        let monitor = attachments.take_monitor()?;
        let InheritedState { notified, running, latest, before, fifos: left, .. } = &elected.inherited;
        let files = std::mem::take(&mut elected.fifos);
        // Otherwise it would not be certain which file is which.
        let fifos = if files.len() == left.len() { left.iter().cloned().zip(files).collect() } else { Vec::new() };
        let legacy = Legacy {
            fifos,
            notified: notified.clone(),
            running: running.clone(),
            latest: latest.clone(),
            configuration: before.as_ref().and_then(|text| read_earlier(self.config, text)),
        };
        let notifications = Notifications::start(self.config, &elected.plans, legacy, children)?;
        if let Some(incumbent) = self.incumbent {
            incumbent.relieve().context("the previous agent did not wait until this one was ready")?;
        }
        *self.incumbent = None;
        self.haste = None;
        Ok((attached, monitor, notifications))
    }

    /// Opens what each virtual router needs on its interface: sockets and multicast groups.
    ///
    /// After a reload, a virtual router for which this fails waits. Otherwise the start fails.
    fn equip(&self, plans: &mut Plans<'a>) -> anyhow::Result<(Vec<Sockets>, Vec<Memberships>)> {
        open_files::make_room(equipment::files(&plans.ready));
        let (mut joined_by, mut memberships) = (BTreeSet::new(), Vec::new());
        let sockets = plans.equip(|plan| {
            let sockets = Sockets::open(plan, &self.socket)?;
            memberships.extend(equipment::memberships(plan, &mut joined_by)?);
            Ok::<_, EquipmentError>(sockets)
        });
        let failure = plans.waiting.iter().find_map(|waiting| match &waiting.hindrance {
            Hindrance::Failed(message) => Some(message),
            Hindrance::Obstacle(_) => None,
        });
        match failure {
            Some(message) if self.inherited.is_none() => Err(anyhow!("{message}")),
            _ => Ok((sockets, memberships)),
        }
    }

    /// Opens the maps. The maps of a predecessor are used as they are if they fit, because replacing its programs is
    /// not urgent. Otherwise this agent's programs are loaded, with new maps.
    fn open_tables(&mut self) -> anyhow::Result<Tables> {
        if matches!(self.predecessor, Predecessor::Compatible(_)) {
            return Ok(Tables::open(self.pins)?);
        }
        let loaded = Dataplane::open(self.capacity, self.pins)?;
        *self.attachments = Some(loaded.attachments);
        Ok(loaded.tables)
    }

    /// Attaches the kernel half to every interface that has a virtual router, and opens the unicast filters for the
    /// virtual MACs.
    ///
    /// A failure ends the start, unless there are roles to resume: one interface must not make the others lose theirs.
    async fn attach(&mut self, plans: &[Plan<'_>]) -> anyhow::Result<Attached> {
        let may_resume = self.may_resume();
        let attachments = self.attachments.as_mut().context("the kernel half is not loaded")?;
        let mut attached = Attached::default();
        let interfaces: BTreeMap<IfIndex, &Interface> =
            plans.iter().map(|plan| (plan.interface.ifindex, plan.interface)).collect();
        for (&ifindex, Interface { name, xdp, .. }) in &interfaces {
            // If the predecessor was incompatible, the program seen earlier may have been the predecessor's, which is
            // gone now.
            let occupant = xdp.filter(|_| !matches!(self.predecessor, Predecessor::Incompatible(_)));
            match attachments.attach(name, ifindex, occupant) {
                Ok(mode) => {
                    tracing::info!(interface = %name, xdp_mode = %mode, "kernel half attached");
                    attached.modes.insert(ifindex, mode);
                }
                // The agent waits for an interface that has disappeared since the interfaces were listed.
                Err(error) if may_resume || if_nametoindex(name.as_str()) != Ok(ifindex.get()) => {
                    tracing::error!("the kernel half is not attached to {name}: {error}");
                    attached.lost.insert(ifindex, name.clone());
                }
                Err(error) => return Err(error.into()),
            }
        }
        attachments.detach_others();
        for interface in interfaces.values() {
            if if_nametoindex(interface.name.as_str()) != Ok(interface.ifindex.get()) {
                attached.lost.entry(interface.ifindex).or_insert_with(|| interface.name.clone());
            }
        }
        let virtual_macs: Vec<_> =
            plans.iter().filter(|plan| plan.config.virtual_mac).map(|plan| (plan.interface, plan.mac)).collect();
        match self.filters.open(&virtual_macs, self.interfaces).await {
            // The address thread tries again.
            Err(error) if may_resume || !attached.lost.is_empty() => tracing::error!("{error}"),
            opened => opened?,
        }
        Ok(attached)
    }
}

/// Returns what a virtual router needs on the host, with the rest that this process had begun before a reload.
fn placement(plan: &Plan<'_>, inherited: &InheritedState) -> Placement {
    Placement { rest: inherited.rest(&plan.config.name, plan.family), ..plan.placement() }
}

/// Returns whether there may be roles to resume: either this process was an agent before a reload, or another agent has
/// left maps that fit.
pub fn may_resume(inherited: Option<&InheritedState>, predecessor: &Predecessor) -> bool {
    inherited.is_some() || matches!(predecessor, Predecessor::Compatible(_))
}

/// Starts keeping the fence on all interfaces except `ours`.
///
/// The fence has its own netlink socket, because the kernel performs only one listing at a time on each socket.
fn start_fence(attachments: &mut Option<Attachments>, ours: BTreeSet<IfIndex>) -> Option<FenceWatch> {
    let mut start = || -> anyhow::Result<Option<FenceWatch>> {
        let Some(fence) = attachments.as_mut().map(Attachments::open_fence).transpose()?.flatten() else {
            return Ok(None);
        };
        Ok(Some(FenceWatch::start(fence, ours.clone(), Netlink::open()?)))
    };
    start().unwrap_or_else(|error| {
        tracing::warn!("{error}: if this agent dies, its host may keep serving through other interfaces");
        None
    })
}

/// Locks the agent's memory if its threads have real-time scheduling. Returns the reporter, which logs a failure.
fn lock_memory(realtime_priority: u8, mut reporter: Reporter) -> Reporter {
    if realtime_priority > 0
        && let Err(error) = realtime::lock_memory()
    {
        reporter.report(&Report::NotRealtime { what: "lock its memory (CAP_IPC_LOCK)", error });
    }
    reporter
}

/// Gives up the roles of virtual routers that are no longer configured, and logs what the configuration's check warns
/// of. Returns what resolves when that has been done.
fn say_farewell(start: &Start<'_>, farewell: Farewell, threads: &Threads, renewed: bool) -> oneshot::Receiver<()> {
    let (addresses, election) = (threads.addresses.requests.downgrade(), threads.election.requests.clone());
    let (interfaces, socket) = (start.interfaces.to_vec(), Arc::clone(&start.socket));
    let (done, said) = oneshot::channel();
    tokio::spawn(async move {
        farewell.say(addresses, election, interfaces, socket).await;
        // Fails only if the service has ended.
        let _ = done.send(());
    });
    if renewed {
        tokio::spawn(check::report_warnings(start.config.clone()));
    } else if start.inherited.is_none() {
        // All else was checked before.
        tokio::spawn(check::report_unusable_programs(start.config.clone()));
    }
    said
}

/// Reads the configuration that an earlier agent in this process ran with, to find out what has been removed since.
fn read_earlier(config: &Config, text: &Text) -> Option<Config> {
    match xvrrp_config::parse_text(&config.file, text) {
        Ok(mut earlier) => {
            earlier.find_programs(command::find);
            Some(earlier)
        }
        Err(error) => {
            tracing::warn!(
                "the previous configuration is not that of this version, so nobody is notified of what the new one \
                            has removed: {error}"
            );
            None
        }
    }
}

/// Notifies of the virtual routers that wait for their interface, unless a predecessor has done so.
fn notify_of_waiting(plans: &Plans<'_>, before: &[Waits], notifications: &mut Notifications) -> Vec<Waits> {
    let waits = log::waits(&plans.waiting, before);
    for (waiting, waits) in plans.waiting.iter().zip(&waits) {
        notifications.waits(waiting, !before.iter().any(|before| before.is_of(waits)));
    }
    waits
}

/// Removes the pins and records of network namespaces that no longer exist. This can wait until adverts are being sent.
fn clean_up_after_gone_namespaces(pins: Pins, control: PathBuf) {
    tokio::task::spawn_blocking(move || {
        for GoneNamespace { cookie, directory } in pins.remove_of_gone_namespaces() {
            tracing::info!("removed {}: its network namespace is gone", directory.display());
            match unicast_filters::remove_record_of_gone(&control, cookie) {
                Ok(Some(record)) => tracing::info!("removed {}: its network namespace is gone", record.display()),
                Ok(None) => {}
                Err(error) => tracing::warn!("{error}"),
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    // parity 19
    #[test]
    fn takeovers_are_delayed_from_the_start_and_from_the_boot_whichever_ends_later() {
        let end = |startup_delay, boot_delay, now: u64| {
            let seconds = Interval::from_seconds;
            let (startup_delay, boot_delay) = (seconds(startup_delay), seconds(boot_delay));
            let agent = AgentConfig { startup_delay, boot_delay, ..AgentConfig::default() };
            end_of_delay(&agent, Instant::from_nanos(now * 1_000_000_000)).as_nanos() / 1_000_000_000
        };
        assert_eq!(end(0, 0, 40), 40);
        assert_eq!(end(5, 0, 40), 45);
        assert_eq!(end(5, 90, 40), 90);
        assert_eq!(end(60, 90, 40), 100);
        assert_eq!(end(5, 90, 4_000), 4_005);
    }
}
