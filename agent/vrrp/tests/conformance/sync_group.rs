//! Members of a sync group on one host have the same role after any sequence of incidents.

use std::net::IpAddr;

use proptest::prelude::*;
use xvrrp_common::units::{Instant, Interval, Priority};
use xvrrp_vrrp::{
    Action, Checks, Event, Follower, Reason, ReceivedAdvert, RouterConfig, Standing, State, VirtualRouter, follow,
    joint_deadline, others,
};

use super::bench::{Bench, HIGHER, LOWER, OURS, SECOND, config, millis, send, without_transition};

#[test]
fn an_active_router_whose_partner_has_lost_its_interface_gives_up_with_priority_0() {
    let mut bench = Bench::active(config());
    let actions = bench.event(Event::Partners(Checks::Failed));
    assert_eq!(without_transition(actions), [Action::SetRole(State::Initialize), send(0), Action::RemoveAddresses]);
    assert_eq!(bench.router.reason(), Reason::PartnerFault);
    assert!(bench.router.reason().is_fault());
    bench.event(Event::Partners(Checks::Passed));
    assert_eq!((bench.router.state(), bench.router.reason()), (State::Backup, Reason::PartnersReady));
}

#[test]
fn a_router_waits_for_partners_and_checks_before_it_starts() {
    let mut bench = Bench::new(config());
    bench.event(Event::Partners(Checks::Pending));
    bench.event(Event::Checks(Checks::Pending));
    assert_eq!(bench.event(Event::Startup), []);
    bench.event(Event::Checks(Checks::Passed));
    assert_eq!((bench.router.state(), bench.router.reason()), (State::Initialize, Reason::PartnerPending));
    bench.event(Event::Partners(Checks::Passed));
    assert_eq!(bench.router.state(), State::Backup);
}

#[test]
fn pending_partners_do_not_end_a_role() {
    let mut bench = Bench::active(config());
    assert_eq!(bench.event(Event::Partners(Checks::Pending)), []);
    let mut bench = Bench::new(config());
    bench.event(Event::Partners(Checks::Pending));
    bench.event(Event::Resume { lease_until: bench.now + SECOND });
    assert_eq!(bench.router.state(), State::Active);
}

#[test]
fn a_router_that_would_resume_without_a_partner_gives_up_with_priority_0_instead() {
    let mut bench = Bench::new(config());
    bench.event(Event::Partners(Checks::Failed));
    let actions = bench.event(Event::Resume { lease_until: bench.now + SECOND });
    assert_eq!(without_transition(actions), [Action::SetRole(State::Initialize), send(0), Action::RemoveAddresses]);
}

/// Something that may happen to a host with a group.
#[derive(Clone, Debug)]
pub enum Incident {
    /// The interface of a member, and of all other members on it, changes.
    Interface {
        member: usize,
        up: bool,
    },
    /// The checks that these members track have a result.
    Track {
        members: [bool; 4],
        priority: u8,
        checks: Checks,
    },
    /// The kernel half reports an advert.
    Heard {
        member: usize,
        priority: u8,
        higher: bool,
    },
    /// The kernel half stamps an advert without a report.
    Stamped {
        member: usize,
    },
    /// An operator hands the role over, or takes it back.
    StandBy {
        on: bool,
    },
    Wait {
        interval: Interval,
    },
    /// The agent does not run for this long.
    Oversleep {
        interval: Interval,
    },
}

fn incidents() -> impl Strategy<Value = Vec<Incident>> {
    let member = 0..4_usize;
    let members = prop_oneof![Just([true; 4]), any::<[bool; 4]>()];
    let checks = prop_oneof![Just(Checks::Pending), Just(Checks::Passed), Just(Checks::Passed), Just(Checks::Failed)];
    let one = prop_oneof![
        2 => (member.clone(), any::<bool>()).prop_map(|(member, up)| Incident::Interface { member, up }),
        2 => (members, 1..=254_u8, checks)
            .prop_map(|(members, priority, checks)| Incident::Track { members, priority, checks }),
        3 => (member.clone(), prop_oneof![Just(0), Just(100), 1..=255_u8], any::<bool>())
            .prop_map(|(member, priority, higher)| Incident::Heard { member, priority, higher }),
        2 => member.prop_map(|member| Incident::Stamped { member }),
        1 => any::<bool>().prop_map(|on| Incident::StandBy { on }),
        3 => (0..5_000_u64).prop_map(|time| Incident::Wait { interval: millis(time) }),
        1 => (0..9_000_u64).prop_map(|time| Incident::Oversleep { interval: millis(time) }),
    ];
    prop::collection::vec(one, 0..60)
}

