//! Plans of faults: which, when and for how long. They depend on the seed alone.

use std::time::Duration;

use super::fault::Fault;
use xvrrp_lab::random::Random;

/// A fault of one router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Time from the start of the episode to the fault.
    pub after: Duration,
    /// Time until the fault is undone.
    pub lasting: Duration,
    /// Index of the router in the lab.
    pub router: usize,
    /// The fault.
    pub fault: Fault,
}

/// Faults that happen together or soon after each other. After them, the routers are left alone until one of them
/// serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    /// The faults, at most six.
    pub faults: Vec<Planned>,
    /// Time before the next episode.
    pub rest: Duration,
}

const MAX_FAULTS: usize = 6;
const SPREAD: Duration = Duration::from_millis(1500);
const SHORTEST: Duration = Duration::from_millis(4);
const LONGEST: Duration = Duration::from_millis(2500);
/// Critical lengths of a fault, about as long as a lease lasts and a Backup waits. A small difference matters there.
const CRITICAL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(420));
/// Percentage of episodes whose faults give no reason for a change of role.
const GENTLE: u8 = 20;
/// Shortest impairment of a cable, long enough to affect some adverts.
const SHORTEST_IMPAIRMENT: Duration = Duration::from_millis(600);

impl Episode {
    /// Plans the episode with this number of this seed.
    pub fn new(seed: u64, number: u64, routers: usize, with_wall_clock: bool) -> Self {
        // Each episode has a generator of its own, so that it can be repeated without those before it.
        let mut chance = Random::new(Random::new(seed).number().wrapping_add(number));
        let mut faults: Vec<Planned> = Vec::new();
        let gentle = chance.happens(GENTLE);
        for _ in 0..=chance.below(MAX_FAULTS) {
            let planned = Planned::any(&mut chance, routers, with_wall_clock);
            if gentle && !planned.fault.keeps_roles() {
                continue;
            }
            let mut beside = faults.iter().filter(|other| other.router == planned.router);
            let goes = beside.all(|other| other.fault.goes_with(planned.fault));
            // The impairments of two cables together could amount to a partition.
            let impaired = planned.fault.is_impairment() && faults.iter().any(|other| other.fault.is_impairment());
            if goes && !impaired {
                faults.push(planned);
            }
        }
        if faults.is_empty() {
            // A gentle episode may have drawn no suitable fault.
            faults.push(Planned { after: Duration::ZERO, lasting: SHORTEST, router: 0, fault: Fault::Reload });
        }
        Self { faults, rest: chance.up_to(Duration::from_millis(400)) }
    }
}

impl Episode {
    /// Returns whether no router may change its role in this episode.
    pub fn keeps_roles(&self) -> bool {
        self.faults.iter().all(|planned| planned.fault.keeps_roles())
    }
}

impl Planned {
    fn any(chance: &mut Random, routers: usize, with_wall_clock: bool) -> Self {
        let after = chance.up_to(SPREAD);
        // The router that is Active when there is no fault gets about half of the faults.
        let router = if chance.happens(30) { 0 } else { chance.below(routers) };
        let fault = Fault::any(chance, with_wall_clock);
        let (min, max) = match fault {
            Fault::Impair(_) => (SHORTEST_IMPAIRMENT, LONGEST),
            _ if chance.happens(25) => CRITICAL,
            _ => (SHORTEST, LONGEST),
        };
        Self { after, lasting: chance.any_length(min, max), router, fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_plans_the_same_faults_and_another_seed_plans_others() {
        let plan = |seed| (0..50).map(|number| Episode::new(seed, number, 3, false)).collect::<Vec<_>>();
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
    }

    #[test]
    fn every_fault_that_is_turned_on_is_planned() {
        let faults: Vec<_> = (0..500).flat_map(|number| Episode::new(7, number, 3, true).faults).collect();
        for kind in Fault::kinds() {
            assert!(faults.iter().any(|planned| planned.fault.kind() == kind), "{kind}");
        }
        assert!((0..3).all(|router| faults.iter().any(|planned| planned.router == router)));
    }

    #[test]
    fn a_sixth_to_two_fifths_of_the_episodes_give_no_reason_for_a_change_of_role() {
        let gentle = (0..500).filter(|&number| Episode::new(7, number, 3, false).keeps_roles()).count();
        assert!((80..200).contains(&gentle), "{gentle}");
    }

    #[test]
    fn faults_that_exclude_each_other_are_not_planned_for_one_router() {
        for number in 0..2000 {
            let faults = Episode::new(3, number, 3, false).faults;
            for (index, one) in faults.iter().enumerate() {
                let others = faults[index + 1..].iter().filter(|other| other.router == one.router);
                assert!(others.clone().all(|other| other.fault.goes_with(one.fault)), "{faults:?}");
            }
            assert!(faults.iter().filter(|planned| planned.fault.is_impairment()).count() <= 1, "{faults:?}");
        }
    }
}
