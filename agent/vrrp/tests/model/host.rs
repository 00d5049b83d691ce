//! A host: the kernel half, and the agent, which is the real state machine with a model of the code around it.
//! Something else can happen between any two steps of the agent, and the agent can be held up for any time.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use xvrrp_common::units::{Instant, Interval, Priority, Version, Vrid};
use xvrrp_vrrp::{Action, Event, ReceivedAdvert, RouterConfig, State, VirtualRouter};

use super::fingerprint::EPOCH;
use super::rules::{Lease, RATE, Router, Rules, Setting};

/// Length of a tick in nanoseconds. With it, both rates and Skew_Times are whole nanoseconds.
pub const TICK: u64 = 1 << 16;

#[derive(Clone, Debug, Hash)]
pub struct Host {
    pub now: Instant,
    pub kernel: Kernel,
    pub agent: Option<Agent>,
    /// Whether the agent is held up and takes no step.
    pub hung: bool,
}

/// The content of the maps, which outlives the agent.
#[derive(Clone, Debug, Hash)]
pub struct Kernel {
    pub role: State,
    /// End of the lease in nanoseconds. 0 means that there is none.
    pub lease: u64,
    preempt: bool,
    restarted: Option<(Instant, Interval)>,
    latest: Option<(Instant, Contents)>,
    events: VecDeque<(Instant, Contents)>,
}

/// Sender and priority of an advert. All routers have the same interval.
pub type Contents = (u8, u8);

#[derive(Clone, Debug, Hash)]
pub struct Agent {
    pub machine: VirtualRouter,
    /// The lease that the agent set last.
    lease: u64,
    at: Point,
    todo: VecDeque<Action>,
    /// Time at which to send the next advert without a lease, and how many follow it.
    opening: Option<(Instant, u8)>,
}

/// The point of its program that the agent has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Point {
    Starting {
        resume: Option<Instant>,
    },
    /// It waits, or carries out actions.
    Ready,
    /// It has found that a takeover is due.
    TakingOver {
        now: Instant,
    },
    /// It has written the role Active.
    LookingAgain {
        now: Instant,
    },
    /// It has read the clock.
    Sending {
        at: Instant,
        priority: Priority,
    },
    Sent {
        at: Instant,
    },
    /// It has read the clock again.
    Renewing {
        at: Instant,
    },
}

/// Parameters of a router.
#[derive(Clone, Debug)]
pub struct Character {
    pub router: Router,
    pub number: u8,
    pub interval: Interval,
    pub rules: Rules,
}

impl Character {
    pub fn all(setting: &Setting) -> Vec<Self> {
        let interval = Interval::from_nanos(u64::from(setting.interval) * TICK);
        (0..)
            .zip(&setting.routers)
            .map(|(number, &router)| Self { router, number, interval, rules: setting.rules })
            .collect()
    }

    fn config(&self) -> RouterConfig {
        RouterConfig {
            vrid: Vrid::new(51).unwrap(),
            version: Version::V3,
            priority: Priority::new(self.router.priority),
            advert_interval: self.interval,
            preempt: self.router.preempt,
            preempt_delay: Interval::ZERO,
            primary: address(self.number),
            lease: self.rules.lease != Lease::Off,
            announce_count: 1,
            // Announcements are not part of the model, so they are never repeated.
            announce_interval: Interval::from_nanos(u64::MAX),
            announce_refresh: Interval::ZERO,
            down_timer_adverts: 3,
            answers_lower: true,
            answers_higher: false,
            delayed_until: Instant::default(),
        }
    }

    /// Returns how far its clock advances in a tick.
    fn tick(&self) -> Interval {
        Interval::from_nanos(TICK.strict_add_signed(TICK.cast_signed() / RATE * self.router.fast))
    }

    fn advert(&self, (received_at, (from, priority)): (Instant, Contents)) -> Event {
        Event::Advert(ReceivedAdvert {
            received_at,
            source: address(from),
            priority: Priority::new(priority),
            interval: self.interval,
        })
    }

    /// RFC 9568 6.4.3.
    fn loses_to(&self, (from, priority): Contents) -> bool {
        (priority, from) > (self.router.priority, self.number)
    }
}

fn address(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1 + number))
}

impl Host {
    pub fn new(character: &Character) -> Self {
        Self {
            now: Instant::from_nanos(EPOCH),
            kernel: Kernel {
                role: State::Initialize,
                lease: 0,
                preempt: character.router.preempt,
                restarted: None,
                latest: None,
                events: VecDeque::new(),
            },
            agent: None,
            hung: false,
        }
    }

