//! A virtual router of ours: its state machine, and the hands that carry out what the machine decides.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use nix::errno::Errno;
use xvrrp_common::abi::{self, RouterKey, ipv4_address};
use xvrrp_common::units::{Instant, Interval, MacAddress, Priority, Version};
use xvrrp_common::wire::{arp, vrrp as wire};

use super::comparison::Comparison;
use super::entry::Entry;
use super::status::{Rival, RouterStatus, Timers};
use super::{Outlets, Problem, Report, Transition};
use crate::addresses::Request;
use crate::clock;
use crate::dataplane::{DataplaneError, Tables};
use crate::net::PacketSocket;
use crate::vrrp::{Action, Advert, Config, Event, State, VirtualRouter};

/// How long after a problem with others' adverts the next one is told at the earliest.
pub(super) const PROBLEM_PAUSE: Interval = Interval::from_millis(10_000);

/// Everything that a virtual router of ours is made of.
#[derive(Debug)]
pub struct InstanceConfig {
    /// Its place in the configuration.
    pub index: usize,
    pub key: RouterKey,
    /// As the kernel half sees it, in the role [`abi::Router::ROLE_INITIALIZE`], or with [`Self::resume`] Active.
    pub kernel: abi::Router,
    pub machine: Config,
    pub primary: Ipv4Addr,
    pub addresses: Vec<Ipv4Addr>,
    /// Source of adverts and announcements: the virtual MAC, or the interface's own.
    pub mac: MacAddress,
    /// Version 2: simple password (RFC 2338 5.3.10).
    pub password: Option<[u8; 8]>,
    pub socket: PacketSocket,
    /// Go on as Active, on a lease that ends then.
    pub resume: Option<Instant>,
    /// Whether the interface is up and has a carrier at the start.
    pub running: bool,
}

/// See [`InstanceConfig`].
#[derive(Debug)]
pub struct Instance {
    config: InstanceConfig,
    machine: VirtualRouter,
    entry: Entry,
    /// The adverts, ready to be sent: with our priority, and with priority 0.
    advert: Vec<u8>,
    release: Vec<u8>,
    /// A gratuitous ARP for each virtual address, ready to be sent.
    announcements: Vec<[u8; 42]>,
    /// The form of the checksum that the adverts have.
    pseudo_header_checksum: bool,
    comparison: Comparison,
    send_error_told: Option<Instant>,
    pending_problem: Option<Problem>,
    adverts_sent: u64,
    rival: Option<Rival>,
    /// When to announce every address because of it.
    second_answer: Option<Instant>,
}

impl Instance {
    /// Fails where an advert cannot carry what the configuration says, which its check should have refused.
    pub fn new(config: InstanceConfig) -> io::Result<Self> {
        let mut instance = Self {
            machine: VirtualRouter::new(config.machine.clone()),
            entry: Entry::new(config.key, config.kernel, config.resume),
            advert: Vec::new(),
            release: Vec::new(),
            announcements: announcements(&config),
            pseudo_header_checksum: config.kernel.checksum != abi::Router::CHECKSUM_PLAIN,
            comparison: Comparison::new(&config.addresses),
            send_error_told: None,
            pending_problem: None,
            adverts_sent: 0,
            rival: None,
            second_answer: None,
            config,
        };
        instance.build_adverts()?;
        if !instance.config.running {
            instance.machine.handle_event(Event::InterfaceDown, Instant::default());
        }
        Ok(instance)
    }

    pub(super) fn key(&self) -> RouterKey {
        self.config.key
    }

    pub(super) fn slot(&self) -> u32 {
        self.entry.slot()
    }

    /// The interface has this address of its own now. Without a virtual MAC the virtual addresses move to it.
    pub(super) fn set_interface_mac(&mut self, mac: MacAddress, tables: &mut Tables) -> Result<(), DataplaneError> {
        let moves = self.config.kernel.flags & abi::Router::VIRTUAL_MAC == 0;
        if !self.entry.set_interface_mac(mac, moves, tables)? {
            return Ok(());
        }
        if moves {
            self.config.mac = mac;
            self.announcements = announcements(&self.config);
            // The frames held these values before, so they do now.
            let _ = self.build_adverts();
        }
        if moves && self.machine.state() == State::Active {
            self.announce(tables);
        }
        Ok(())
    }

    pub(super) fn start(&mut self, now: Instant) {
        let event = self.config.resume.map_or(Event::Startup, |lease_until| Event::Resume { lease_until });
        self.machine.handle_event(event, now);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.machine.poll_timeout().into_iter().chain(self.second_answer).min()
    }

    pub(super) fn handle(&mut self, event: Event, now: Instant) {
        self.machine.handle_event(event, now);
    }

