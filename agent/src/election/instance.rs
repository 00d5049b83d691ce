//! A virtual router of this host: connects its state machine to sockets, timers and maps, and carries out its
//! decisions.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use xvrrp_common::abi::{self, RouterKey};
use xvrrp_common::units::{IfIndex, Instant, Interval, MacAddress, Priority, Version};
use xvrrp_common::wire::vrrp::ChecksumForm;
use xvrrp_dataplane::{DataplaneError, Slot, Tables};
use xvrrp_net::{LinkState, UnicastSocket};
use xvrrp_vrrp::{Action, Checks, Event, ReceivedAdvert, State, VirtualRouter};

use super::announcement_pace::{Owed, Pace, TURN, Urgency};
use super::checksum::{Form, Sample};
use super::comparison::Comparison;
use super::config::{InstanceConfig, PROBLEM_PAUSE, cannot_send};
use super::entry::MapEntry;
use super::frames::{Advertised, AnnouncementFrames, Announcements, Portion};
use super::report::{Outlets, Report, RouterProblem, Transition};
use super::status::{Conflict, LatestAdvert, RouterStatus, Timers};
use crate::addresses::AddressRequest;
use crate::identity::RouterIndex;
use crate::process::clock;

/// Minimum time between two reports of adverts with a lower priority, of which a hostile host may send any number.
const LOWER_PAUSE: Interval = Interval::from_seconds(1);

/// A virtual router that takes part in the election.
#[derive(Debug)]
pub struct Instance {
    config: InstanceConfig,
    machine: VirtualRouter,
    entry: MapEntry,
    /// The adverts, ready to be sent: with our priority, and with priority 0 to give up the role.
    advert: Vec<Vec<u8>>,
    release: Vec<Vec<u8>>,
    announcements: Announcements,
    owed: Owed,
    /// Whether the next announcement is the first one after a takeover.
    unannounced: bool,
    checksum: Form,
    comparison: Comparison,
    send_error_reported_at: Option<Instant>,
    pending_problem: Option<RouterProblem>,
    /// When an advert with a lower priority was last reported.
    lower_reported_at: Option<Instant>,
    /// Whether another one is to be reported.
    pending_lower: bool,
    adverts_sent: u64,
    conflict: Option<Conflict>,
    /// Time at which to announce every address because of the latest claim.
    second_answer: Option<Instant>,
    /// The end of the lease on which it resumes the Active role when it is started, if it does.
    resume: Option<Instant>,
    /// What was last reported of the interface to the state machine.
    reported_usable: bool,
    /// Whether it is to start, now that the state of its interface is known.
    is_to_start: bool,
    /// Whether its addresses, or those that a predecessor may have left, are still being removed.
    removes: bool,
    /// The last change of state, until [`Self::take_entered`] takes it.
    entered: Option<(State, State)>,
}

impl Instance {
    /// Creates a virtual router that has not been started yet. `entry` is its entry in the maps.
    ///
    /// # Errors
    /// An advert cannot carry what the configuration says, which the configuration's check should have refused.
    pub fn new(config: InstanceConfig, machine: xvrrp_vrrp::RouterConfig, entry: MapEntry) -> io::Result<Self> {
        let stands_by = entry.has(abi::Router::STANDS_BY);
        let now = clock::now();
        let mut instance = Self {
            machine: VirtualRouter::new(machine, now),
            advert: Vec::new(),
            release: Vec::new(),
            announcements: Announcements::new(entry.mac(), &config),
            owed: Owed::default(),
            unannounced: false,
            checksum: Form::new(initial_form(&entry)),
            comparison: Comparison::new(&config.advertised),
            send_error_reported_at: None,
            pending_problem: None,
            lower_reported_at: None,
            pending_lower: false,
            adverts_sent: 0,
            conflict: None,
            second_answer: None,
            resume: entry.resumed_lease(),
            reported_usable: config.link.is_usable(config.needs_carrier),
            is_to_start: false,
            removes: entry.has(abi::Router::RETIRES),
            entered: None,
            entry,
            config,
        };
        instance.build_adverts()?;
        if !instance.reported_usable {
            instance.machine.handle_event(Event::InterfaceDown, now);
        }
        instance.machine.handle_event(Event::Checks(instance.config.checks), now);
        instance.machine.handle_event(Event::Kept(instance.config.kept), now);
        instance.machine.handle_event(Event::StandBy(stands_by), now);
        Ok(instance)
    }

