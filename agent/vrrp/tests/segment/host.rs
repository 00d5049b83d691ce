//! A host on the segment: the kernel half that hears adverts as they arrive, and the agent that gets round to them.

use std::collections::VecDeque;

use xvrrp_common::units::{Instant, Interval, Priority, Version};
use xvrrp_vrrp::{Action, Config, Event, ReceivedAdvert, State, VirtualRouter};

#[derive(Debug)]
pub struct Host {
    pub config: Config,
    /// `None` while nothing runs here.
    agent: Option<VirtualRouter>,
    kernel: Kernel,
    /// The lease that the agent last gave.
    lease: Option<Instant>,
    addresses_installed: bool,
    /// The interface has a carrier.
    pub carrier: bool,
    /// Nothing gets through, and nobody here knows.
    pub cut: bool,
    pub takeovers: u32,
    /// Everything that the agent was told and ordered.
    #[allow(dead_code, reason = "for the recorded elections")]
    pub steps: Vec<Step>,
}

/// What an agent was told, and what came of it.
#[allow(dead_code, reason = "for the recorded elections")]
#[derive(Debug)]
pub struct Step {
    pub at: Instant,
    pub input: Input,
    pub actions: Vec<Action>,
    /// When it next has to look, if nothing happens before.
    pub next: Option<Instant>,
}

#[allow(dead_code, reason = "for the recorded elections")]
#[derive(Debug)]
pub enum Input {
    Event(Event),
    Timeout,
}

/// What the kernel half knows, and what it has queued for the agent.
#[derive(Debug)]
struct Kernel {
    role: State,
    preempt: bool,
    restarted: Option<(Instant, Interval)>,
    latest: Option<ReceivedAdvert>,
    events: VecDeque<ReceivedAdvert>,
    /// Until when the host may serve.
    lease: Option<Instant>,
}

impl Host {
    pub fn new(config: Config) -> Self {
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

    /// Takes part in the election with all others of which this is true.
    pub fn is_reachable(&self) -> bool {
        self.is_running() && self.carrier && !self.cut
    }

    pub fn is_active(&self) -> bool {
        self.kernel.role == State::Active
    }

    /// Answers for the virtual addresses.
    pub fn serves(&self, now: Instant) -> bool {
        self.is_active() && (!self.config.lease || self.kernel.lease.is_some_and(|until| now < until))
    }

    /// When there is something for the agent to do.
    pub fn due_at(&self, now: Instant) -> Option<Instant> {
        let agent = self.agent.as_ref()?;
        if self.kernel.events.is_empty() { agent.poll_timeout() } else { Some(now) }
    }

    /// These return the priorities of the adverts that are sent, in order.
    pub fn start(&mut self, now: Instant) -> Vec<Priority> {
        if self.is_running() {
            return Vec::new();
        }
        self.agent = Some(VirtualRouter::new(self.config.clone()));
        // What a predecessor has left.
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
        self.tell(resume.map_or(Event::Startup, |lease_until| Event::Resume { lease_until }), now)
    }

    /// The agent is, and leaves everything as it is.
    pub fn kill(&mut self) {
        self.agent = None;
    }

    pub fn stop(&mut self, now: Instant) -> Vec<Priority> {
        let sent = self.tell(Event::Shutdown, now);
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
        self.tell(if carrier { Event::InterfaceUp } else { Event::InterfaceDown }, now)
    }

    pub fn stand_by(&mut self, on: bool, now: Instant) -> Vec<Priority> {
        self.tell(Event::StandBy(on), now)
    }

    /// Whether the agent is to be told of it.
    pub fn receive(&mut self, advert: ReceivedAdvert) -> bool {
        // RFC 3768 7.1
        let mismatch = self.config.version == Version::V2 && advert.interval != self.config.advert_interval;
        if !mismatch {
            self.kernel.hear(advert, &self.config);
        }
        self.is_running() && !self.kernel.events.is_empty()
    }

    /// The agent gets round to what has come up: events first, then timers, before which it looks at what was heard.
    pub fn attend(&mut self, now: Instant) -> Vec<Priority> {
        let mut sent = Vec::new();
        while let Some(advert) = self.kernel.events.pop_front() {
            sent.extend(self.tell(Event::Advert(advert), now));
        }
        let is_due = self.agent.as_ref().and_then(VirtualRouter::poll_timeout).is_some_and(|due| due <= now);
        if is_due && self.kernel.role == State::Backup {
            if let Some((at, interval)) = self.kernel.restarted {
                sent.extend(self.tell(Event::Restarted { at, interval }, now));
            }
            if let Some(latest) = self.kernel.latest {
                sent.extend(self.tell(Event::Advert(latest), now));
            }
        }
        if let Some(agent) = &mut self.agent {
            agent.handle_timeout(now);
            assert!(agent.poll_timeout().is_none_or(|due| due > now), "a timer is still due after it was handled");
        }
        sent.extend(self.carry_out(Input::Timeout, now));
        sent
    }

    fn tell(&mut self, event: Event, now: Instant) -> Vec<Priority> {
        if let Some(agent) = &mut self.agent {
            agent.handle_event(event, now);
        }
        self.carry_out(Input::Event(event), now)
    }

    /// Whatever the machine orders must make sense to hands that do not think.
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
                    assert_ne!(self.kernel.preempt, preempt, "told what is so already");
                    self.kernel.preempt = preempt;
                }
                Action::SetStandBy(_) => {}
                Action::SetPriority(_) => panic!("nothing is tracked here"),
                Action::SendAdvert { priority } => {
                    assert!(priority.is_release() != self.is_active(), "an advert as {}", self.kernel.role);
                    sent.push(priority);
                    let renewed = self.agent.as_mut().and_then(|agent| agent.advert_sent(now));
                    // Unless the kernel half has ended it in between.
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
    fn new(config: &Config) -> Self {
        Self {
            role: State::Initialize,
            preempt: config.preempt,
            restarted: None,
            latest: None,
            events: VecDeque::new(),
            lease: None,
        }
    }

    /// As the kernel half does it: everything is noted, but the agent is told of what is new, or of all if it is Active.
    fn hear(&mut self, advert: ReceivedAdvert, config: &Config) {
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