    /// An advert that the kernel half found worth telling.
    pub(super) fn heard(&mut self, advert: &abi::Advert, now: Instant) {
        let source = source(advert);
        self.follow_checksum(advert);
        let problem = self.comparison.compare(&self.config, advert, source, now);
        self.pending_problem = problem.or(self.pending_problem);
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

    /// Another host claims one of our addresses: whoever has believed it hears from us at once. For a while the kernel half
    /// tells of no further claim, on whichever address; after that time we answer all that may have been made meanwhile.
    pub(super) fn contest(&mut self, claim: &abi::Claim, now: Instant, outlets: &Outlets) {
        let claimed = |vip: &&Ipv4Addr| ipv4_address(vip.octets()) == claim.address;
        let Some(&address) = self.config.addresses.iter().find(claimed) else { return };
        if self.machine.state() != State::Active {
            return;
        }
        let sent = self.config.socket.send(&arp::gratuitous(self.config.mac, address.octets()));
        self.note_send(sent);
        self.second_answer = Some(now + Interval::from_nanos(abi::Claim::PAUSE));
        let rival = Rival { mac: MacAddress(claim.mac), address: IpAddr::V4(address), at: now };
        self.rival = Some(rival);
        outlets.report(Report::RivalClaim { router: self.config.index, rival });
    }

    fn answer_again(&mut self, now: Instant, tables: &Tables) {
        if self.second_answer.take_if(|at| *at <= now).is_some() && self.machine.state() == State::Active {
            self.announce(tables);
        }
    }

    /// Lets the machine act on a deadline that has passed, unless the kernel half has heard better in the meantime.
    pub(super) fn fire(&mut self, now: Instant, tables: &mut Tables) -> Result<(), DataplaneError> {
        self.answer_again(now, tables);
        self.hear_stamp(tables, now);
        if self.takeover_is_due(now) {
            // Not in force, but not ended either: the kernel half can still end it before the first advert is sent.
            self.entry.set_lease(now.as_nanos(), tables);
            // From the moment that the kernel half knows the role it tells of every advert. One that came between the
            // stamp read above and that moment shows in the stamp read here; none goes unnoticed.
            self.entry.set_role(State::Active, tables)?;
            self.hear_stamp(tables, now);
            if !self.takeover_is_due(now) {
                self.entry.set_role(State::Backup, tables)?;
            }
        }
        self.machine.handle_timeout(now);
        Ok(())
    }

    /// Carries out what the machine has decided, in its order.
    pub(super) fn act(&mut self, tables: &mut Tables, outlets: &Outlets) -> Result<(), DataplaneError> {
        let router = self.config.index;
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::SetRole(state) => self.entry.take_role(state, self.config.machine.lease, tables)?,
                Action::SetPreempt(preempt) => self.entry.set_preempt(preempt, tables)?,
                Action::SendAdvert { priority } => self.send_advert(priority, tables),
                Action::Announce => self.announce(tables),
                Action::InstallAddresses => outlets.request(Request::Install(router)),
                Action::RemoveAddresses => outlets.request(Request::Remove(router)),
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
                lease: self.machine.lease_until().map(|until| until.since(now)),
            },
            adverts_sent: self.adverts_sent,
            rival: self.rival,
        }
    }

    /// What the kernel half noted without telling us, because it was nothing new to it.
    fn hear_stamp(&mut self, tables: &Tables, now: Instant) {
        if self.machine.state() != State::Backup {
            return;
        }
        let heard = tables.heard(self.entry.slot());
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

    fn send_advert(&mut self, priority: Priority, tables: &Tables) {
        let at = clock::now();
        // We were held up since the machine decided: to be Active is no longer ours to say.
        if self.machine.lease_has_ended(at) {
            return;
        }
        let frame = if priority.is_release() { &self.release } else { &self.advert };
        let sent = self.config.socket.send(frame);
        self.adverts_sent += u64::from(sent.is_ok());
        if sent.is_ok()
            && !self.machine.lease_has_ended(clock::now())
            && let Some(until) = self.machine.advert_sent(at)
            && !self.entry.renew_lease(until, tables)
        {
            // Its event is on the way, unless the ring buffer was full: the winner is the latest that was noted.
            let latest = tables.heard(self.entry.slot()).latest;
            self.heard(&latest, clock::now());
        }
        self.note_send(sent);
    }

    fn announce(&mut self, tables: &Tables) {
        let mut outcome = Ok(());
        for frame in &self.announcements {
            outcome = outcome.and(self.config.socket.send(frame));
        }
        // Without a lease, the kernel half has let none of them out.
        if outcome.is_err() || !self.entry.lease_runs(clock::now(), tables) {
            self.machine.announcement_failed();
        }
        self.note_send(outcome);
    }

    fn note_send(&mut self, sent: io::Result<()>) {
        let Err(error) = sent else { return };
        let error = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
        let now = clock::now();
        let told_lately = self.send_error_told.is_some_and(|told| now.since(told) < PROBLEM_PAUSE);
        if !told_lately {
            self.send_error_told = Some(now);
            self.pending_problem = Some(Problem::CannotSend(error));
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
}

fn source(advert: &abi::Advert) -> IpAddr {
    let [a, b, c, d, ..] = advert.source;
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// A gratuitous ARP for each virtual address.
fn announcements(config: &InstanceConfig) -> Vec<[u8; 42]> {
    config.addresses.iter().map(|vip| arp::gratuitous(config.mac, vip.octets())).collect()
}

pub(super) fn octets(addresses: &[Ipv4Addr]) -> Vec<[u8; 4]> {
    addresses.iter().map(Ipv4Addr::octets).collect()
}