    pub fn serves(&self, character: &Character) -> bool {
        let unlimited = character.rules.lease == Lease::Off;
        self.kernel.role == State::Active && (unlimited || self.now.as_nanos() < self.kernel.lease)
    }

    pub fn tick(&mut self, character: &Character) {
        self.now = self.now + character.tick();
    }

    /// Handles an advert in the kernel half.
    pub fn hear(&mut self, character: &Character, contents: Contents) {
        let (rules, kernel, now) = (&character.rules, &mut self.kernel, self.now);
        let is_release = contents.1 == 0;
        let restarts =
            kernel.role == State::Backup && !is_release && (contents.1 >= character.router.priority || !kernel.preempt);
        if restarts {
            kernel.restarted = Some((now, character.interval));
        }
        let is_new = kernel.latest.map(|(_, contents)| contents) != Some(contents);
        kernel.latest = Some((now, contents));
        if rules.fence && kernel.role == State::Active && character.loses_to(contents) {
            kernel.lease = 0;
        }
        let matters = match kernel.role {
            State::Active => true,
            State::Backup => is_release || is_new,
            State::Initialize => false,
        };
        if matters && kernel.events.len() < rules.ring {
            kernel.events.push_back((now, contents));
        }
    }

    pub fn is_running(&self) -> bool {
        self.agent.is_some()
    }

    /// Whether the agent has something to do now.
    pub fn is_due(&self) -> bool {
        let Some(agent) = &self.agent else { return false };
        let deadline = agent.machine.poll_timeout().is_some_and(|deadline| deadline <= self.now)
            || agent.opening.is_some_and(|(next, _)| next <= self.now);
        agent.at != Point::Ready || !agent.todo.is_empty() || !self.kernel.events.is_empty() || deadline
    }

    pub fn start(&mut self, character: &Character) {
        let left = (self.kernel.role == State::Active).then_some(Instant::from_nanos(self.kernel.lease));
        let resume = left.filter(|&lease| self.now < lease || !character.rules.resume_within_lease);
        if resume.is_none() {
            self.kernel.role = State::Initialize;
            self.kernel.lease = 0;
        }
        self.kernel.preempt = character.router.preempt;
        self.agent = Some(Agent {
            machine: VirtualRouter::new(character.config(), self.now),
            lease: self.kernel.lease,
            at: Point::Starting { resume },
            todo: VecDeque::new(),
            opening: None,
        });
    }

    /// Kills the agent, which leaves the maps as they are.
    pub fn kill(&mut self) {
        self.agent = None;
        self.hung = false;
    }

    /// Stops the agent gracefully when it has nothing else to do. Returns the priority of the advert that it sends.
    pub fn stop(&mut self) -> Option<Priority> {
        let mut agent = self.agent.take()?;
        agent.machine.handle_event(Event::Shutdown, self.now);
        self.kernel.role = State::Initialize;
        self.kernel.lease = 0;
        self.kernel.events.clear();
        std::iter::from_fn(|| agent.machine.poll_action()).find_map(|action| match action {
            Action::SendAdvert { priority } => Some(priority),
            _ => None,
        })
    }

    pub fn is_idle(&self) -> bool {
        self.agent.as_ref().is_some_and(|agent| agent.at == Point::Ready && agent.todo.is_empty())
    }

    /// Lets the agent take a step. Returns the priority of the advert that it sends.
    pub fn step(&mut self, character: &Character) -> Option<Priority> {
        let Self { now, kernel, agent: Some(agent), .. } = self else { return None };
        agent.step(character, kernel, *now)
    }
}

