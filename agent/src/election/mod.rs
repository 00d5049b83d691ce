//! The real-time loop: what the kernel half heard and the deadlines that passed go in, adverts and roles come out.
//!
//! One dedicated thread owns every state machine, the BPF maps, the ring buffer, the packet sockets and the timer. It
//! never waits for the management side: what it has to tell goes into an unbounded queue, and only when a role changes
//! or something is wrong, so that in steady state it allocates nothing and logs nothing.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod announcing;
mod checksum;
mod comparison;
mod config;
mod entry;
mod frames;
mod instance;
mod status;
mod timer;
mod unison;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::iter;
use std::net::IpAddr;
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use xvrrp_common::units::{Instant, Interval, MacAddress, Priority};
use xvrrp_dataplane::{DataplaneError, Events, Retained, Tables, Told};

use crate::addresses::{Request, Standing};
use crate::identity::{PerRouter, RouterIndex};
use crate::process::clock;
use crate::process::realtime;
use announcing::{Pace, TURN, Urgency};
pub use config::InstanceConfig;
pub use frames::Advertised;
pub use instance::Instance;
pub use status::{Heard, Rival, RouterStatus, Timers};
use timer::DeadlineTimer;

/// How many events are taken before deadlines are looked at again: some 100 us of work.
const EVENTS_PER_ROUND: usize = 64;

/// How long the lease of all is left alone after it was worked out, even if one of them has ended.
const RENEWAL_PAUSE: Interval = Interval::from_millis(1);

/// What the management side asks of the election.
#[derive(Debug)]
pub enum Command {
    /// An interface has got or lost its carrier, or another address of its own.
    Interface { ifindex: u32, running: bool, mac: Option<MacAddress> },
    /// What the tracked checks make of a virtual router.
    Track { router: RouterIndex, priority: Priority, checks: xvrrp_vrrp::Checks },
    /// Whether these virtual routers leave their role to others.
    StandBy { routers: Vec<RouterIndex>, on: bool },
    /// Return the status of each virtual router.
    Status(oneshot::Sender<PerRouter<RouterStatus>>),
    /// Have the kernel half forget all but these: the addresses of the others are off the host.
    Forget(Retained),
    /// Say that the thread goes on.
    Answer(oneshot::Sender<()>),
    /// Give up every role and end.
    Stop,
    /// End, and leave everything as it is to a successor.
    HandOver,
}

/// What the election reports to the management side.
#[derive(Debug)]
pub enum Report {
    Transition {
        router: RouterIndex,
        transition: Transition,
    },
    Problem {
        router: RouterIndex,
        problem: Problem,
    },
    /// Another host says that it has one of our addresses.
    RivalClaim {
        router: RouterIndex,
        rival: Rival,
    },
    /// The thread could not be put ahead of ordinary load.
    NotRealtime {
        what: &'static str,
        error: io::Error,
    },
}

/// A change of state that has happened.
#[derive(Clone, Copy, Debug)]
pub struct Transition {
    pub from: xvrrp_vrrp::State,
    pub to: xvrrp_vrrp::State,
    pub reason: xvrrp_vrrp::Reason,
    /// The one that is advertised.
    pub priority: Priority,
    pub at: Instant,
}

/// Something an operator should look at; told once, and again only after it has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// RFC 9568 7.1: "the administrator should be notified".
    #[error("{router} advertises {count} addresses that are not ours: the configurations differ")]
    AddressesDiffer { router: IpAddr, count: u8 },
    /// RFC 9568 7.1.
    #[error("{router} advertises every {theirs}, we every {ours}: the configurations differ")]
    IntervalsDiffer { router: IpAddr, theirs: Interval, ours: Interval },
    /// RFC 9568 7.1: we own the addresses, so nobody else should advertise them.
    #[error("{router} advertises with priority {priority} although this host owns the addresses")]
    OwnerContested { router: IpAddr, priority: Priority },
    /// RFC 9568 and RFC 5798 5.2.8.
    #[error(
        "{router} advertises beside us and computes the checksum in another form: if it ignores our adverts for that, set \
         checksum on both sides"
    )]
    ChecksumsDiffer { router: IpAddr },
    #[error("cannot send on the interface: {0}")]
    CannotSend(Errno),
    /// An advert, to one of `unicast_peers`.
    #[error(
        "cannot send to {peer}, which would take over beside us: {error}; nothing is served until that is possible"
    )]
    CannotSendTo { peer: IpAddr, error: Errno },
}