    /// Records a report about the interface: it has gained or lost its carrier. [`Self::refresh`] follows.
    pub(super) fn set_link(&mut self, link: LinkState) {
        self.config.link = link;
        self.is_to_start |= std::mem::take(&mut self.config.held);
    }

    /// Records whether everything that it needs stays on this host. [`Self::refresh`] follows.
    pub(super) fn set_kept(&mut self, kept: bool) {
        self.config.kept = kept;
    }

    /// Records what its tracked checks say. [`Self::refresh`] follows.
    pub(super) fn set_checks(&mut self, checks: Checks) {
        self.config.checks = checks;
    }

    /// Lets the state machine learn what was recorded, and what the partners can do. If something of its own is in the
    /// way, it learns that first, and has that as its reason. If not, it learns first that its partners are no longer
    /// in the way, and starts only once.
    pub(super) fn refresh(&mut self, partners: Checks, now: Instant) {
        let able = self.ability() == Checks::Passed;
        if able {
            self.machine.handle_event(Event::Partners(partners), now);
        }
        let usable = self.interface_is_usable();
        if self.reported_usable != usable {
            self.reported_usable = usable;
            self.machine.handle_event(if usable { Event::InterfaceUp } else { Event::InterfaceDown }, now);
        }
        self.machine.handle_event(Event::Checks(self.config.checks), now);
        self.machine.handle_event(Event::Kept(self.config.kept), now);
        if std::mem::take(&mut self.is_to_start) {
            self.start(now);
        }
        if !able {
            self.machine.handle_event(Event::Partners(partners), now);
        }
    }

    pub(super) fn key(&self) -> RouterKey {
        self.entry.key()
    }

    pub(super) fn slot(&self) -> Slot {
        self.entry.slot()
    }

    /// Records that the interface has another MAC address. Without a virtual MAC, the virtual addresses move to it.
    pub(super) fn set_interface_mac(&mut self, mac: MacAddress, tables: &mut Tables) -> Result<(), DataplaneError> {
        let moves = !self.entry.has(abi::Router::VIRTUAL_MAC);
        if !self.entry.set_interface_mac(mac, moves, tables)? {
            return Ok(());
        }
        if moves {
            self.announcements = Announcements::new(mac, &self.config);
            // Cannot fail: the frames held the same values before.
            let _ = self.build_adverts();
        }
        if moves && self.machine.state() == State::Active {
            self.owed.take_over(self.announcements.count());
        }
        Ok(())
    }

    /// Records the state of an interface. If it has some of the virtual addresses without being that of the virtual
    /// router, they are announced there again.
    pub(super) fn device_changed(&mut self, ifindex: IfIndex, link: LinkState, mac: Option<MacAddress>) {
        let Some(device) = self.config.devices.iter_mut().find(|device| device.ifindex == ifindex) else { return };
        if let Some(mac) = mac.filter(|mac| *mac != device.mac) {
            device.mac = mac;
            self.announcements = Announcements::new(self.entry.mac(), &self.config);
        }
        if link == LinkState::Running && self.machine.state() == State::Active {
            self.owed.ensure(self.announcements.count());
        }
    }

    /// Returns its slot, if its addresses may be on this host.
    pub(super) fn slot_with_addresses(&self) -> Option<Slot> {
        self.entry.may_hold_addresses().then(|| self.entry.slot())
    }

