//! The real-time loop: takes adverts from the kernel half and deadlines that have passed, and produces adverts and
//! roles.
//!
//! One dedicated thread owns every state machine, the BPF maps, the ring buffer, the packet sockets and the timer. It
//! never waits for the management side: its reports go into an unbounded queue. It reports only when a role changes or
//! something is wrong, so in steady state it allocates nothing and logs nothing.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod announcement_pace;
mod checksum;
mod comparison;
mod config;
mod entry;
mod frames;
mod instance;
mod report;
mod status;
mod timer;
mod unison;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::iter;
use std::thread::{self, JoinHandle};

use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use xvrrp_common::units::{IfIndex, Instant, Interval, MacAddress, Priority};
use xvrrp_dataplane::{DataplaneError, Events, KernelEvent, Retained, Slot, Tables};
use xvrrp_net::LinkState;

use crate::addresses::{AddressReport, AddressRequest};
use crate::identity::{PerRouter, RouterIndex};
use crate::process::clock;
use crate::process::realtime;
use announcement_pace::{Pace, TURN, Urgency};
pub(crate) use config::{AnnouncedDevice, InstanceConfig};
pub(crate) use entry::MapEntry;
pub(crate) use frames::Advertised;
pub use instance::Instance;
use report::Outlets;
pub use report::{Report, RouterProblem, Transition};
pub use status::{Conflict, LatestAdvert, RouterStatus, Timers};
use timer::DeadlineTimer;

/// Maximum number of events to handle before deadlines are checked again: about 100 us of work.
const EVENTS_PER_ROUND: usize = 64;

/// Minimum time between two computations of the lease of all, even if one of the leases has ended.
const RENEWAL_PAUSE: Interval = Interval::from_millis(1);

/// A request of the management side to the election.
#[derive(Debug)]
pub enum ElectionRequest {
    /// An interface has gained or lost its carrier, or its own MAC address has changed.
    Interface {
        /// The interface.
        ifindex: IfIndex,
        /// Whether it can carry frames.
        link: LinkState,
        /// Its own MAC address, or `None` if it is gone.
        mac: Option<MacAddress>,
    },
    /// The tracked checks have new verdicts on these virtual routers.
    Track(Vec<TrackedVerdict>),
    /// These virtual routers leave their role to others from now on, or no longer do.
    StandBy {
        /// Numbers of the virtual routers.
        routers: Vec<RouterIndex>,
        /// Whether they leave the role to others.
        on: bool,
    },
    /// Return the status of each virtual router.
    Status(oneshot::Sender<PerRouter<RouterStatus>>),
    /// Remove all but these from the maps of the kernel half: the addresses of the others are off the host.
    Forget(Retained),
    /// Answer, to prove that the thread runs.
    Answer(oneshot::Sender<()>),
    /// Give up every role, then end the thread.
    Stop,
    /// End the thread, and leave roles, leases and addresses to a successor.
    Succession,
}

/// What the tracked checks say about a virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackedVerdict {
    /// Its number.
    pub router: RouterIndex,
    /// The priority to advertise.
    pub priority: Priority,
    /// Whether the checks let it take part.
    pub checks: xvrrp_vrrp::Checks,
}

/// Why the election ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum ElectionError {
    /// The kernel refuses the timer, or the runtime of the thread.
    #[error("the election thread cannot wait for events: {0}")]
    Wait(#[from] io::Error),
    /// The maps or the ring buffer of the kernel half cannot be used.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// The thread has panicked.
    #[error("the election thread panicked; its message is in the log above")]
    Panicked,
    /// The address thread has ended before the election.
    #[error(
        "the address thread has ended, so virtual addresses can no longer be installed or removed; see the log above"
    )]
    AddressesEnded,
}

/// How the election ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every role was given up.
    Stopped,
    /// Roles, leases and addresses are left to a successor.
    Succeeded,
}

/// The running election.
#[derive(Debug)]
pub struct ElectionThread {
    /// Queue of requests to the election. Sending fails once the election has ended.
    pub requests: mpsc::UnboundedSender<ElectionRequest>,
    /// Queue of its reports, which is closed when the election ends, for whatever reason.
    pub reports: mpsc::UnboundedReceiver<Report>,
    thread: JoinHandle<(Tables, Result<Ending, ElectionError>)>,
}

