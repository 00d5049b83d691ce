//! Two hosts with the same sync group. Each segment has its own faults. As long as the hosts hear each other on at
//! least one segment, they are never both Active.

use std::net::IpAddr;

use proptest::prelude::*;
use xvrrp_common::units::{Interval, Priority};
use xvrrp_vrrp::{Checks, Event, ReceivedAdvert, RouterConfig, State, VirtualRouter};

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
    Check {
        host: usize,
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
        (segment, any::<bool>()).prop_map(|(segment, cut)| Fault::Cut { segment, cut }),
        (host.clone(), checks).prop_map(|(host, checks)| Fault::Check { host, checks }),
        (host, any::<bool>()).prop_map(|(host, on)| Fault::StandBy { host, on }),
    ];
    prop::collection::vec((fault, (0..6_000_u64).prop_map(millis)), 0..20)
}

#[derive(Debug)]
struct World {
    hosts: [Host; 2],
    configs: [RouterConfig; 2],
    cut: Vec<bool>,
}

impl World {
    fn new(segments: usize, preempt: bool) -> Self {
        let configs = [(200, OURS), (100, HIGHER)].map(|(priority, primary): (u8, IpAddr)| RouterConfig {
            priority: Priority::new(priority),
            preempt,
            primary,
            lease: true,
            ..config()
        });
        let resumed = vec![false; segments];
        let hosts = configs.each_ref().map(|config| Host::start(config, (0..segments).collect(), &resumed));
        Self { hosts, configs, cut: vec![false; segments] }
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
            Fault::Check { host, checks } => {
                let priority = self.configs[host].priority.get();
                self.hosts[host].inject(&Incident::Track { priority, checks });
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
                let (source, ours) = (self.configs[from].primary, &self.configs[to]);
                let host = &mut self.hosts[to];
                let now = host.now;
                let restarts = !priority.is_release() && (priority >= ours.priority || !ours.preempt);
                if host.members[segment].state() == State::Backup && restarts {
                    host.restarted[segment] = Some(now);
                }
                let advert = ReceivedAdvert { received_at: now, source, priority, interval: SECOND };
                host.members[segment].handle_event(Event::Advert(advert), now);
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
    fn two_gateways_that_hear_each_other_anywhere_are_never_both_active(
        segments in 2..=3_usize,
        preempt: bool,
        faults in faults(),
    ) {
        let mut world = World::new(segments, preempt);
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
                world.inject(&Fault::Check { host, checks: Checks::Passed });
                world.inject(&Fault::StandBy { host, on: false });
            }
        }
        world.wait(SETTLED);
        let roles = world.roles();
        prop_assert!(roles.contains(&State::Active) && roles.contains(&State::Backup), "{roles:?}");
        prop_assert!(!preempt || roles[0] == State::Active, "{roles:?}");
    }
}