    /// Records that its addresses are off this host, as far as this agent had put them there.
    pub(super) fn addresses_are_off(&mut self, tables: &mut Tables) -> Result<(), DataplaneError> {
        self.removes = false;
        self.entry.set_flag(abi::Router::RETIRES, false, tables)
    }

    pub(super) fn start(&mut self, now: Instant) {
        if self.config.held {
            return;
        }
        let event = self.resume.map_or(Event::Startup, |lease_until| Event::Resume { lease_until });
        self.machine.handle_event(event, now);
    }

    pub(super) fn partners(&self) -> Arc<[RouterIndex]> {
        Arc::clone(&self.config.partners)
    }

    /// Returns what the interface, the host and the tracked checks let it do, for its partners.
    pub(super) fn ability(&self) -> Checks {
        match self.config {
            InstanceConfig { kept: false, .. } | InstanceConfig { checks: Checks::Failed, .. } => Checks::Failed,
            InstanceConfig { held: true, .. } => Checks::Pending,
            _ if !self.interface_is_usable() => Checks::Failed,
            _ => self.config.checks,
        }
    }

    fn interface_is_usable(&self) -> bool {
        self.config.link.is_usable(self.config.needs_carrier)
    }

    pub(super) fn lacks_partner(&self) -> bool {
        self.config.partner_absent
    }

    /// Takes the last change of state: the states before and after it.
    pub(super) fn take_entered(&mut self) -> Option<(State, State)> {
        self.entered.take()
    }

    pub(super) fn state(&self) -> State {
        self.machine.state()
    }