/// What ends the election other than [`Command::Stop`].
#[derive(Debug, thiserror::Error)]
pub enum ElectionError {
    #[error("the election thread cannot wait for events: {0}")]
    Wait(#[from] io::Error),
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    #[error("the election thread panicked; the message stands above")]
    Panicked,
    #[error("the address thread has ended, so virtual addresses neither come nor go; the lines above say why")]
    AddressesEnded,
}

/// How the election ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// No role is left.
    Stopped,
    /// Roles, leases and addresses are left to a successor.
    HandedOver,
}

/// The running election.
#[derive(Debug)]
pub struct Handle {
    pub commands: mpsc::UnboundedSender<Command>,
    pub reports: mpsc::UnboundedReceiver<Report>,
    thread: JoinHandle<(Tables, Result<Ending, ElectionError>)>,
}

impl Handle {
    /// Waits for the thread to end. A thread that has panicked has taken the maps along.
    pub fn join(self) -> (Option<Tables>, Result<Ending, ElectionError>) {
        match self.thread.join() {
            Ok((tables, outcome)) => (Some(tables), outcome),
            Err(_) => (None, Err(ElectionError::Panicked)),
        }
    }
}

/// Starts the election of `instances`, which has `addresses` installed and removed, and hears how they stand from the thread
/// that does it. `realtime_priority` 0 leaves the election's thread with ordinary scheduling.
pub fn spawn(
    tables: Tables,
    instances: PerRouter<Instance>,
    (addresses, standings): (mpsc::UnboundedSender<Request>, mpsc::UnboundedReceiver<Standing>),
    realtime_priority: u8,
) -> io::Result<Handle> {
    let (commands, command_receiver) = mpsc::unbounded_channel();
    let (report_sender, reports) = mpsc::unbounded_channel();
    let thread = thread::Builder::new().name("election".to_owned()).spawn(move || {
        if realtime_priority > 0 {
            be_realtime(realtime_priority, &report_sender);
            realtime::touch_memory();
        }
        let pace = Pace::new(instances.len());
        let outlets = Outlets { reports: report_sender, addresses };
        let mut election = Election { tables, instances, outlets, pace, renew_all_at: Instant::default() };
        let outcome = election.run_to_end(command_receiver, standings);
        (election.tables, outcome)
    })?;
    Ok(Handle { commands, reports, thread })
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
    /// When the lease of all is worked out again, unless something has ended it before.
    renew_all_at: Instant,
}

/// Where the election tells others what to do and to know. None of them is ever waited for.
struct Outlets {
    reports: mpsc::UnboundedSender<Report>,
    addresses: mpsc::UnboundedSender<Request>,
}

impl Outlets {
    // Whoever listens outlives the thread, but for the last moments of a stop that failed.

    fn report(&self, report: Report) {
        let _ = self.reports.send(report);
    }

    fn request(&self, request: Request) {
        let _ = self.addresses.send(request);
    }
}

