//! The state machine: one section of the RFC after the other, each with its events in the RFC's order.

mod handover;
mod lease;
mod priority;
mod standing;

use alloc::collections::VecDeque;
use core::hash::{Hash, Hasher};
use core::net::IpAddr;

use xvrrp_common::units::{Instant, Interval, Priority};

use super::action::{Action, Reason};
use super::config::RouterConfig;
use super::event::{Checks, Event, ReceivedAdvert};
use super::phase::{Active, Backup, Phase};
use super::preempt::Preemption;
use super::router_state::RouterState;
use super::timers::Intervals;
pub use standing::Standing;

/// Actions by which an Active router gives up its role.
const RELEASE: [Action; 2] = [Action::SendAdvert { priority: Priority::RELEASE }, Action::RemoveAddresses];

/// A virtual router as this host sees it.
#[derive(Clone, Debug)]
pub struct VirtualRouter {
    config: RouterConfig,
    phase: Phase,
    since: Instant,
    reason: Reason,
    /// Arrival of the first advert that was heard in this state, except of those that give up the role.
    first_heard_at: Option<Instant>,
    started: bool,
    interface_up: bool,
    checks: Checks,
    /// Whether what this host needs to serve stays on it.
    kept: bool,
    /// Other Active routers are left alone, whatever the priorities.
    stands_by: bool,
    /// Whether those that change role together with us can take part.
    partners: Checks,
    /// The configured one, as tracked checks have changed it.
    priority: Priority,
    intervals: Intervals,
    /// Value of the last [`Action::SetPreempt`].
    reported_preempt: bool,
    actions: VecDeque<Action>,
}

impl VirtualRouter {
    /// Room for the actions of one event. Nothing is allocated as long as they are fetched after each event.
    const MAX_ACTIONS: usize = 8;

    /// Makes a virtual router that stays in Initialize until [`Event::Startup`].
    pub fn new(config: RouterConfig, now: Instant) -> Self {
        Self {
            phase: Phase::Initialize,
            since: now,
            reason: Reason::NotStarted,
            first_heard_at: None,
            started: false,
            interface_up: true,
            checks: Checks::Passed,
            kept: true,
            stands_by: false,
            partners: Checks::Passed,
            priority: config.priority,
            intervals: Intervals::new(&config, config.priority),
            reported_preempt: config.preempt,
            actions: VecDeque::with_capacity(Self::MAX_ACTIONS),
            config,
        }
    }

