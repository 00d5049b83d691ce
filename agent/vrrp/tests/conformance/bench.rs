//! A test bench for one virtual router: it provides virtual time and adverts, and returns every action.

use std::net::{IpAddr, Ipv4Addr};

use xvrrp_common::units::{Instant, Interval, Priority, Version, Vrid};
use xvrrp_vrrp::{Action, Event, ReceivedAdvert, RouterConfig, State, VirtualRouter};

pub const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100));
pub const LOWER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99));
/// As signed octets, it would be the lower address.
pub const HIGHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 200));

pub const SECOND: Interval = Interval::from_seconds(1);
pub const NANOSECOND: Interval = Interval::from_nanos(1);

/// Version 3 with the defaults of RFC 9568 6.1.
pub fn config() -> RouterConfig {
    RouterConfig {
        vrid: Vrid::new(51).unwrap(),
        version: Version::V3,
        priority: Priority::DEFAULT,
        advert_interval: SECOND,
        preempt: true,
        preempt_delay: Interval::ZERO,
        primary: OURS,
        lease: false,
        announce_count: 1,
        announce_interval: SECOND,
        announce_refresh: Interval::ZERO,
        down_timer_adverts: 3,
        answers_lower: true,
        answers_higher: false,
        delayed_until: Instant::default(),
    }
}

pub const fn millis(millis: u64) -> Interval {
    Interval::from_millis(millis)
}

pub const fn nanos(nanos: u64) -> Interval {
    Interval::from_nanos(nanos)
}

pub fn send(priority: u8) -> Action {
    Action::SendAdvert { priority: Priority::new(priority) }
}

/// Returns the actions without the one that only reports the change of state.
pub fn without_transition(actions: Vec<Action>) -> Vec<Action> {
    actions.into_iter().filter(|action| !matches!(action, Action::Transition { .. })).collect()
}

#[derive(Debug)]
pub struct Bench {
    pub router: VirtualRouter,
    pub now: Instant,
}

impl Bench {
    pub fn new(config: RouterConfig) -> Self {
        let now = Instant::from_nanos(1_000_000_000_000);
        Self { router: VirtualRouter::new(config, now), now }
    }

    pub fn backup(config: RouterConfig) -> Self {
        let mut bench = Self::new(config);
        bench.event(Event::Startup);
        assert_eq!(bench.router.state(), State::Backup);
        bench
    }

    pub fn active(config: RouterConfig) -> Self {
        let mut bench = Self::new(config);
        bench.event(Event::Startup);
        while bench.router.state() != State::Active {
            bench.fire_next();
        }
        bench
    }

    pub fn event(&mut self, event: Event) -> Vec<Action> {
        self.router.handle_event(event, self.now);
        self.actions()
    }

    /// Delivers an advert that arrives now, with an interval of one second.
    pub fn hear(&mut self, priority: u8, source: IpAddr) -> Vec<Action> {
        self.hear_interval(priority, source, SECOND)
    }

    pub fn hear_interval(&mut self, priority: u8, source: IpAddr, interval: Interval) -> Vec<Action> {
        self.hear_late(priority, source, interval, self.now)
    }

    /// Delivers an advert that arrived before the agent handles it.
    pub fn hear_late(&mut self, priority: u8, source: IpAddr, interval: Interval, at: Instant) -> Vec<Action> {
        let priority = Priority::new(priority);
        self.event(Event::Advert(ReceivedAdvert { received_at: at, source, priority, interval }))
    }

    /// Reports that the last advert was sent at once.
    pub fn sent_now(&mut self) {
        self.router.advert_sent(self.now);
    }

    /// Lets time pass. Every timer fires when it is due. Returns each action with the time that has passed until then.
    pub fn wait(&mut self, interval: Interval) -> Vec<(Interval, Action)> {
        let (start, end) = (self.now, self.now + interval);
        let mut actions = Vec::new();
        while let Some(deadline) = self.router.poll_timeout().filter(|&deadline| deadline <= end) {
            assert!(deadline >= self.now, "a deadline in the past");
            let fired = self.fire_next();
            actions.extend(fired.into_iter().map(|action| (deadline.since(start), action)));
        }
        self.now = end;
        actions
    }

    /// Lets time pass while the agent does not run. After that, it finds its timers overdue.
    pub fn oversleep(&mut self, interval: Interval) -> Vec<Action> {
        self.now = self.now + interval;
        self.router.handle_timeout(self.now);
        self.actions()
    }

    /// Returns how long it takes until the router becomes Active if no further advert arrives.
    #[track_caller]
    pub fn takes_over_after(&mut self) -> Interval {
        assert_eq!(self.router.state(), State::Backup);
        let start = self.now;
        while self.router.state() == State::Backup {
            self.fire_next();
        }
        assert_eq!(self.router.state(), State::Active);
        self.now.since(start)
    }

    fn fire_next(&mut self) -> Vec<Action> {
        let deadline = self.router.poll_timeout().expect("no timer runs");
        self.router.handle_timeout(deadline - NANOSECOND);
        assert_eq!(self.actions(), [], "a timer has fired before its deadline");
        self.now = deadline;
        self.router.handle_timeout(deadline);
        assert!(self.router.poll_timeout().is_none_or(|next| next > deadline), "the timer is still due");
        self.actions()
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.router.poll_action()).collect()
    }
}
