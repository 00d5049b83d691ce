//! A virtual router of ours: its state machine, and the hands that carry out what the machine decides.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use nix::errno::Errno;
use xvrrp_common::abi::{self, RouterKey};
use xvrrp_common::units::{Instant, Interval, MacAddress, Priority, Version};
use xvrrp_common::wire::{arp, vrrp as wire};

use super::status::{RouterStatus, Timers};
use super::{Outlets, Problem, Report, Transition};
use crate::dataplane::{Dataplane, DataplaneError};
use crate::net::PacketSocket;
use crate::vrrp::{Action, Advert, Config, Event, State, VirtualRouter};

/// How long after a problem with others' adverts the next one is told at the earliest.
const PROBLEM_PAUSE: Interval = Interval::from_millis(10_000);

/// Everything that a virtual router of ours is made of.
#[derive(Debug)]
pub struct InstanceConfig {
    /// Its place in the configuration; also its slot in the maps.
    pub index: usize,
    pub key: RouterKey,
    /// As the kernel half sees it, in the role [`abi::Router::ROLE_INITIALIZE`].
    pub kernel: abi::Router,
    pub machine: Config,
    pub primary: Ipv4Addr,
    pub addresses: Vec<Ipv4Addr>,
    /// Source of adverts and announcements: the virtual MAC, or the interface's own.
    pub mac: MacAddress,
    /// Version 2: simple password (RFC 2338 5.3.10).
    pub password: Option<[u8; 8]>,
    pub socket: Arc<PacketSocket>,
    /// Whether the interface is up and has a carrier at the start.
    pub running: bool,
}

/// See [`InstanceConfig`].
#[derive(Debug)]
pub struct Instance {
    config: InstanceConfig,
    machine: VirtualRouter,
    /// The role and flags that the kernel half last got.
    kernel: abi::Router,
    /// The adverts, ready to be sent: with our priority, and with priority 0.
    advert: Vec<u8>,
    release: Vec<u8>,
    /// A gratuitous ARP for each virtual address, ready to be sent.
    announcements: Vec<[u8; 42]>,
    address_sum: u16,
    /// The form of the checksum that the adverts have.
    pseudo_header_checksum: bool,
    /// The last problem told with each origin, so that none is told twice in a row.
    last_advert_problem: Option<Problem>,
    advert_problem_told: Option<Instant>,
    last_send_error: Option<Errno>,
    pending_problem: Option<Problem>,
    adverts_sent: u64,
}

impl Instance {
    /// Fails where an advert cannot carry what the configuration says, which its check should have refused.
    pub fn new(config: InstanceConfig) -> io::Result<Self> {
        let mut instance = Self {
            machine: VirtualRouter::new(config.machine.clone()),
            kernel: config.kernel,
            advert: Vec::new(),
            release: Vec::new(),
            announcements: config.addresses.iter().map(|vip| arp::gratuitous(config.mac, vip.octets())).collect(),
            address_sum: wire::address_sum(&octets(&config.addresses)),
            pseudo_header_checksum: config.kernel.checksum != abi::Router::CHECKSUM_PLAIN,
            last_advert_problem: None,
            advert_problem_told: None,
            last_send_error: None,
            pending_problem: None,
            adverts_sent: 0,
            config,
        };
        instance.build_adverts()?;
        if !instance.config.running {
            instance.machine.handle_event(Event::InterfaceDown, Instant::default());
        }
        Ok(instance)
    }

    pub(super) fn ifindex(&self) -> u32 {
        self.config.key.ifindex
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.machine.poll_timeout()
    }

    pub(super) fn handle(&mut self, event: Event, now: Instant) {
        self.machine.handle_event(event, now);
    }

    /// An advert that the kernel half found worth telling.
    pub(super) fn heard(&mut self, advert: &abi::Advert, now: Instant) {
        let source = source(advert);
        self.follow_checksum(advert);
        self.compare(advert, source, now);
        self.machine.handle_event(
            Event::Advert(Advert {
                received_at: Instant::from_nanos(advert.received_at),
                source,
                priority: Priority::new(advert.priority),
                interval: Interval::from_nanos(advert.interval),
            }),
            now,
        );
    }