/// Two to four members that may differ in priority, interval and preemption.
fn members() -> impl Strategy<Value = Vec<RouterConfig>> {
    let interval = prop_oneof![Just(millis(100)), Just(SECOND), Just(millis(2_500))];
    let preemption = prop_oneof![
        2 => Just((true, Interval::ZERO)),
        1 => Just((true, millis(1_500))),
        1 => Just((false, Interval::ZERO)),
    ];
    let member = (prop_oneof![Just(100), 1..=254_u8], interval, preemption, any::<bool>()).prop_map(
        |(priority, advert_interval, (preempt, preempt_delay), lease)| RouterConfig {
            priority: Priority::new(priority),
            advert_interval,
            preempt,
            preempt_delay,
            lease,
            primary: OURS,
            ..config()
        },
    );
    prop::collection::vec(member, 2..=4)
}

/// A host that combines its members as `agent/src/election` does, without a kernel half.
#[derive(Debug)]
pub struct Host {
    pub configs: Vec<RouterConfig>,
    pub members: Vec<VirtualRouter>,
    /// The interface of each member.
    interfaces: Vec<usize>,
    /// Whether each interface is up.
    pub up: Vec<bool>,
    checks: Vec<Checks>,
    /// Adverts that were sent and not yet delivered: the member and the priority.
    pub sent: Vec<(usize, Priority)>,
    entered: Vec<Option<(State, State)>>,
    restarted: Vec<Option<Instant>>,
    /// When an Active router that a member does not preempt was last heard on it, and when a role was last given up.
    followed: Vec<Option<Instant>>,
    released: Option<Instant>,
    pub now: Instant,
}

impl Host {
    pub fn start(configs: Vec<RouterConfig>, interfaces: Vec<usize>, resumed: &[bool]) -> Self {
        let count = configs.len();
        let now = Instant::from_nanos(1_000_000_000_000);
        let mut host = Self {
            members: configs.iter().map(|config| VirtualRouter::new(config.clone(), now)).collect(),
            configs,
            up: vec![true; count],
            checks: vec![Checks::Passed; count],
            sent: Vec::new(),
            entered: vec![None; count],
            restarted: vec![None; count],
            followed: vec![None; count],
            released: None,
            interfaces,
            now,
        };
        host.refresh(|_| None);
        for (member, resumes) in resumed.iter().enumerate().take(count) {
            let lease_until = host.now + SECOND;
            let event = if *resumes { Event::Resume { lease_until } } else { Event::Startup };
            host.members[member].handle_event(event, host.now);
            host.act();
        }
        host
    }

    /// Receives an advert, which the kernel half stamps and reports. Its sender has the interval of the member.
    pub fn hear(&mut self, member: usize, priority: Priority, source: IpAddr) {
        let router = &mut self.members[member];
        if router.standing(priority) == Standing::Followed {
            self.restarted[member] = Some(self.now);
        }
        let interval = self.configs[member].advert_interval;
        let advert = ReceivedAdvert { received_at: self.now, source, priority, interval };
        router.handle_event(Event::Advert(advert), self.now);
        match router.standing(priority) {
            Standing::Followed => self.followed[member] = Some(self.now),
            Standing::Releases => self.released = Some(self.now),
            Standing::Ignored | Standing::Lower => {}
        }
    }

    pub fn inject(&mut self, incident: &Incident) {
        let count = self.members.len();
        match *incident {
            Incident::Interface { member, up } => {
                let interface = self.interfaces[member % count];
                self.up[interface] = up;
                let interfaces = self.interfaces.clone();
                let event = if up { Event::InterfaceUp } else { Event::InterfaceDown };
                self.refresh(|member| (interfaces[member] == interface).then_some(event));
            }
            Incident::Track { members, priority, checks } => {
                let tracking = |member: &usize| members[*member];
                for member in (0..count).filter(tracking) {
                    self.members[member].handle_event(Event::Priority(Priority::new(priority)), self.now);
                    self.checks[member] = checks;
                }
                self.refresh(|member| tracking(&member).then_some(Event::Checks(checks)));
            }
            Incident::Heard { member, priority, higher } => {
                let source: IpAddr = if higher { HIGHER } else { LOWER };
                self.hear(member % count, Priority::new(priority), source);
            }
            Incident::Stamped { member } => {
                // Every advert that an Active router hears is reported.
                if self.members[member % count].state() == State::Backup {
                    self.restarted[member % count] = Some(self.now);
                    self.followed[member % count] = Some(self.now);
                }
            }
            Incident::StandBy { on } => {
                self.members.iter_mut().for_each(|member| member.handle_event(Event::StandBy(on), self.now));
            }
            Incident::Wait { interval } => {
                let end = self.now + interval;
                while let Some(next) = self.members.iter().filter_map(VirtualRouter::poll_timeout).min()
                    && next <= end
                {
                    self.now = next.max(self.now);
                    self.fire();
                }
                self.now = end;
            }
            Incident::Oversleep { interval } => {
                self.now = self.now + interval;
                self.fire();
            }
        }
        self.act();
    }