impl Agent {
    fn step(&mut self, character: &Character, kernel: &mut Kernel, now: Instant) -> Option<Priority> {
        let rules = &character.rules;
        match self.at {
            Point::Starting { resume } => {
                self.at = Point::Ready;
                let lease = |until: Instant| if rules.resume_within_lease { until } else { now + character.interval };
                let event = resume.map_or(Event::Startup, |until| Event::Resume { lease_until: lease(until) });
                self.handle(event, now);
            }
            Point::Ready if !self.todo.is_empty() => self.act(character, kernel, now),
            Point::Ready => match kernel.events.pop_front() {
                Some(event) => self.handle(character.advert(event), now),
                None if self.opening.is_some_and(|(next, _)| next <= now) => self.open(character, now),
                None => {
                    self.hear_stamp(character, kernel, now);
                    if self.takeover_is_due(now) {
                        self.at = Point::TakingOver { now };
                    } else {
                        self.fire(now);
                    }
                }
            },
            Point::TakingOver { now } => {
                self.set_lease(kernel, now.as_nanos());
                kernel.role = State::Active;
                self.at = Point::LookingAgain { now };
            }
            Point::LookingAgain { now } => {
                if rules.opening > 0 {
                    self.opening = Some((now + Interval::from_nanos(u64::from(rules.opening) * TICK), 1));
                }
                self.hear_stamp(character, kernel, now);
                if !self.takeover_is_due(now) {
                    kernel.role = State::Backup;
                }
                self.at = Point::Ready;
                self.fire(now);
            }
            Point::Sending { at, priority } => {
                let pause = Interval::from_nanos(u64::from(rules.opening) * TICK);
                self.opening = self.opening.map(|(_, left)| (now + pause, left));
                self.at = Point::Sent { at };
                return Some(priority);
            }
            Point::Sent { at } => {
                let too_late = rules.looks_at_clock && self.machine.lease_has_ended(now);
                self.at = if too_late { Point::Ready } else { Point::Renewing { at } };
            }
            Point::Renewing { at } => {
                self.at = Point::Ready;
                if self.opening.is_none() {
                    self.renew(character, kernel, if rules.lease_from_sending { at } else { now });
                }
            }
        }
        None
    }

    fn handle(&mut self, event: Event, now: Instant) {
        self.machine.handle_event(event, now);
        self.note_actions();
    }

    fn fire(&mut self, now: Instant) {
        self.machine.handle_timeout(now);
        self.note_actions();
    }

    /// Queues the actions that affect whether the host serves.
    fn note_actions(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            if let Action::SetRole(state) = action
                && state != State::Active
            {
                self.opening = None;
            }
            if matches!(action, Action::SetRole(_) | Action::SetPreempt(_) | Action::SendAdvert { .. }) {
                self.todo.push_back(action);
            }
        }
    }

    /// Carries out actions up to the next point at which a delay makes a difference.
    fn act(&mut self, character: &Character, kernel: &mut Kernel, now: Instant) {
        while let Some(action) = self.todo.pop_front() {
            match action {
                Action::SetRole(state) => {
                    if state != State::Active {
                        self.set_lease(kernel, 0);
                    } else if self.lease == 0 {
                        self.set_lease(kernel, now.as_nanos());
                    }
                    kernel.role = state;
                }
                Action::SetPreempt(preempt) => kernel.preempt = preempt,
                Action::SendAdvert { priority }
                    if !character.rules.looks_at_clock || !self.machine.lease_has_ended(now) =>
                {
                    self.at = Point::Sending { at: now, priority };
                    return;
                }
                _ => {}
            }
        }
    }

    /// Sends an advert without a lease, so that the other routers hear this one before it serves.
    fn open(&mut self, character: &Character, now: Instant) {
        let Some((_, left)) = self.opening.take() else { return };
        if self.machine.state() == State::Active {
            self.fire(now);
        }
        if self.machine.state() == State::Active {
            let pause = Interval::from_nanos(u64::from(character.rules.opening) * TICK);
            self.opening = (left > 0).then(|| (now + pause, left - 1));
            self.todo.push_back(Action::SendAdvert { priority: Priority::new(character.router.priority) });
        }
    }

    fn renew(&mut self, character: &Character, kernel: &mut Kernel, from: Instant) {
        // The state machine always grants three intervals. A lease of another length is one that runs from another
        // moment.
        let from = match character.rules.lease {
            Lease::Ticks(ticks) => {
                from + Interval::from_nanos(u64::from(ticks) * TICK) - character.interval.saturating_mul(3)
            }
            Lease::Off | Lease::ThreeIntervals => from,
        };
        let Some(until) = self.machine.advert_sent(from) else { return };
        if kernel.lease == self.lease || !character.rules.compare_and_swap {
            kernel.lease = until.as_nanos();
        }
        self.lease = kernel.lease;
    }

    fn set_lease(&mut self, kernel: &mut Kernel, until: u64) {
        self.lease = until;
        kernel.lease = until;
    }

    fn hear_stamp(&mut self, character: &Character, kernel: &Kernel, now: Instant) {
        if self.machine.state() != State::Backup || !character.rules.stamps {
            return;
        }
        if let Some((at, interval)) = kernel.restarted {
            self.handle(Event::Restarted { at, interval }, now);
        }
        if let Some(latest) = kernel.latest {
            self.handle(character.advert(latest), now);
        }
    }

    fn takeover_is_due(&self, now: Instant) -> bool {
        self.machine.active_down_deadline().is_some_and(|deadline| deadline <= now)
    }
}
