//! A host on the segment: a kernel half that receives adverts when they arrive, and an agent that handles them later.

use std::collections::VecDeque;

use xvrrp_common::units::{Instant, Interval, Priority, Version};
use xvrrp_vrrp::{Action, Event, ReceivedAdvert, RouterConfig, State, VirtualRouter};

#[derive(Debug)]
pub struct Host {
    pub config: RouterConfig,
    /// `None` while no agent runs.
    agent: Option<VirtualRouter>,
    kernel: Kernel,
    /// The lease that the agent set last.
    lease: Option<Instant>,
    addresses_installed: bool,
    /// Whether the interface has a carrier.
    pub carrier: bool,
    /// Whether frames get lost although the interface has a carrier.
    pub cut: bool,
    pub takeovers: u32,
    /// All events of the agent with its actions.
    pub steps: Vec<Step>,
}

/// An event of an agent with its actions.
#[derive(Debug)]
pub struct Step {
    pub at: Instant,
    pub input: Input,
    pub actions: Vec<Action>,
    /// When the next timer is due.
    pub next: Option<Instant>,
}

#[derive(Debug)]
pub enum Input {
    Event(Event),
    Timeout,
}

/// The state of the kernel half, and its queue of events for the agent.
#[derive(Debug)]
struct Kernel {
    role: State,
    preempt: bool,
    restarted: Option<(Instant, Interval)>,
    latest: Option<ReceivedAdvert>,
    events: VecDeque<ReceivedAdvert>,
    /// The time until which the host may serve.
    lease: Option<Instant>,
}

impl Host {
    pub fn new(config: RouterConfig) -> Self {
        Self {
            kernel: Kernel::new(&config),
            config,
            agent: None,
            lease: None,
            addresses_installed: false,
            carrier: true,
            cut: false,
            takeovers: 0,
            steps: Vec::new(),
        }
    }

    pub fn is_running(&self) -> bool {
        self.agent.is_some()
    }

    /// Whether it takes part in the election with all other reachable hosts.
    pub fn is_reachable(&self) -> bool {
        self.is_running() && self.carrier && !self.cut
    }

    pub fn is_active(&self) -> bool {
        self.kernel.role == State::Active
    }

    /// Whether it serves the virtual addresses.
    pub fn serves(&self, now: Instant) -> bool {
        self.is_active() && (!self.config.lease || self.kernel.lease.is_some_and(|until| now < until))
    }

    /// Returns when the agent has something to do.
    pub fn due_at(&self, now: Instant) -> Option<Instant> {
        let agent = self.agent.as_ref()?;
        if self.kernel.events.is_empty() { agent.poll_timeout() } else { Some(now) }
    }

    /// Starts an agent. Like the methods below, it returns the priorities of the adverts that are sent, in order.
    pub fn start(&mut self, now: Instant) -> Vec<Priority> {
        if self.is_running() {
            return Vec::new();
        }
        self.agent = Some(VirtualRouter::new(self.config.clone(), now));
        // A predecessor may have left a role with a lease.
        let resume = self.kernel.lease.filter(|_| self.carrier && self.config.lease && self.serves(now));
        if resume.is_none() {
            self.kernel = Kernel::new(&self.config);
        }
        self.kernel.preempt = self.config.preempt;
        self.lease = resume;
        self.addresses_installed = false;
        if !self.carrier {
            self.agent.as_mut().unwrap().handle_event(Event::InterfaceDown, now);
        }
        self.handle(resume.map_or(Event::Startup, |lease_until| Event::Resume { lease_until }), now)
    }

    /// Kills the agent, which leaves everything as it is.
    pub fn kill(&mut self) {
        self.agent = None;
    }

    pub fn stop(&mut self, now: Instant) -> Vec<Priority> {
        let sent = self.handle(Event::Shutdown, now);
        self.crash();
        sent
    }

    pub fn crash(&mut self) {
        self.agent = None;
        self.kernel = Kernel::new(&self.config);
        self.addresses_installed = false;
    }

    pub fn set_carrier(&mut self, carrier: bool, now: Instant) -> Vec<Priority> {
        self.carrier = carrier;
        self.handle(if carrier { Event::InterfaceUp } else { Event::InterfaceDown }, now)
    }

    pub fn stand_by(&mut self, on: bool, now: Instant) -> Vec<Priority> {
        self.handle(Event::StandBy(on), now)
    }

    /// Receives an advert. Returns whether the agent has to handle an event.
    pub fn receive(&mut self, advert: ReceivedAdvert) -> bool {
        // RFC 3768 7.1
        let mismatch = self.config.version == Version::V2 && advert.interval != self.config.advert_interval;
        if !mismatch {
            self.kernel.hear(advert, &self.config);
        }
        self.is_running() && !self.kernel.events.is_empty()
    }