impl ElectionThread {
    /// Waits for the thread to end. Returns no maps if the thread has panicked.
    pub fn join(self) -> (Option<Tables>, Result<Ending, ElectionError>) {
        match self.thread.join() {
            Ok((tables, outcome)) => (Some(tables), outcome),
            Err(_) => (None, Err(ElectionError::Panicked)),
        }
    }
}

/// Starts the election of `instances`. It sends requests to install and remove addresses to the address thread, and
/// receives from that thread how they stand. With `realtime_priority` 0, the election thread has ordinary scheduling.
///
/// # Errors
/// The thread cannot be started, or the kernel refuses a timer.
pub fn spawn(
    tables: Tables,
    instances: PerRouter<Instance>,
    (addresses, address_reports): (mpsc::UnboundedSender<AddressRequest>, mpsc::UnboundedReceiver<AddressReport>),
    realtime_priority: u8,
) -> io::Result<ElectionThread> {
    let (requests, request_receiver) = mpsc::unbounded_channel();
    let (report_sender, reports) = mpsc::unbounded_channel();
    let thread = thread::Builder::new().name("election".to_owned()).spawn(move || {
        if realtime_priority > 0 {
            be_realtime(realtime_priority, &report_sender);
            realtime::touch_memory();
        }
        let pace = Pace::new(instances.len());
        let outlets = Outlets::new(report_sender, addresses);
        let mut election = Election { tables, instances, outlets, pace, renew_all_at: Instant::default() };
        let outcome = election.run_to_end(request_receiver, address_reports);
        (election.tables, outcome)
    })?;
    Ok(ElectionThread { requests, reports, thread })
}

fn be_realtime(priority: u8, reports: &mpsc::UnboundedSender<Report>) {
    if let Err(error) = realtime::schedule_fifo(priority) {
        let _ = reports.send(Report::NotRealtime { what: "use real-time scheduling (CAP_SYS_NICE)", error });
    }
}

struct Election {
    tables: Tables,
    instances: PerRouter<Instance>,
    outlets: Outlets,
    pace: Pace,
    /// Time at which to compute the lease of all again, unless the kernel half ends a lease earlier.
    renew_all_at: Instant,
}