    pub fn fire(&mut self) {
        for member in 0..self.members.len() {
            if self.members[member].poll_timeout().is_none_or(|due| due > self.now) {
                continue;
            }
            for (one, at) in self.restarted.iter().enumerate() {
                if let Some(at) = *at {
                    let interval = self.configs[one].advert_interval;
                    self.members[one].handle_event(Event::Restarted { at, interval }, self.now);
                }
            }
            let is_due = self.members[member].active_down_deadline().is_some_and(|due| due <= self.now);
            if let Some(until) = joint_deadline(self.members.iter()).filter(|until| is_due && *until > self.now) {
                self.members[member].handle_event(Event::Held { until }, self.now);
            }
            self.members[member].handle_timeout(self.now);
            self.act();
        }
    }

    fn ability(&self, member: usize) -> Checks {
        if self.up[self.interfaces[member]] { self.checks[member] } else { Checks::Failed }
    }

    /// Lets each member learn what has changed for itself and for its partners.
    fn refresh(&mut self, own: impl Fn(usize) -> Option<Event>) {
        for member in 0..self.members.len() {
            let partners = (0..self.members.len()).filter(|partner| *partner != member);
            let partners = Event::Partners(others(partners.map(|partner| self.ability(partner))));
            let able = self.ability(member) == Checks::Passed;
            let (first, last) = if able { (Some(partners), own(member)) } else { (own(member), Some(partners)) };
            for event in [first, last].into_iter().flatten() {
                self.members[member].handle_event(event, self.now);
            }
        }
    }

    fn carry_out(&mut self, member: usize) {
        while let Some(action) = self.members[member].poll_action() {
            match action {
                Action::SendAdvert { priority } => {
                    self.sent.push((member, priority));
                    self.members[member].advert_sent(self.now);
                }
                Action::Transition { from, to, reason, .. } => {
                    self.entered[member] = Some((from, to));
                    if to == State::Active && reason != Reason::Resumed {
                        self.assert_leases_have_ended();
                    }
                }
                _ => {}
            }
        }
    }

    /// The lease of an Active router that was heard and has not given up its role: three of its intervals.
    fn assert_leases_have_ended(&self) {
        for (member, config) in self.configs.iter().enumerate() {
            let Some(heard) = self.followed[member].filter(|heard| self.released.is_none_or(|at| at < *heard)) else {
                continue;
            };
            let lease_until = heard + config.advert_interval.saturating_mul(3);
            let early = lease_until.since(self.now);
            assert!(self.now >= lease_until, "the Active router of member {member} may serve for {early}");
        }
    }

    pub fn act(&mut self) {
        (0..self.members.len()).for_each(|member| self.carry_out(member));
        while let Some(changed) = self.entered.iter().position(Option::is_some) {
            let (from, to) = self.entered[changed].take().unwrap();
            for partner in (0..self.members.len()).filter(|member| *member != changed) {
                let Some((follower, event)) = follow(from, to, self.members[partner].state()) else { continue };
                let follower = if follower == Follower::Changed { changed } else { partner };
                self.members[follower].handle_event(event, self.now);
                self.carry_out(follower);
            }
        }
    }

    pub fn states(&self) -> Vec<State> {
        self.members.iter().map(VirtualRouter::state).collect()
    }
}

proptest! {
    /// Members may share an interface, and may differ in every setting. Some of them may resume, as after a crash.
    #[test]
    fn members_always_have_the_same_role_and_take_none_from_an_active_router_that_one_of_them_hears(
        configs in members(),
        interfaces in prop::collection::vec(0..4_usize, 4),
        resumed in prop::collection::vec(any::<bool>(), 4),
        incidents in incidents(),
    ) {
        let count = configs.len();
        let interfaces = interfaces.iter().take(count).map(|interface| interface % count).collect();
        let mut host = Host::start(configs, interfaces, &resumed);
        prop_assert!(host.states().windows(2).all(|pair| pair[0] == pair[1]), "{:?} at the start", host.states());
        for incident in &incidents {
            host.inject(incident);
            let states = host.states();
            prop_assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "{states:?} after {incident:?}");
        }
    }
}