    pub(super) fn machine(&self) -> &VirtualRouter {
        &self.machine
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.machine.poll_timeout().into_iter().chain(self.second_answer).min()
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Whether to handle its deadline together with another one that has passed. If the deadline of a Backup is less
    /// than an interval away, the kernel half has most likely heard the Active router since. Reading that now moves the
    /// deadline, and spares a wakeup for this virtual router alone.
    pub(super) fn is_nearly_due(&self, now: Instant) -> bool {
        let soon = now + self.machine.active_adver_interval();
        self.machine.active_down_deadline().is_some_and(|deadline| deadline <= soon)
    }

    pub(super) fn handle(&mut self, event: Event, now: Instant) {
        self.machine.handle_event(event, now);
    }

    /// Handles an advert that the kernel half has reported or noted.
    pub(super) fn heard(&mut self, advert: &abi::HeardAdvert, now: Instant) {
        let source = abi::ip_address(self.entry.key().family, advert.source);
        self.machine.handle_event(
            Event::Advert(ReceivedAdvert {
                received_at: Instant::from_nanos(advert.received_at),
                source,
                priority: Priority::new(advert.priority),
                interval: Interval::from_nanos(advert.interval),
            }),
            now,
        );
        self.follow_checksum(advert, source);
        let loses = self.machine.state() == State::Active && !Priority::new(advert.priority).is_release();
        if loses && self.lower_reported_at.is_none_or(|at| now.since(at) >= LOWER_PAUSE) {
            self.lower_reported_at = Some(now);
            self.pending_lower = true;
        }
        let other_checksum = loses && form(advert.checksum) != self.checksum.sent();
        let problem = self.comparison.compare(self.machine.config(), advert, source, other_checksum, now);
        self.pending_problem = problem.or(self.pending_problem);
    }

    /// Handles the claim of another host to one of our addresses: announces the address at once, for hosts that
    /// believed the claim. The kernel half then reports no further claim, to any address, for
    /// [`abi::ConflictEvent::PAUSE`]. After that time, all addresses are announced, as an answer to all claims that may
    /// have been made meanwhile.
    pub(super) fn contest(&mut self, claim: &abi::ConflictEvent, now: Instant, outlets: &Outlets, pace: &mut Pace) {
        let claimed = |vip: &&IpAddr| abi::address(**vip) == claim.address;
        let Some(&address) = self.config.addresses.iter().find(claimed) else { return };
        if self.machine.state() != State::Active {
            return;
        }
        if pace.grant(self.ifindex(), 1, Urgency::Routine, now) > 0 {
            let answer = AnnouncementFrames::new(self.entry.mac(), &[address]);
            self.note_send(answer.send(Portion::new(0, 1), &self.config.sender).map_err(cannot_send));
        }
        self.second_answer = Some(now + Interval::from_nanos(abi::ConflictEvent::PAUSE));
        let conflict = Conflict { mac: MacAddress(claim.mac), address, at: now };
        self.conflict = Some(conflict);
        outlets.report(Report::Conflict { router: self.config.index, conflict });
    }

    /// Announces all addresses if the pause after a claim has ended.
    pub(super) fn answer_again(&mut self, now: Instant) {
        if self.second_answer.take_if(|at| *at <= now).is_some() && self.machine.state() == State::Active {
            self.owed.ensure(self.announcements.count());
        }
    }

    /// Makes the kernel half report every advert from now on, as it does for an Active router, although the state is
    /// still Backup. The kernel half serves nobody before the first advert has been sent.
    pub(super) fn prepare_takeover(&mut self, now: Instant, tables: &mut Tables) -> Result<(), DataplaneError> {
        if self.machine.state() != State::Backup {
            return Ok(());
        }
        // A lease that has run out but was not ended: the kernel half can still end it before the first advert is sent.
        self.entry.set_lease(now.as_nanos(), tables);
        self.entry.set_role(State::Active, tables)
    }

    /// Undoes [`Self::prepare_takeover`] if the state is still Backup.
    pub(super) fn put_off_takeover(&mut self, tables: &mut Tables) -> Result<(), DataplaneError> {
        if self.machine.state() != State::Backup {
            return Ok(());
        }
        self.entry.set_role(State::Backup, tables)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.machine.handle_timeout(now);
    }

    /// Carries out the decisions of the state machine, in order.
    pub(super) fn act(
        &mut self,
        tables: &mut Tables,
        outlets: &Outlets,
        pace: &mut Pace,
    ) -> Result<(), DataplaneError> {
        let router = self.config.index;
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::SetRole(state) => {
                    self.entry.take_role(state, self.machine.config().lease, tables)?;
                    self.owed.clear();
                    self.unannounced = state == State::Active;
                    if state == State::Active {
                        self.checksum.interrupt();
                        let plain = self.checksum.sent() == ChecksumForm::Plain;
                        self.entry.set_flag(abi::Router::SENDS_PLAIN, plain && self.learns_checksum(), tables)?;
                    }
                }
                Action::SetPreempt(preempt) => self.entry.set_flag(abi::Router::PREEMPT, preempt, tables)?,
                Action::SetStandBy(on) => self.entry.set_flag(abi::Router::STANDS_BY, on, tables)?,
                Action::SetPriority(priority) => {
                    self.entry.set_priority(priority, tables)?;
                    // Cannot fail: the frames held another priority of the same length before.
                    let _ = self.build_adverts();
                    let is_active = self.machine.state() == State::Active;
                    outlets.report(Report::Priority { router, is_active, priority });
                }
                Action::SendAdvert { priority } => self.send_advert(priority, tables),
                Action::Announce if std::mem::take(&mut self.unannounced) => {
                    self.owed.take_over(self.announcements.count());
                    self.announce(Urgency::Takeover, usize::MAX, tables, pace);
                }
                Action::Announce => {
                    self.owed.repeat(self.announcements.count());
                    self.announce(Urgency::Routine, TURN, tables, pace);
                }
                Action::InstallAddresses => outlets.request(AddressRequest::Install(router)),
                Action::RemoveAddresses => {
                    self.removes = true;
                    outlets.request(AddressRequest::Remove(router));
                }
                Action::Transition { from, to, reason, at } => {
                    self.entered = Some((from, to));
                    let priority = self.machine.priority();
                    let transition = Transition { from, to, reason, priority, at };
                    outlets.report(Report::Transition { router, transition });
                }
            }
        }
        // After a takeover that was put off, the maps had it as Active although none of its addresses was on the host.
        if !self.removes {
            self.entry.set_flag(abi::Router::RETIRES, false, tables)?;
        }
        if let Some(problem) = self.pending_problem.take() {
            outlets.report(Report::Problem { router, problem });
        }
        // It may have stepped down for a better router since.
        if std::mem::take(&mut self.pending_lower) && self.machine.state() == State::Active {
            outlets.report(Report::LowerPriority { router, priority: self.machine.priority() });
        }
        Ok(())
    }

    pub(super) fn status(&self, now: Instant, tables: &Tables) -> RouterStatus {
        let latest = tables.heard(self.entry.slot()).latest;
        let heard = (latest.received_at > 0).then(|| LatestAdvert {
            address: abi::ip_address(self.entry.key().family, latest.source),
            priority: Priority::new(latest.priority),
            at: Instant::from_nanos(latest.received_at),
        });
        RouterStatus {
            state: self.machine.state(),
            reason: self.machine.reason(),
            in_state_for: now.since(self.machine.since()),
            priority: self.machine.priority(),
            active: self.machine.active(),
            stands_by: self.machine.stands_by(),
            heard,
            first_heard_ago: self.machine.first_heard_at().map(|at| now.since(at)),
            timers: Timers {
                active_adver_interval: self.machine.active_adver_interval(),
                skew: self.machine.skew(),
                active_down_interval: self.machine.active_down_interval(),
                next: self.machine.poll_timeout().map(|deadline| deadline.since(now)),
                lease: self.machine.lease_until().map(|until| until.since(now)),
            },
            adverts_sent: self.adverts_sent,
            announcements_waiting: self.owed.total(),
            conflict: self.conflict,
        }
    }

    /// Handles the latest advert that the kernel half has noted. It does not report adverts that bring no news.
    pub(super) fn hear_stamp(&mut self, tables: &Tables, now: Instant) {
        if self.machine.state() != State::Backup {
            return;
        }
        let heard = tables.heard(self.entry.slot());
        self.hear_restart(&heard, now);
        if heard.latest.received_at > 0 {
            self.heard(&heard.latest, now);
        }
    }

    fn hear_restart(&mut self, heard: &abi::Heard, now: Instant) {
        if heard.restarted_at > 0 {
            let (at, interval) =
                (Instant::from_nanos(heard.restarted_at), Interval::from_nanos(heard.restart_interval));
            self.machine.handle_event(Event::Restarted { at, interval }, now);
        }
    }

    /// Sends the last advert before a successor takes over, if Active. The next one is then due a whole interval from
    /// now, however soon the Adver_Timer would have expired.
    pub(super) fn part(&mut self, tables: &Tables) {
        if self.machine.state() == State::Active {
            self.send_advert(self.machine.priority(), tables);
        }
    }

    pub(super) fn takeover_is_due(&self, now: Instant) -> bool {
        self.machine.active_down_deadline().is_some_and(|deadline| deadline <= now)
    }

    fn send_advert(&mut self, priority: Priority, tables: &Tables) {
        let at = clock::now();
        // The lease has ended since the state machine decided: this host may no longer claim to be Active.
        if self.machine.lease_has_ended(at) {
            return;
        }
        let sent = self.config.send(if priority.is_release() { &self.release } else { &self.advert });
        self.adverts_sent += u64::from(sent.is_ok());
        if sent.is_ok()
            && !self.machine.lease_has_ended(clock::now())
            && let Some(until) = self.machine.advert_sent(at)
            && !self.entry.renew_lease(until, tables)
        {
            // The kernel half has ended the lease because of an advert that wins. Its event is on the way, unless the
            // ring buffer was full. The latest advert that was noted is the one.
            let latest = tables.heard(self.entry.slot()).latest;
            self.heard(&latest, clock::now());
        }
        self.note_send(sent);
    }

    /// Sends up to `max` of the announcements that wait, as far as the limits allow that now.
    // RFC 9568 6.4.2 (conformance 49): "For each IPv4 address associated with the Virtual Router, broadcast a
    // gratuitous ARP message", "For each IPv6 address associated with the Virtual Router, send an unsolicited ND
    // Neighbor Advertisement".
    pub(super) fn announce(&mut self, urgency: Urgency, max: usize, tables: &Tables, pace: &mut Pace) {
        let (count, now) = (self.announcements.count(), clock::now());
        let mut granted = pace.grant(self.ifindex(), self.owed.of(urgency).min(max), urgency, now);
        while granted > 0 {
            let portion = self.owed.take(urgency, granted, count);
            granted = if portion.count() > 0 { granted - portion.count() } else { 0 };
            let outcome = self.announcements.send(portion, self.entry.lease_runs(now, tables)).map_err(cannot_send);
            // Without a lease, none of them has been sent.
            let failed = outcome.is_err() || !self.entry.lease_runs(clock::now(), tables);
            if failed && self.owed.fail() {
                self.machine.announcement_failed();
            }
            self.note_send(outcome);
        }
    }

    /// Returns the announcements that wait.
    pub(super) fn owed(&mut self) -> &mut Owed {
        &mut self.owed
    }

    pub(super) fn ifindex(&self) -> IfIndex {
        IfIndex::new(self.entry.key().ifindex)
    }

    fn note_send(&mut self, sent: Result<(), RouterProblem>) {
        let Err(problem) = sent else { return };
        let now = clock::now();
        let reported_lately = self.send_error_reported_at.is_some_and(|at| now.since(at) < PROBLEM_PAUSE);
        if !reported_lately {
            self.send_error_reported_at = Some(now);
            self.pending_problem = Some(problem);
        }
    }

    fn learns_checksum(&self) -> bool {
        self.entry.checksum() == abi::Router::CHECKSUM_AUTO && self.machine.config().version == Version::V3
    }

    /// Learns the form of the checksum from an advert that the state machine has already handled.
    fn follow_checksum(&mut self, advert: &abi::HeardAdvert, source: IpAddr) {
        if !self.learns_checksum() {
            return;
        }
        let standing = self.machine.standing(Priority::new(advert.priority));
        let received_at = Instant::from_nanos(advert.received_at);
        if self.checksum.hear(standing, Sample { form: form(advert.checksum), source, received_at }) {
            // Cannot fail: the frames held the same values before.
            let _ = self.build_adverts();
        }
    }

    // RFC 9568 7.2 (conformance 50, 51, 54): "Set the source MAC address to the Virtual Router MAC address", "Set the
    // source IPv4 address to the interface's primary IPv4 address", "Fill in the VRRP packet fields with the
    // appropriate Virtual Router configuration state".
    fn build_adverts(&mut self) -> io::Result<()> {
        let InstanceConfig { advertised: addresses, peers, .. } = &self.config;
        let machine = self.machine.config();
        let advertised = Advertised {
            mac: self.entry.mac(),
            primary: machine.primary,
            version: machine.version,
            vrid: machine.vrid,
            interval: machine.advert_interval,
            password: self.entry.password(),
            addresses,
            peers: peers.iter().map(UnicastSocket::peer).collect(),
        };
        self.advert = advertised.advert(self.machine.priority(), self.checksum.sent())?;
        self.release = advertised.advert(Priority::RELEASE, self.checksum.sent())?;
        Ok(())
    }
}

/// Returns the form of the checksum that adverts have until another one is learned.
fn initial_form(entry: &MapEntry) -> ChecksumForm {
    let plain = entry.checksum() == abi::Router::CHECKSUM_PLAIN || entry.has(abi::Router::SENDS_PLAIN);
    if plain { ChecksumForm::Plain } else { ChecksumForm::PseudoHeader }
}

fn form(checksum: u8) -> ChecksumForm {
    if checksum == abi::Router::CHECKSUM_PLAIN { ChecksumForm::Plain } else { ChecksumForm::PseudoHeader }
}
