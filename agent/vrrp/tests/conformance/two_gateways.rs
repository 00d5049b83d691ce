//! Two hosts with the same sync group. Each segment has its own faults. As long as the hosts hear each other on at
//! least one segment, they are never both Active.

use std::net::IpAddr;

use proptest::prelude::*;
use xvrrp_common::units::{Interval, Priority};
use xvrrp_vrrp::{Checks, RouterConfig, State, VirtualRouter};

use super::bench::{HIGHER, OURS, SECOND, config, millis};
use super::sync_group::{Host, Incident};

/// Time in which at least one advert of each router arrives.
const AN_INTERVAL: Interval = millis(1_100);
/// Time within which the roles settle once all faults have ended: more than two Active_Down_Intervals of any router.
const SETTLED: Interval = Interval::from_seconds(12);

#[derive(Clone, Debug)]
enum Fault {
    Carrier {
        host: usize,
        segment: usize,
        up: bool,
    },
    /// The segment is cut in the middle. The interfaces keep their carriers.
    Cut {
        segment: usize,
        cut: bool,
    },
    /// A check of the member on this segment has a result.
    Check {
        host: usize,
        segment: usize,
        checks: Checks,
    },
    /// No fault: an operator hands the role over, or takes it back.
    StandBy {
        host: usize,
        on: bool,
    },
}

fn faults() -> impl Strategy<Value = Vec<(Fault, Interval)>> {
    let (host, segment) = (0..2_usize, 0..3_usize);
    let checks = prop_oneof![Just(Checks::Passed), Just(Checks::Failed)];
    let fault = prop_oneof![
        (host.clone(), segment.clone(), any::<bool>()).prop_map(|(host, segment, up)| Fault::Carrier {
            host,
            segment,
            up
        }),
        (segment.clone(), any::<bool>()).prop_map(|(segment, cut)| Fault::Cut { segment, cut }),
        (host.clone(), segment, checks).prop_map(|(host, segment, checks)| Fault::Check { host, segment, checks }),
        (host, any::<bool>()).prop_map(|(host, on)| Fault::StandBy { host, on }),
    ];
    prop::collection::vec((fault, (0..6_000_u64).prop_map(millis)), 0..20)
}

/// The settings of both hosts on a segment. Only the interval is the same.
#[derive(Clone, Debug)]
struct Settings {
    priorities: [u8; 2],
    preempt: [bool; 2],
    interval: Interval,
}

fn settings() -> impl Strategy<Value = Vec<Settings>> {
    let priorities =
        prop_oneof![3 => Just([200, 100]), 1 => [1..=127_u8, 128..=254_u8], 1 => [128..=254_u8, 1..=127_u8]];
    let preempt = prop_oneof![2 => Just([true; 2]), 1 => any::<[bool; 2]>()];
    let interval = prop_oneof![Just(SECOND), Just(millis(100))];
    let settings = (priorities, preempt, interval).prop_map(|(priorities, preempt, interval)| Settings {
        priorities,
        preempt,
        interval,
    });
    prop::collection::vec(settings, 2..=3)
}

#[derive(Debug)]
struct World {
    hosts: [Host; 2],
    cut: Vec<bool>,
}

impl World {
    fn new(settings: &[Settings]) -> Self {
        let segments = settings.len();
        let hosts = [(0, OURS), (1, HIGHER)].map(|(host, primary): (usize, IpAddr)| {
            let config = |settings: &Settings| RouterConfig {
                priority: Priority::new(settings.priorities[host]),
                preempt: settings.preempt[host],
                advert_interval: settings.interval,
                primary,
                lease: true,
                ..config()
            };
            Host::start(settings.iter().map(config).collect(), (0..segments).collect(), &vec![false; segments])
        });
        Self { hosts, cut: vec![false; segments] }
    }

    fn inject(&mut self, fault: &Fault) {
        match *fault {
            Fault::Carrier { host, segment, up } => {
                let member = segment % self.cut.len();
                self.hosts[host].inject(&Incident::Interface { member, up });
            }
            Fault::Cut { segment, cut } => {
                let segment = segment % self.cut.len();
                self.cut[segment] = cut;
            }
            Fault::Check { host, segment, checks } => {
                let member = segment % self.cut.len();
                let priority = self.hosts[host].configs[member].priority.get();
                let members = std::array::from_fn(|one| one == member);
                self.hosts[host].inject(&Incident::Track { members, priority, checks });
            }
            Fault::StandBy { host, on } => self.hosts[host].inject(&Incident::StandBy { on }),
        }
        self.deliver();
    }

    fn hear_each_other(&self, segment: usize) -> bool {
        !self.cut[segment] && self.hosts.iter().all(|host| host.up[segment])
    }

    /// Delivers all adverts that were sent, and the answers to them.
    fn deliver(&mut self) {
        while let Some(from) = self.hosts.iter().position(|host| !host.sent.is_empty()) {
            let to = 1 - from;
            for (segment, priority) in std::mem::take(&mut self.hosts[from].sent) {
                if !self.hear_each_other(segment) {
                    continue;
                }
                let source = self.hosts[from].configs[segment].primary;
                let host = &mut self.hosts[to];
                host.hear(segment, priority, source);
                host.act();
            }
        }
    }

    fn wait(&mut self, interval: Interval) {
        let end = self.hosts[0].now + interval;
        let next = |world: &Self| {
            world.hosts.iter().flat_map(|host| &host.members).filter_map(VirtualRouter::poll_timeout).min()
        };
        while let Some(next) = next(self).filter(|next| *next <= end) {
            for host in &mut self.hosts {
                host.now = next.max(host.now);
            }
            for host in 0..2 {
                self.hosts[host].fire();
                self.deliver();
            }
        }
        self.hosts.iter_mut().for_each(|host| host.now = end);
    }

    /// Returns the role of each host, which all its members have.
    fn roles(&self) -> [State; 2] {
        self.hosts.each_ref().map(|host| {
            let states = host.states();
            assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "{states:?}");
            states[0]
        })
    }
}

proptest! {
    #[test]
    fn two_gateways_that_hear_each_other_anywhere_are_never_both_active(settings in settings(), faults in faults()) {
        let segments = settings.len();
        let mut world = World::new(&settings);
        for (fault, pause) in &faults {
            world.inject(fault);
            world.wait(AN_INTERVAL);
            world.wait(*pause);
            let hear = (0..segments).any(|segment| world.hear_each_other(segment));
            let roles = world.roles();
            prop_assert!(!hear || roles != [State::Active; 2], "{roles:?} after {fault:?}");
        }
        for segment in 0..segments {
            world.inject(&Fault::Cut { segment, cut: false });
            for host in 0..2 {
                world.inject(&Fault::Carrier { host, segment, up: true });
                world.inject(&Fault::Check { host, segment, checks: Checks::Passed });
                world.inject(&Fault::StandBy { host, on: false });
            }
        }
        world.wait(SETTLED);
        let roles = world.roles();
        prop_assert!(roles.contains(&State::Active) && roles.contains(&State::Backup), "{roles:?}");
        // The host that is better everywhere, and preempts everywhere, has the role.
        for (host, role) in roles.into_iter().enumerate() {
            let wins = |it: &Settings| it.priorities[host] > it.priorities[1 - host] && it.preempt[host];
            prop_assert!(!settings.iter().all(wins) || role == State::Active, "{roles:?}");
        }
    }
}