    /// Lets the agent handle everything that is due: events first, then timers. Before the timers, it reads the stamps.
    pub fn catch_up(&mut self, now: Instant) -> Vec<Priority> {
        let mut sent = Vec::new();
        while let Some(advert) = self.kernel.events.pop_front() {
            sent.extend(self.handle(Event::Advert(advert), now));
        }
        let is_due = self.agent.as_ref().and_then(VirtualRouter::poll_timeout).is_some_and(|due| due <= now);
        if is_due && self.kernel.role == State::Backup {
            if let Some((at, interval)) = self.kernel.restarted {
                sent.extend(self.handle(Event::Restarted { at, interval }, now));
            }
            if let Some(latest) = self.kernel.latest {
                sent.extend(self.handle(Event::Advert(latest), now));
            }
        }
        if let Some(agent) = &mut self.agent {
            agent.handle_timeout(now);
            assert!(agent.poll_timeout().is_none_or(|due| due > now), "a timer is still due after it was handled");
        }
        sent.extend(self.carry_out(Input::Timeout, now));
        sent
    }

    fn handle(&mut self, event: Event, now: Instant) -> Vec<Priority> {
        if let Some(agent) = &mut self.agent {
            agent.handle_event(event, now);
        }
        self.carry_out(Input::Event(event), now)
    }

    /// Carries out the actions of the state machine. Fails if an action does not fit the state of the host.
    fn carry_out(&mut self, input: Input, now: Instant) -> Vec<Priority> {
        let mut sent = Vec::new();
        let mut actions = Vec::new();
        while let Some(action) = self.agent.as_mut().and_then(VirtualRouter::poll_action) {
            actions.push(action);
            match action {
                Action::SetRole(role) => {
                    if role != State::Active {
                        (self.kernel.lease, self.lease) = (None, None);
                    }
                    self.kernel.role = role;
                }
                Action::SetPreempt(preempt) => {
                    assert_ne!(self.kernel.preempt, preempt, "the flag has this value already");
                    self.kernel.preempt = preempt;
                }
                Action::SetStandBy(_) => {}
                Action::SetPriority(_) => panic!("nothing is tracked here"),
                Action::SendAdvert { priority } => {
                    assert!(priority.is_release() != self.is_active(), "an advert as {}", self.kernel.role);
                    sent.push(priority);
                    let renewed = self.agent.as_mut().and_then(|agent| agent.advert_sent(now));
                    // A lease that the kernel half has ended in the meantime is not renewed.
                    if self.kernel.lease == self.lease {
                        self.kernel.lease = renewed;
                    }
                    self.lease = self.kernel.lease;
                }
                Action::Announce => assert!(self.is_active(), "an announcement as {}", self.kernel.role),
                Action::InstallAddresses => {
                    assert!(self.is_active() && !self.addresses_installed);
                    self.addresses_installed = true;
                    self.takeovers += 1;
                }
                Action::RemoveAddresses => {
                    assert!(!self.is_active() && self.addresses_installed);
                    self.addresses_installed = false;
                }
                Action::Transition { to, .. } => assert_eq!(to, self.kernel.role),
            }
        }
        if let Some(agent) = &self.agent {
            assert_eq!(self.kernel.role, agent.state());
            assert_eq!(self.addresses_installed, self.is_active());
            self.steps.push(Step { at: now, input, actions, next: agent.poll_timeout() });
        }
        sent
    }
}

impl Kernel {
    fn new(config: &RouterConfig) -> Self {
        Self {
            role: State::Initialize,
            preempt: config.preempt,
            restarted: None,
            latest: None,
            events: VecDeque::new(),
            lease: None,
        }
    }

    /// Does what the kernel half does: stores every advert, and reports the new ones, or all of them to an Active
    /// router. The kernel half also reports the first advert in each role. That report may be lost, so the election
    /// must not depend on it, and it is left out here.
    fn hear(&mut self, advert: ReceivedAdvert, config: &RouterConfig) {
        let ours = config.priority;
        let contents = |advert: ReceivedAdvert| (advert.source, advert.priority, advert.interval);
        let is_new = advert.priority.is_release() || self.latest.map(contents) != Some(contents(advert));
        self.latest = Some(advert);
        match self.role {
            State::Initialize => {}
            State::Active => {
                // RFC 9568 6.4.3
                if (advert.priority, advert.source) > (ours, config.primary) {
                    self.lease = None;
                }
                self.events.push_back(advert);
            }
            State::Backup => {
                // RFC 9568 6.4.2
                if !advert.priority.is_release() && (advert.priority >= ours || !self.preempt) {
                    self.restarted = Some((advert.received_at, advert.interval));
                }
                if is_new {
                    self.events.push_back(advert);
                }
            }
        }
    }
}