impl Election {
    fn run_to_end(
        &mut self,
        requests: mpsc::UnboundedReceiver<ElectionRequest>,
        address_reports: mpsc::UnboundedReceiver<AddressReport>,
    ) -> Result<Ending, ElectionError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let outcome = runtime.block_on(self.run(requests, address_reports));
        if let Ok(Ending::Succeeded) = outcome {
            self.outlets.request(AddressRequest::Leave);
            return outcome;
        }
        // Even after an error, every role is given up: nothing would attend to it any more.
        let stopped = self.for_each(|instance, now| instance.handle(xvrrp_vrrp::Event::Shutdown, now));
        outcome.and_then(|ending| stopped.map(|()| ending))
    }

    async fn run(
        &mut self,
        mut requests: mpsc::UnboundedReceiver<ElectionRequest>,
        mut address_reports: mpsc::UnboundedReceiver<AddressReport>,
    ) -> Result<Ending, ElectionError> {
        // SAFETY: `Events` owns the descriptor, and keeps it until it is dropped.
        let mut events = unsafe { AsyncFd::register(self.tables.take_events()?) }.map_err(io::Error::from)?;
        let mut timer = DeadlineTimer::new()?;
        let by_slot: BTreeMap<Slot, RouterIndex> =
            self.instances.enumerate().map(|(index, instance)| (instance.slot(), index)).collect();
        for index in self.instances.indices() {
            self.refresh(index, clock::now());
        }
        self.for_each(Instance::start)?;
        loop {
            self.pace.begin_round();
            // Adverts that have arrived are handled before any deadline that they may move.
            let more = self.drain_events(events.get_mut(), &by_slot)?;
            self.fire_deadlines()?;
            let announces = self.announce();
            self.renew_lease_of_all();
            let next = self.instances.iter().filter_map(Instance::deadline).chain(announces).min();
            timer.arm(if more { Some(clock::now()) } else { next })?;
            tokio::select! {
                // Events and deadlines are handled whatever ends the wait. Requests come first, so that a flood of
                // events cannot keep a stop from being noticed.
                biased;
                request = requests.recv() => match request {
                    Some(ElectionRequest::Interface { ifindex, link, mac }) => self.interface_changed(ifindex, link, mac)?,
                    Some(ElectionRequest::Track(verdicts)) => self.track(&verdicts)?,
                    Some(ElectionRequest::StandBy { routers, on }) => self.stand_by(&routers, on)?,
                    Some(ElectionRequest::Status(reply)) => {
                        let now = clock::now();
                        // The requester may be gone by now, which does not matter.
                        let status = self.instances.iter().map(|instance| instance.status(now, &self.tables));
                        let _ = reply.send(status.collect());
                    }
                    Some(ElectionRequest::Forget(retained)) => {
                        // Entries that stay in the maps have no role. The next start removes them.
                        let _ = self.tables.retain(&retained);
                    }
                    Some(ElectionRequest::Answer(reply)) => {
                        let _ = reply.send(());
                    }
                    Some(ElectionRequest::Stop) | None => return Ok(Ending::Stopped),
                    Some(ElectionRequest::Succession) => {
                        self.drain_events(events.get_mut(), &by_slot)?;
                        for index in self.instances.indices() {
                            if let Some(instance) = self.instances.get_mut(index) {
                                instance.part(&self.tables);
                            }
                            self.act(index)?;
                        }
                        return Ok(Ending::Succeeded);
                    }
                },
                address_report = address_reports.recv() => match address_report {
                    Some(AddressReport::Kept { router, kept }) => self.keep(router, kept)?,
                    Some(AddressReport::Removed { router }) => {
                        if let Some(instance) = self.instances.get_mut(router) {
                            instance.addresses_are_off(&mut self.tables)?;
                        }
                    }
                    // The address thread outlives this one unless something is wrong.
                    None => return Err(ElectionError::AddressesEnded),
                },
                ready = events.readable_mut() => ready?.clear_ready(),
                expired = timer.expired() => expired?,
            }
        }
    }

    /// Handles a limited number of events, so that a flood of them delays no advert. Returns whether there may be more.
    fn drain_events(
        &mut self,
        events: &mut Events,
        by_slot: &BTreeMap<Slot, RouterIndex>,
    ) -> Result<bool, ElectionError> {
        for _ in 0..EVENTS_PER_ROUND {
            let Some(event) = events.next() else {
                return Ok(false);
            };
            // The slot may belong to a virtual router that only the predecessor had.
            let Some(&index) = by_slot.get(&event.slot()) else { continue };
            let Some(instance) = self.instances.get_mut(index) else { continue };
            match event {
                KernelEvent::Advert(event) if instance.key() == event.router => {
                    instance.heard(&event.advert, clock::now());
                }
                KernelEvent::Advert(_) => {}
                KernelEvent::Conflict(claim) => instance.contest(&claim, clock::now(), &self.outlets, &mut self.pace),
            }
            self.act(index)?;
        }
        Ok(true)
    }

    fn fire_deadlines(&mut self) -> Result<(), ElectionError> {
        let now = clock::now();
        if !self.instances.iter().any(|instance| instance.is_due(now)) {
            return Ok(());
        }
        for index in self.instances.indices() {
            let is_concerned = |instance: &Instance| instance.is_due(now) || instance.is_nearly_due(now);
            if self.instances.get(index).is_some_and(is_concerned) {
                self.fire(index, now)?;
            }
        }
        Ok(())
    }

    /// Sends announcements that were put off, up to the limit of one round. Returns when more can be sent.
    fn announce(&mut self) -> Option<Instant> {
        let now = clock::now();
        while self.pace.waiting(Urgency::Takeover) > 0 {
            if self.pace.is_spent() {
                return Some(now);
            }
            self.announce_next(Urgency::Takeover);
        }
        let mut next = None;
        for _ in 0..self.pace.waiting(Urgency::Routine) {
            if self.pace.is_spent() {
                return Some(now);
            }
            next = self.announce_next(Urgency::Routine).into_iter().chain(next).min();
        }
        next
    }

    /// Sends announcements of the virtual router whose turn it is. Returns when it can send more, if more are left.
    fn announce_next(&mut self, urgency: Urgency) -> Option<Instant> {
        let index = self.pace.next(urgency)?;
        let instance = self.instances.get_mut(index)?;
        instance.owed().leave_queue(urgency);
        instance.announce(urgency, TURN, &self.tables, &mut self.pace);
        self.pace.enqueue(index, instance.owed());
        let left = instance.owed().of(urgency);
        (left > 0).then(|| self.pace.affords(instance.ifindex(), left.min(TURN)))
    }

    /// Renews the lease of all, which takes a look at every virtual router. Not every advert needs that: each Active
    /// router sends another one before the first lease ends.
    fn renew_lease_of_all(&mut self) {
        let now = clock::now();
        if now < self.renew_all_at && !self.tables.lease_of_all_has_ended() {
            return;
        }
        let active = self.instances.iter().filter_map(Instance::slot_with_addresses);
        let until = Instant::from_nanos(self.tables.renew_lease_of_all(now, active));
        self.renew_all_at = now + Interval::from_nanos(until.since(now).as_nanos() / 4).max(RENEWAL_PAUSE);
    }

    fn interface_changed(
        &mut self,
        ifindex: IfIndex,
        link: LinkState,
        mac: Option<MacAddress>,
    ) -> Result<(), ElectionError> {
        for instance in self.instances.iter_mut().filter(|instance| instance.ifindex() == ifindex) {
            if let Some(mac) = mac {
                instance.set_interface_mac(mac, &mut self.tables)?;
            }
            instance.set_link(link);
        }
        for (_, instance) in self.instances.enumerate_mut() {
            instance.device_changed(ifindex, link, mac);
        }
        let now = clock::now();
        for index in self.instances.indices() {
            self.refresh(index, now);
        }
        self.for_each(|_, _| {})
    }

    /// Applies the verdicts of the tracked checks. All of them before any acts: those that a check affects at the same
    /// time have it as their own reason, and not their partner's.
    fn track(&mut self, verdicts: &[TrackedVerdict]) -> Result<(), ElectionError> {
        let now = clock::now();
        for &TrackedVerdict { router, priority, checks } in verdicts {
            if let Some(instance) = self.instances.get_mut(router) {
                // The priority first: a virtual router that recovers has it from the start.
                instance.handle(xvrrp_vrrp::Event::Priority(priority), now);
                instance.set_checks(checks);
            }
        }
        let routers: Vec<RouterIndex> = verdicts.iter().map(|verdict| verdict.router).collect();
        self.refresh_all(&routers, now)
    }

    /// Records whether everything that a virtual router needs stays on this host, which its partners depend on too.
    fn keep(&mut self, router: RouterIndex, kept: bool) -> Result<(), ElectionError> {
        if let Some(instance) = self.instances.get_mut(router) {
            instance.set_kept(kept);
        }
        self.refresh_all(&[router], clock::now())
    }

    fn stand_by(&mut self, routers: &[RouterIndex], on: bool) -> Result<(), ElectionError> {
        let now = clock::now();
        let found = routers.iter().filter_map(|router| Some((*router, self.instances.get(*router)?.partners())));
        let all: BTreeSet<RouterIndex> =
            found.flat_map(|(router, partners)| iter::once(router).chain(partners.to_vec())).collect();
        // All of them before any acts: each then changes by itself, and none merely follows its partner.
        for &router in &all {
            if let Some(instance) = self.instances.get_mut(router) {
                instance.handle(xvrrp_vrrp::Event::StandBy(on), now);
            }
        }
        all.into_iter().try_for_each(|router| self.act(router))
    }

    /// Applies a change to every virtual router and carries out what follows. Continues after a failure, and returns
    /// the first one.
    fn for_each(&mut self, mut apply: impl FnMut(&mut Instance, Instant)) -> Result<(), ElectionError> {
        let now = clock::now();
        let mut outcome = Ok(());
        for index in self.instances.indices() {
            if let Some(instance) = self.instances.get_mut(index) {
                apply(instance, now);
            }
            outcome = outcome.and(self.act(index));
        }
        outcome
    }
}