impl Election {
    fn run_to_end(
        &mut self,
        commands: mpsc::UnboundedReceiver<Command>,
        standings: mpsc::UnboundedReceiver<Standing>,
    ) -> Result<Ending, ElectionError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let outcome = runtime.block_on(self.run(commands, standings));
        if let Ok(Ending::HandedOver) = outcome {
            self.outlets.request(Request::Leave);
            return outcome;
        }
        // Whatever happened, no role is kept that nobody attends to.
        let stopped = self.for_each(|instance, now| instance.handle(xvrrp_vrrp::Event::Shutdown, now));
        outcome.and_then(|ending| stopped.map(|()| ending))
    }

    async fn run(
        &mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut standings: mpsc::UnboundedReceiver<Standing>,
    ) -> Result<Ending, ElectionError> {
        // SAFETY: `Events` owns the descriptor, and keeps it until it is dropped.
        let mut events = unsafe { AsyncFd::register(self.tables.take_events()?) }.map_err(io::Error::from)?;
        let mut timer = DeadlineTimer::new()?;
        let by_slot: BTreeMap<u32, RouterIndex> =
            self.instances.enumerate().map(|(index, instance)| (instance.slot(), index)).collect();
        for index in self.instances.indices() {
            self.tell_of_partners(index, clock::now());
        }
        self.for_each(Instance::start)?;
        loop {
            self.pace.begin_round();
            // Nothing fires before what was heard until now is known.
            let more = self.drain_events(events.get_mut(), &by_slot)?;
            self.fire_deadlines()?;
            let announces = self.announce();
            self.renew_lease_of_all();
            let next = self.instances.iter().filter_map(Instance::deadline).chain(announces).min();
            timer.arm(if more { Some(clock::now()) } else { next })?;
            tokio::select! {
                // Whatever ends the wait, events and deadlines are looked at; a flood of them must not keep us from being
                // told to stop.
                biased;
                command = commands.recv() => match command {
                    Some(Command::Interface { ifindex, running, mac }) => self.interface_changed(ifindex, running, mac)?,
                    Some(Command::Track { router, priority, checks }) => self.track(router, priority, checks)?,
                    Some(Command::StandBy { routers, on }) => self.stand_by(&routers, on)?,
                    Some(Command::Status(reply)) => {
                        let now = clock::now();
                        // Who asked may have gone; that is all the same to us.
                        let _ = reply.send(self.instances.iter().map(|instance| instance.status(now, &self.tables)).collect());
                    }
                    Some(Command::Forget(retained)) => {
                        // What stays in the maps has no role, and goes at the next start.
                        let _ = self.tables.retain(&retained);
                    }
                    Some(Command::Answer(reply)) => {
                        let _ = reply.send(());
                    }
                    Some(Command::Stop) | None => return Ok(Ending::Stopped),
                    Some(Command::HandOver) => {
                        self.drain_events(events.get_mut(), &by_slot)?;
                        for index in self.instances.indices() {
                            if let Some(instance) = self.instances.get_mut(index) {
                                instance.part(&self.tables);
                            }
                            self.act(index)?;
                        }
                        return Ok(Ending::HandedOver);
                    }
                },
                standing = standings.recv() => match standing {
                    Some(Standing::Kept { router, kept }) => self.keep(router, kept)?,
                    Some(Standing::Removed { router }) => {
                        if let Some(instance) = self.instances.get_mut(router) {
                            instance.addresses_are_off(&mut self.tables)?;
                        }
                    }
                    // It outlives us, unless something is wrong.
                    None => return Err(ElectionError::AddressesEnded),
                },
                ready = events.readable_mut() => ready?.clear_ready(),
                expired = timer.expired() => expired?,
            }
        }
    }

    /// Whether there may be more events than one round takes, so that a flood of them delays no advert.
    fn drain_events(
        &mut self,
        events: &mut Events,
        by_slot: &BTreeMap<u32, RouterIndex>,
    ) -> Result<bool, ElectionError> {
        for _ in 0..EVENTS_PER_ROUND {
            let Some(told) = events.next() else {
                return Ok(false);
            };
            // A predecessor may have had a virtual router that we have not.
            let slot = match told {
                Told::Advert(event) => event.slot,
                Told::Claim(claim) => claim.slot,
            };
            let Some(&index) = by_slot.get(&slot) else { continue };
            let Some(instance) = self.instances.get_mut(index) else { continue };
            match told {
                Told::Advert(event) if instance.key() == event.router => instance.heard(&event.advert, clock::now()),
                Told::Advert(_) => {}
                Told::Claim(claim) => instance.contest(&claim, clock::now(), &self.outlets, &mut self.pace),
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

    /// Sends announcements that were put off, as many as one round may; when there can be more of them.
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

    /// Lets the one announce whose turn it is; when it can go on, if there is more.
    fn announce_next(&mut self, urgency: Urgency) -> Option<Instant> {
        let index = self.pace.next(urgency)?;
        let instance = self.instances.get_mut(index)?;
        instance.owed().leave_queue(urgency);
        instance.announce(urgency, TURN, &self.tables, &mut self.pace);
        self.pace.enqueue(index, instance.owed());
        let left = instance.owed().of(urgency);
        (left > 0).then(|| self.pace.affords(instance.ifindex(), left.min(TURN)))
    }

    /// A look at every virtual router, which not every advert is worth: each has sent another one before the first lease
    /// ends.
    fn renew_lease_of_all(&mut self) {
        let now = clock::now();
        if now < self.renew_all_at && !self.tables.lease_of_all_has_ended() {
            return;
        }
        let active = self.instances.iter().filter_map(Instance::slot_with_addresses);
        let until = Instant::from_nanos(self.tables.renew_lease_of_all(now, active));
        self.renew_all_at = now + Interval::from_nanos(until.since(now).as_nanos() / 4).max(RENEWAL_PAUSE);
    }

    fn interface_changed(&mut self, ifindex: u32, running: bool, mac: Option<MacAddress>) -> Result<(), ElectionError> {
        for instance in self.instances.iter_mut().filter(|instance| instance.key().ifindex == ifindex) {
            if let Some(mac) = mac {
                instance.set_interface_mac(mac, &mut self.tables)?;
            }
        }
        // All of them first: who has a cause of its own does not give its partner's.
        let now = clock::now();
        for instance in self.instances.iter_mut().filter(|instance| instance.key().ifindex == ifindex) {
            instance.set_running(running, now);
        }
        for index in self.instances.indices() {
            self.tell_of_partners(index, now);
        }
        self.for_each(|_, _| {})
    }

    /// Checks are the same for all that change role together.
    fn track(
        &mut self,
        router: RouterIndex,
        priority: Priority,
        checks: xvrrp_vrrp::Checks,
    ) -> Result<(), ElectionError> {
        let now = clock::now();
        let Some(instance) = self.instances.get(router) else { return Ok(()) };
        let partners = instance.partners();
        // The priority first: who comes back has it from the start.
        for event in [xvrrp_vrrp::Event::Priority(priority), xvrrp_vrrp::Event::Checks(checks)] {
            for one in iter::once(router).chain(partners.iter().copied()) {
                if let Some(instance) = self.instances.get_mut(one) {
                    instance.handle(event, now);
                }
            }
        }
        for one in iter::once(router).chain(partners.iter().copied()) {
            self.act(one)?;
        }
        Ok(())
    }

    /// What a virtual router needs on this host stays there again, or does not: its partners cannot do without it.
    fn keep(&mut self, router: RouterIndex, kept: bool) -> Result<(), ElectionError> {
        let now = clock::now();
        let Some(instance) = self.instances.get_mut(router) else { return Ok(()) };
        instance.set_kept(kept, now);
        let partners = instance.partners();
        for &partner in &*partners {
            self.tell_of_partners(partner, now);
        }
        iter::once(router).chain(partners.iter().copied()).try_for_each(|one| self.act(one))
    }

    fn stand_by(&mut self, routers: &[RouterIndex], on: bool) -> Result<(), ElectionError> {
        let now = clock::now();
        let found = routers.iter().filter_map(|router| Some((*router, self.instances.get(*router)?.partners())));
        let all: BTreeSet<RouterIndex> =
            found.flat_map(|(router, partners)| iter::once(router).chain(partners.to_vec())).collect();
        // All of them before any acts: each says so itself, and none follows its partner without a word.
        for &router in &all {
            if let Some(instance) = self.instances.get_mut(router) {
                instance.handle(xvrrp_vrrp::Event::StandBy(on), now);
            }
        }
        all.into_iter().try_for_each(|router| self.act(router))
    }

    /// Goes on after a failure, and returns the first.
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