    /// Handles an event that happened at this moment, or was noticed then.
    pub fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Startup | Event::Resume { .. } => self.started = true,
            Event::Shutdown => self.started = false,
            Event::InterfaceUp => self.interface_up = true,
            Event::InterfaceDown => self.interface_up = false,
            // May be repeated.
            Event::Checks(checks) if checks == self.checks => return,
            Event::Checks(checks) => self.checks = checks,
            Event::Kept(kept) if kept == self.kept => return,
            Event::Kept(kept) => self.kept = kept,
            Event::Partners(partners) if partners == self.partners => return,
            Event::Partners(partners) => self.partners = partners,
            Event::Priority(priority) => return self.change_priority(priority, now),
            Event::StandBy(stands_by) => return self.stand_by(stands_by, now),
            // RFC 9568 7.1 (conformance 18): our own adverts, which a loop in the network brings back, say nothing of
            // another router.
            Event::Advert(advert) if advert.source == self.config.primary => return,
            Event::Advert(_)
            | Event::Restarted { .. }
            | Event::Held { .. }
            | Event::PartnerActive
            | Event::PartnerBackup => {}
        }
        self.end_lapsed_lease(now);
        match self.phase {
            Phase::Initialize => self.handle_in_initialize(event, now),
            Phase::Backup(_) => self.handle_in_backup(event, now),
            Phase::Active(_) => self.handle_in_active(event, now),
        }
    }

    /// Fires every timer that is due, each once. Finds none due if an arrival came to be known in the meantime.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.end_lapsed_lease(now);
        match self.phase {
            Phase::Initialize => {}
            Phase::Backup(_) => self.fire_in_backup(now),
            Phase::Active(_) => self.fire_in_active(now),
        }
    }

    /// Returns when to call [`Self::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.phase.deadline()
    }

    /// Returns what to do next; `None` once everything is done.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The last [`Action::Announce`] did not reach the network, or only in part: there will be one more.
    pub fn announcement_failed(&mut self) {
        if let Phase::Active(active) = &mut self.phase {
            active.announcement_failed();
        }
    }

    // RFC 9568 6.4.1

    fn handle_in_initialize(&mut self, event: Event, now: Instant) {
        match event {
            Event::Startup => self.start(Reason::Startup, now),
            Event::Resume { lease_until } => self.resume(lease_until, now),
            Event::InterfaceUp => self.start(Reason::InterfaceUp, now),
            Event::Checks(_) if self.interface_up => self.start(Reason::ChecksPassed, now),
            Event::Kept(_) if self.interface_up && self.checks != Checks::Failed => self.start(Reason::Retry, now),
            Event::Partners(_) if self.interface_up && self.checks != Checks::Failed && self.kept => {
                self.start(Reason::PartnersReady, now);
            }
            // Reports this router's own cause instead of its partner's.
            Event::InterfaceDown
                if matches!(self.reason, Reason::ChecksPending | Reason::PartnerPending | Reason::PartnerFault) =>
            {
                self.start(Reason::InterfaceDown, now);
            }
            Event::Shutdown => self.change_to(Phase::Initialize, Reason::Shutdown, now),
            Event::InterfaceDown
            | Event::Checks(_)
            | Event::Kept(_)
            | Event::Partners(_)
            | Event::Priority(_)
            | Event::StandBy(_)
            | Event::Advert(_)
            | Event::Restarted { .. }
            | Event::Held { .. }
            | Event::PartnerActive
            | Event::PartnerBackup => {}
        }
    }

    fn start(&mut self, reason: Reason, now: Instant) {
        if !self.started {
            return;
        }
        if !self.interface_up {
            self.enter(Phase::Initialize, Reason::InterfaceDown, now, &[]);
        } else if self.checks == Checks::Failed {
            self.enter(Phase::Initialize, Reason::CheckFailed, now, &[]);
        } else if !self.kept {
            self.enter(Phase::Initialize, Reason::AddressesNotKept, now, &[]);
        } else if self.partners == Checks::Failed {
            self.enter(Phase::Initialize, Reason::PartnerFault, now, &[]);
        } else if self.checks == Checks::Pending {
            self.change_to(Phase::Initialize, Reason::ChecksPending, now);
        } else if self.partners == Checks::Pending {
            self.change_to(Phase::Initialize, Reason::PartnerPending, now);
        } else if self.config.priority.is_owner() && now >= self.config.delayed_until {
            // RFC 9568 6.4.1 (conformance 26), in the words of RFC 3768 6.4.1: "If the Priority = 255 (i.e., the router
            // owns the IP address(es) associated with the virtual router)", "Send an ADVERTISEMENT".
            self.take_over(Reason::Owner, now);
        } else {
            // RFC 9568 6.4.1 (conformance 27), in the words of RFC 3768 6.4.1: "Set the Master_Down_Timer to
            // Master_Down_Interval", "Transition to the {Backup} state".
            self.intervals = self.own_intervals();
            self.become_backup(now, None, reason, now, &[]);
            self.delay_owner();
        }
    }

    /// An owner takes over as soon as it may.
    fn delay_owner(&mut self) {
        let Phase::Backup(backup) = &mut self.phase else { return };
        if self.config.priority.is_owner() {
            backup.active_down_timer = self.config.delayed_until;
            backup.outlook = Reason::Owner;
        }
    }

    /// Returns when a timer begins that counts from this arrival.
    fn counted_from(&self, arrival: Instant) -> Instant {
        arrival.max(self.config.delayed_until)
    }

    fn resume(&mut self, lease_until: Instant, now: Instant) {
        let able = self.interface_up && self.checks != Checks::Failed && self.kept && now < lease_until;
        if able && self.partners == Checks::Failed {
            self.enter(Phase::Initialize, Reason::PartnerFault, now, &RELEASE);
        } else if able {
            // As in keepalived, a role is kept while the first results of checks are pending.
            self.become_active(Reason::Resumed, lease_until, now);
        } else {
            self.actions.push_back(Action::RemoveAddresses);
            self.start(Reason::Startup, now);
        }
    }

    // RFC 9568 6.4.2

    fn handle_in_backup(&mut self, event: Event, now: Instant) {
        match event {
            // RFC 9568 6.4.2 (conformance 37): "If a Shutdown event is received, then: [...] Transition to the
            // {Initialize} state". Nothing is sent.
            Event::Shutdown => self.enter(Phase::Initialize, Reason::Shutdown, now, &[]),
            Event::InterfaceDown => self.enter(Phase::Initialize, Reason::InterfaceDown, now, &[]),
            Event::Checks(Checks::Failed) => self.enter(Phase::Initialize, Reason::CheckFailed, now, &[]),
            Event::Kept(false) => self.enter(Phase::Initialize, Reason::AddressesNotKept, now, &[]),
            Event::Partners(Checks::Failed) => self.enter(Phase::Initialize, Reason::PartnerFault, now, &[]),
            Event::Advert(advert) => self.hear_in_backup(advert),
            Event::Restarted { at, interval } => self.hear_of_restart(at, interval),
            Event::Held { until } => self.hold(until),
            Event::PartnerActive => self.take_over(Reason::Partner, now),
            Event::Startup
            | Event::Resume { .. }
            | Event::InterfaceUp
            | Event::Checks(Checks::Pending | Checks::Passed)
            | Event::Kept(true)
            | Event::Partners(Checks::Pending | Checks::Passed)
            | Event::Priority(_)
            | Event::StandBy(_)
            | Event::PartnerBackup => {}
        }
    }

    fn fire_in_backup(&mut self, now: Instant) {
        let Phase::Backup(backup) = &mut self.phase else { return };
        // RFC 9568 6.4.2 (conformance 36): "If the Active_Down_Timer fires, then: [...] Send an ADVERTISEMENT [...]
        // Transition to the {Active} state".
        if backup.active_down_timer <= now {
            let reason = backup.outlook;
            self.take_over(reason, now);
        } else if backup.preemption.fires(now) {
            backup.outlook = Reason::Preempted;
            self.report_preempt();
        }
    }

    fn hear_in_backup(&mut self, advert: ReceivedAdvert) {
        let (preemption, counted_from) = (self.preemption(), self.counted_from(advert.received_at));
        let Phase::Backup(backup) = &mut self.phase else { return };
        // It arrived before one that is known already.
        if advert.received_at < backup.heard_at {
            return;
        }
        backup.heard_at = advert.received_at;
        backup.active = Some((advert.source, advert.priority));
        if !advert.priority.is_release() {
            self.first_heard_at.get_or_insert(advert.received_at);
        }

        // RFC 9568 6.4.2 (conformance 33): "If the Priority in the ADVERTISEMENT is 0, then: [...] Set the
        // Active_Down_Timer to Skew_Time".
        if advert.priority.is_release() {
            backup.active = None;
            // Another Active may have been heard since.
            if advert.received_at >= backup.timed_from {
                backup.timed_from = advert.received_at;
                backup.active_down_timer = counted_from + self.intervals.skew();
                backup.outlook = Reason::ActiveReleased;
            }
        } else if advert.priority >= self.priority {
            // RFC 9568 6.4.2 (conformance 34): "If Preempt_Mode is False, or if the Priority in the ADVERTISEMENT is
            // greater than or equal to the local Priority, then: [...] Set the Active_Down_Timer to
            // Active_Down_Interval".
            backup.preemption = preemption;
            self.restart_active_down_timer(advert.received_at, advert.interval);
            self.report_preempt();
        } else if backup.preemption.disregards_lower() {
            // RFC 9568 6.4.2 (conformance 35): "Discard the ADVERTISEMENT".
            backup.outlook = Reason::Preempted;
        } else {
            // Preempt_Mode is off, or preempt_delay, which is not part of the RFC, has not passed.
            backup.preemption.lower_heard(advert.received_at);
            self.restart_active_down_timer(advert.received_at, advert.interval);
        }
    }

    fn hear_of_restart(&mut self, at: Instant, interval: Interval) {
        let Phase::Backup(backup) = &self.phase else { return };
        if at > backup.timed_from {
            self.restart_active_down_timer(at, interval);
        }
    }

    /// Restarts the timer from the latest arrival, whatever the order of the reports.
    fn restart_active_down_timer(&mut self, arrival: Instant, interval: Interval) {
        let counted_from = self.counted_from(arrival);
        let Phase::Backup(backup) = &mut self.phase else { return };
        if arrival < backup.timed_from {
            return;
        }
        self.intervals = self.intervals.learned(interval);
        backup.timed_from = arrival;
        backup.active_down_timer = counted_from + self.intervals.active_down();
        backup.outlook = Reason::ActiveDown;
    }

    fn hold(&mut self, until: Instant) {
        if let Phase::Backup(backup) = &mut self.phase {
            backup.active_down_timer = backup.active_down_timer.max(until);
        }
    }

    /// Returns when the advert arrived by which the last Active router gave up its role, if none was heard since.
    pub(crate) fn released_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Backup(backup) if backup.outlook == Reason::ActiveReleased => Some(backup.timed_from),
            _ => None,
        }
    }

    /// Returns when the Active_Down_Timer of a Backup expires, if the Active router has given up its role at this
    /// moment.
    pub(crate) fn deadline_after_release(&self, released: Option<Instant>) -> Option<Instant> {
        let Phase::Backup(backup) = &self.phase else { return None };
        let released = released.filter(|at| *at >= backup.timed_from);
        let released = released.map(|at| self.counted_from(at) + self.intervals.skew());
        Some(released.map_or(backup.active_down_timer, |at| at.min(backup.active_down_timer)))
    }

    // RFC 9568 6.4.3

    fn handle_in_active(&mut self, event: Event, now: Instant) {
        match event {
            // RFC 9568 6.4.3 (conformance 48): "If a Shutdown event is received, then: [...] Send an ADVERTISEMENT with
            // Priority = 0 [...] Transition to the {Initialize} state".
            Event::Shutdown => self.enter(Phase::Initialize, Reason::Shutdown, now, &RELEASE),
            Event::Checks(Checks::Failed) => self.enter(Phase::Initialize, Reason::CheckFailed, now, &RELEASE),
            Event::Kept(false) => self.enter(Phase::Initialize, Reason::AddressesNotKept, now, &RELEASE),
            Event::Partners(Checks::Failed) => self.enter(Phase::Initialize, Reason::PartnerFault, now, &RELEASE),
            // Priority 0 could not be sent.
            Event::InterfaceDown => {
                self.enter(Phase::Initialize, Reason::InterfaceDown, now, &[Action::RemoveAddresses]);
            }
            Event::Advert(advert) => self.hear_in_active(advert, now),
            Event::PartnerBackup => {
                self.intervals = self.own_intervals();
                self.become_backup(now, None, Reason::Partner, now, &[Action::RemoveAddresses]);
            }
            Event::Startup
            | Event::Resume { .. }
            | Event::InterfaceUp
            | Event::Checks(Checks::Pending | Checks::Passed)
            | Event::Kept(true)
            | Event::Partners(Checks::Pending | Checks::Passed)
            | Event::Priority(_)
            | Event::StandBy(_)
            | Event::Restarted { .. }
            | Event::Held { .. }
            | Event::PartnerActive => {}
        }
    }

    fn fire_in_active(&mut self, now: Instant) {
        let Phase::Active(active) = &mut self.phase else { return };
        let (advertises, announces) = (active.adver_timer.fires(now), active.announces(now));
        // RFC 9568 6.4.3 (conformance 43): "If the Adver_Timer fires, then: [...] Send an ADVERTISEMENT".
        if advertises {
            self.send_advert(now);
        }
        if announces {
            self.actions.push_back(Action::Announce);
        }
    }

    fn hear_in_active(&mut self, advert: ReceivedAdvert, now: Instant) {
        let Phase::Active(active) = &mut self.phase else { return };
        // One of ours that has left since its arrival has answered it: adverts that piled up before a late agent are
        // not answered by a burst.
        let answered = advert.received_at < active.advert_sent_at;
        let theirs = (advert.priority, advert.source);
        let ours = (self.priority, self.config.primary);

        // RFC 9568 6.4.3 (conformance 44): "If the Priority in the ADVERTISEMENT is 0, then: [...] Send an
        // ADVERTISEMENT [...] Reset the Adver_Timer to Advertisement_Interval".
        if advert.priority.is_release() {
            if !answered {
                active.adver_timer.restart(now);
                self.send_advert(now);
            }
        } else if theirs > ours {
            // RFC 9568 6.4.3 (conformance 45, 46): "If the Priority in the ADVERTISEMENT is greater than the local
            // Priority or the Priority in the ADVERTISEMENT is equal to the local Priority and the primary IPvX address
            // of the sender is greater than the local primary IPvX address [...] Transition to the {Backup} state".
            let intervals = self.intervals.learned(advert.interval);
            // The report is so late that a living sender would have sent more adverts by now.
            if advert.received_at + intervals.active_down() <= now {
                return;
            }
            let reason = if advert.priority > self.priority { Reason::HigherPriority } else { Reason::HigherAddress };
            if self.config.answers_higher {
                self.send_advert(now);
            }
            self.intervals = intervals;
            self.become_backup(
                advert.received_at,
                Some((advert.source, advert.priority)),
                reason,
                now,
                &[Action::RemoveAddresses],
            );
        } else {
            // Not part of the RFC: clients may have learned the other router's MAC address, and switches its port.
            let announces = active.announces_again(&self.config, now);
            if !answered && self.config.answers_lower {
                // RFC 9568 6.4.3 (conformance 47): "Send an ADVERTISEMENT immediately to assert the {Active} state to
                // the sending VRRP Router". RFC 3768 only discards the advert that was received. One more advert does
                // no harm there, and ends the other router's error sooner.
                self.send_advert(now);
            }
            if announces {
                self.actions.push_back(Action::Announce);
            }
        }
    }

    fn send_advert(&mut self, now: Instant) {
        let Phase::Active(active) = &mut self.phase else { return };
        active.advert_sent_at = now;
        self.actions.push_back(Action::SendAdvert { priority: self.priority });
    }

    // Changes of state

    fn take_over(&mut self, reason: Reason, now: Instant) {
        // The kernel half grants no lease before an advert has been sent; this is how long we try.
        self.become_active(reason, now + self.own_intervals().lease(), now);
    }

    fn become_active(&mut self, reason: Reason, lease_until: Instant, now: Instant) {
        // RFC 9568 6.4.2 (conformance 24): "Set the Adver_Timer to Advertisement_Interval", which is our own interval,
        // whatever was learned as a Backup.
        self.intervals = self.own_intervals();
        let active = Active::new(&self.config, lease_until, now);
        let advert = Action::SendAdvert { priority: self.priority };
        self.enter(Phase::Active(active), reason, now, &[advert, Action::Announce, Action::InstallAddresses]);
        self.set_stand_by(false);
    }

    /// `timed_from` is when the advert that made us Backup arrived, if one did.
    fn become_backup(
        &mut self,
        timed_from: Instant,
        active: Option<(IpAddr, Priority)>,
        reason: Reason,
        now: Instant,
        actions: &[Action],
    ) {
        let backup = Backup {
            active_down_timer: self.counted_from(timed_from) + self.intervals.active_down(),
            outlook: Reason::ActiveDown,
            timed_from,
            heard_at: timed_from,
            active,
            preemption: self.preemption(),
        };
        self.enter(Phase::Backup(backup), reason, now, actions);
        self.first_heard_at = active.map(|_| timed_from);
    }

    fn enter(&mut self, phase: Phase, reason: Reason, now: Instant, actions: &[Action]) {
        let from = self.state();
        self.change_to(phase, reason, now);
        self.first_heard_at = None;
        let to = self.state();
        self.actions.push_back(Action::SetRole(to));
        self.report_preempt();
        self.actions.extend(actions);
        self.actions.push_back(Action::Transition { from, to, reason, at: now });
    }

    /// Changes phase and reason. Another reason for the same [`RouterState`] does not change since when it lasts.
    fn change_to(&mut self, phase: Phase, reason: Reason, now: Instant) {
        let before = RouterState::new(self.state(), self.reason);
        self.phase = phase;
        self.reason = reason;
        if RouterState::new(self.state(), reason) != before {
            self.since = now;
        }
    }

    /// Reports Preempt_Mode to the kernel half, which needs it only while this router is Backup.
    fn report_preempt(&mut self) {
        let Phase::Backup(backup) = &self.phase else { return };
        let preempt = backup.preemption.disregards_lower();
        if self.reported_preempt != preempt {
            self.reported_preempt = preempt;
            self.actions.push_back(Action::SetPreempt(preempt));
        }
    }

    fn preemption(&self) -> Preemption {
        if self.stands_by {
            Preemption::Off
        } else if self.config.priority.is_owner() {
            Preemption::On
        } else {
            Preemption::new(self.config.preempt, self.config.preempt_delay)
        }
    }

    fn own_intervals(&self) -> Intervals {
        Intervals::new(&self.config, self.priority)
    }
}

/// Hashes what the router will do, for a search through all that can happen. Fields that are only reported (since when
/// and why, and when an advert was heard first) are left out, and so is the configuration, which never changes.
impl Hash for VirtualRouter {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self { config: _, since: _, reason: _, phase, started, interface_up, checks, kept, partners, .. } = self;
        (phase, started, interface_up, checks, kept, partners).hash(hasher);
        let Self { stands_by, priority, intervals, reported_preempt, actions, .. } = self;
        (stands_by, priority, intervals, reported_preempt, actions).hash(hasher);
    }
}
