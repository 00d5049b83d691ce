//! Members of a sync group on one host have the same role after any sequence of incidents.

use std::net::IpAddr;

use proptest::prelude::*;
use xvrrp_common::units::{Instant, Interval, Priority};
use xvrrp_vrrp::{
    Action, Checks, Event, Follower, Reason, ReceivedAdvert, RouterConfig, State, VirtualRouter, follow, others,
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
    /// The checks have a result, which applies to all members.
    Track {
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
    let checks = prop_oneof![Just(Checks::Pending), Just(Checks::Passed), Just(Checks::Passed), Just(Checks::Failed)];
    let one = prop_oneof![
        2 => (member.clone(), any::<bool>()).prop_map(|(member, up)| Incident::Interface { member, up }),
        2 => (1..=254_u8, checks).prop_map(|(priority, checks)| Incident::Track { priority, checks }),
        3 => (member.clone(), prop_oneof![Just(0), Just(100), 1..=255_u8], any::<bool>())
            .prop_map(|(member, priority, higher)| Incident::Heard { member, priority, higher }),
        2 => member.prop_map(|member| Incident::Stamped { member }),
        1 => any::<bool>().prop_map(|on| Incident::StandBy { on }),
        3 => (0..5_000_u64).prop_map(|time| Incident::Wait { interval: millis(time) }),
        1 => (0..9_000_u64).prop_map(|time| Incident::Oversleep { interval: millis(time) }),
    ];
    prop::collection::vec(one, 0..60)
}

/// A host that combines its members as `agent/src/election` does, without a kernel half.
#[derive(Debug)]
pub struct Host {
    pub members: Vec<VirtualRouter>,
    /// The interface of each member.
    interfaces: Vec<usize>,
    /// Whether each interface is up.
    pub up: Vec<bool>,
    /// Adverts that were sent and not yet delivered: the member and the priority.
    pub sent: Vec<(usize, Priority)>,
    entered: Vec<Option<(State, State)>>,
    pub restarted: Vec<Option<Instant>>,
    pub now: Instant,
}

impl Host {
    pub fn start(config: &RouterConfig, interfaces: Vec<usize>, resumed: &[bool]) -> Self {
        let count = interfaces.len();
        let now = Instant::from_nanos(1_000_000_000_000);
        let mut host = Self {
            members: (0..count).map(|_| VirtualRouter::new(config.clone(), now)).collect(),
            up: vec![true; count],
            sent: Vec::new(),
            entered: vec![None; count],
            restarted: vec![None; count],
            interfaces,
            now,
        };
        host.update_partners();
        for (member, resumes) in resumed.iter().enumerate().take(count) {
            let lease_until = host.now + SECOND;
            let event = if *resumes { Event::Resume { lease_until } } else { Event::Startup };
            host.members[member].handle_event(event, host.now);
            host.act();
        }
        host
    }

    pub fn inject(&mut self, incident: &Incident) {
        let count = self.members.len();
        match *incident {
            Incident::Interface { member, up } => {
                let interface = self.interfaces[member % count];
                self.up[interface] = up;
                if up {
                    self.update_partners();
                }
                for member in (0..count).filter(|member| self.interfaces[*member] == interface) {
                    let event = if up { Event::InterfaceUp } else { Event::InterfaceDown };
                    self.members[member].handle_event(event, self.now);
                }
                self.update_partners();
            }
            Incident::Track { priority, checks } => {
                for event in [Event::Priority(Priority::new(priority)), Event::Checks(checks)] {
                    self.members.iter_mut().for_each(|member| member.handle_event(event, self.now));
                }
            }
            Incident::Heard { member, priority, higher } => {
                let source: IpAddr = if higher { HIGHER } else { LOWER };
                let advert = ReceivedAdvert {
                    received_at: self.now,
                    source,
                    priority: Priority::new(priority),
                    interval: SECOND,
                };
                self.members[member % count].handle_event(Event::Advert(advert), self.now);
            }
            Incident::Stamped { member } => self.restarted[member % count] = Some(self.now),
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
            if self.members[member].poll_timeout().is_some_and(|due| due <= self.now) {
                for at in self.restarted.iter().flatten() {
                    self.members[member].handle_event(Event::Restarted { at: *at, interval: SECOND }, self.now);
                }
                self.members[member].handle_timeout(self.now);
                self.act();
            }
        }
    }

    fn update_partners(&mut self) {
        for member in 0..self.members.len() {
            let partners = (0..self.members.len()).filter(|partner| *partner != member);
            let ability =
                |partner: usize| if self.up[self.interfaces[partner]] { Checks::Passed } else { Checks::Failed };
            let partners = others(partners.map(ability));
            self.members[member].handle_event(Event::Partners(partners), self.now);
        }
    }

    fn carry_out(&mut self, member: usize) {
        while let Some(action) = self.members[member].poll_action() {
            match action {
                Action::SendAdvert { priority } => {
                    self.sent.push((member, priority));
                    self.members[member].advert_sent(self.now);
                }
                Action::Transition { from, to, .. } => self.entered[member] = Some((from, to)),
                _ => {}
            }
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
    /// Members may share an interface. Some of them may resume, as after a crash.
    #[test]
    fn members_always_have_the_same_role(
        interfaces in prop::collection::vec(0..3_usize, 2..=4),
        resumed in prop::collection::vec(any::<bool>(), 4),
        preempt: bool,
        lease: bool,
        incidents in incidents(),
    ) {
        let interfaces = interfaces.iter().map(|interface| interface % interfaces.len()).collect();
        let mut host = Host::start(&RouterConfig { preempt, lease, primary: OURS, ..config() }, interfaces, &resumed);
        prop_assert!(host.states().windows(2).all(|pair| pair[0] == pair[1]), "{:?} at the start", host.states());
        for incident in &incidents {
            host.inject(incident);
            let states = host.states();
            prop_assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "{states:?} after {incident:?}");
        }
    }
}