    /// Lets the machine act on a deadline that has passed, unless the kernel half has heard better in the meantime.
    pub(super) fn fire(&mut self, now: Instant, dataplane: &mut Dataplane) -> Result<(), DataplaneError> {
        self.hear_stamp(dataplane, now);
        if self.takeover_is_due(now) {
            // From the moment that the kernel half knows the role it tells of every advert. One that came between the
            // stamp read above and that moment shows in the stamp read here; none goes unnoticed.
            self.tell_role(State::Active, dataplane)?;
            self.hear_stamp(dataplane, now);
            if !self.takeover_is_due(now) {
                self.tell_role(State::Backup, dataplane)?;
            }
        }
        self.machine.handle_timeout(now);
        Ok(())
    }

    /// Carries out what the machine has decided, in its order.
    pub(super) fn act(&mut self, dataplane: &mut Dataplane, outlets: &Outlets) -> Result<(), DataplaneError> {
        let router = self.config.index;
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::SetRole(state) => self.tell_role(state, dataplane)?,
                Action::SetPreempt(preempt) => self.tell_preempt(preempt, dataplane)?,
                Action::SendAdvert { priority } => self.send_advert(priority),
                Action::Announce => self.announce(),
                Action::InstallAddresses => outlets.request(router, true),
                Action::RemoveAddresses => outlets.request(router, false),
                Action::Transition { from, to, reason, at } => {
                    outlets.report(Report::Transition { router, transition: Transition { from, to, reason, at } });
                }
            }
        }
        if let Some(problem) = self.pending_problem.take() {
            outlets.report(Report::Problem { router, problem });
        }
        Ok(())
    }

    pub(super) fn status(&self, now: Instant) -> RouterStatus {
        RouterStatus {
            state: self.machine.state(),
            reason: self.machine.reason(),
            in_state_for: now.since(self.machine.since()),
            priority: self.machine.priority(),
            active: self.machine.active(),
            timers: Timers {
                active_adver_interval: self.machine.active_adver_interval(),
                skew: self.machine.skew(),
                active_down_interval: self.machine.active_down_interval(),
                next: self.machine.poll_timeout().map(|deadline| deadline.since(now)),
            },
            adverts_sent: self.adverts_sent,
        }
    }

    /// What the kernel half noted without telling us, because it was nothing new to it.
    fn hear_stamp(&mut self, dataplane: &Dataplane, now: Instant) {
        if self.machine.state() != State::Backup {
            return;
        }
        let heard = dataplane.heard(self.config.kernel.slot);
        if heard.restarted_at > 0 {
            self.machine.handle_event(
                Event::Restarted {
                    at: Instant::from_nanos(heard.restarted_at),
                    interval: Interval::from_nanos(heard.restart_interval),
                },
                now,
            );
        }
        if heard.latest.received_at > 0 {
            self.heard(&heard.latest, now);
        }
    }

    fn takeover_is_due(&self, now: Instant) -> bool {
        self.machine.active_down_deadline().is_some_and(|deadline| deadline <= now)
    }

    fn tell_role(&mut self, state: State, dataplane: &mut Dataplane) -> Result<(), DataplaneError> {
        let role = match state {
            State::Initialize => abi::Router::ROLE_INITIALIZE,
            State::Backup => abi::Router::ROLE_BACKUP,
            State::Active => abi::Router::ROLE_ACTIVE,
        };
        self.tell_kernel(abi::Router { role, ..self.kernel }, dataplane)
    }

    fn tell_preempt(&mut self, preempt: bool, dataplane: &mut Dataplane) -> Result<(), DataplaneError> {
        let flags =
            if preempt { self.kernel.flags | abi::Router::PREEMPT } else { self.kernel.flags & !abi::Router::PREEMPT };
        self.tell_kernel(abi::Router { flags, ..self.kernel }, dataplane)
    }

    fn tell_kernel(&mut self, router: abi::Router, dataplane: &mut Dataplane) -> Result<(), DataplaneError> {
        if self.kernel != router {
            dataplane.set_router(self.config.key, &router)?;
            self.kernel = router;
        }
        Ok(())
    }

    fn send_advert(&mut self, priority: Priority) {
        let frame = if priority.is_release() { &self.release } else { &self.advert };
        let sent = self.config.socket.send(frame);
        self.adverts_sent += u64::from(sent.is_ok());
        self.note_send(sent);
    }

    fn announce(&mut self) {
        let sent = self.announcements.iter().try_for_each(|frame| self.config.socket.send(frame));
        self.note_send(sent);
    }

    fn note_send(&mut self, sent: io::Result<()>) {
        let error = sent.err().map(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)));
        if error != self.last_send_error {
            self.last_send_error = error;
            self.pending_problem = error.map(Problem::CannotSend).or(self.pending_problem);
        }
    }

    /// With `checksum = "auto"` we speak as our peers do (RFC 9568 and RFC 5798 differ in 5.2.8).
    fn follow_checksum(&mut self, advert: &abi::Advert) {
        let pseudo_header = advert.checksum == abi::Router::CHECKSUM_PSEUDO_HEADER;
        let auto = self.config.kernel.checksum == abi::Router::CHECKSUM_AUTO;
        if self.config.machine.version == Version::V3 && auto && pseudo_header != self.pseudo_header_checksum {
            self.pseudo_header_checksum = pseudo_header;
            // The frames held these values before, so they do now.
            let _ = self.build_adverts();
        }
    }

    fn build_adverts(&mut self) -> io::Result<()> {
        let addresses = octets(&self.config.addresses);
        for (frame, priority) in
            [(&mut self.advert, self.config.machine.priority), (&mut self.release, Priority::RELEASE)]
        {
            frame.resize(wire::MAX_FRAME, 0);
            let length = wire::AdvertFrame {
                source_mac: self.config.mac,
                source: self.config.primary.octets(),
                version: self.config.machine.version,
                vrid: self.config.machine.vrid,
                priority,
                interval: self.config.machine.advert_interval,
                addresses: &addresses,
                pseudo_header_checksum: self.pseudo_header_checksum,
                password: self.config.password,
            }
            .emit(frame)
            .ok_or(io::ErrorKind::InvalidInput)?;
            frame.truncate(length);
        }
        Ok(())
    }

    /// RFC 9568 7.1: differences that the administrator should know of.
    fn compare(&mut self, advert: &abi::Advert, router: IpAddr, now: Instant) {
        let priority = Priority::new(advert.priority);
        let theirs = Interval::from_nanos(advert.interval);
        let ours = self.config.machine.advert_interval;
        let count = advert.address_count;
        let problem = if self.config.machine.priority.is_owner() && !priority.is_release() {
            Some(Problem::OwnerContested { router, priority })
        } else if usize::from(count) != self.config.addresses.len() || advert.address_sum != self.address_sum {
            Some(Problem::AddressesDiffer { router, count })
        } else if theirs != ours {
            Some(Problem::IntervalsDiffer { router, theirs, ours })
        } else {
            None
        };
        // Routers that differ in different ways take turns; one line tells of one of them, now and then.
        let told_lately = self.advert_problem_told.is_some_and(|told| now.since(told) < PROBLEM_PAUSE);
        if problem != self.last_advert_problem && !told_lately {
            self.last_advert_problem = problem;
            self.advert_problem_told = Some(now);
            self.pending_problem = problem.or(self.pending_problem);
        }
    }
}

fn source(advert: &abi::Advert) -> IpAddr {
    let [a, b, c, d, ..] = advert.source;
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

fn octets(addresses: &[Ipv4Addr]) -> Vec<[u8; 4]> {
    addresses.iter().map(Ipv4Addr::octets).collect()
}
