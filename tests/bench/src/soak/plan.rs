//! What will go wrong, when and for how long: decided by the seed alone, before any of it happens.

use std::time::Duration;

use super::fault::Fault;
use xvrrp_lab::random::Random;

/// A fault of one router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// After the start of the episode.
    pub after: Duration,
    pub lasting: Duration,
    /// Its index in the lab.
    pub router: usize,
    pub fault: Fault,
}

/// Faults that happen together or soon after each other; then the routers are left alone until one of them serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    pub faults: Vec<Planned>,
    /// Before the next episode.
    pub rest: Duration,
}

const MOST_FAULTS: usize = 6;
const SPREAD: Duration = Duration::from_millis(1500);
const SHORTEST: Duration = Duration::from_millis(4);
const LONGEST: Duration = Duration::from_millis(2500);
/// About as long as a lease lasts and a Backup waits: where a little more or less makes a difference.
const CRITICAL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(420));
/// So many episodes in a hundred have only faults that no router changes its role for.
const GENTLE: u8 = 20;
/// Long enough for some adverts to be concerned.
const SHORTEST_IMPAIRMENT: Duration = Duration::from_millis(600);

impl Episode {
    /// The episode with this number under this seed.
    pub fn new(seed: u64, number: u64, routers: usize, with_wall_clock: bool) -> Self {
        // Each by its own, so that one can be repeated without those before it.
        let mut chance = Random::new(Random::new(seed).number().wrapping_add(number));
        let mut faults: Vec<Planned> = Vec::new();
        let gentle = chance.happens(GENTLE);
        for _ in 0..=chance.below(MOST_FAULTS) {
            let planned = Planned::any(&mut chance, routers, with_wall_clock);
            if gentle && !planned.fault.keeps_roles() {
                continue;
            }
            let mut beside = faults.iter().filter(|other| other.router == planned.router);
            let goes = beside.all(|other| other.fault.goes_with(planned.fault));
            // What two cables do to adverts would add up to a partition.
            let impaired = planned.fault.is_impairment() && faults.iter().any(|other| other.fault.is_impairment());
            if goes && !impaired {
                faults.push(planned);
            }
        }
        if faults.is_empty() {
            // Of a gentle one, when chance had none for it.
            faults.push(Planned { after: Duration::ZERO, lasting: SHORTEST, router: 0, fault: Fault::Reload });
        }
        Self { faults, rest: chance.up_to(Duration::from_millis(400)) }
    }
}

impl Episode {
    /// Whether no router may change its role because of it.
    pub fn keeps_roles(&self) -> bool {
        self.faults.iter().all(|planned| planned.fault.keeps_roles())
    }
}

impl Planned {
    fn any(chance: &mut Random, routers: usize, with_wall_clock: bool) -> Self {
        let after = chance.up_to(SPREAD);
        // The router that is Active when all are well gets half of it.
        let router = if chance.happens(30) { 0 } else { chance.below(routers) };
        let fault = Fault::any(chance, with_wall_clock);
        let (least, most) = match fault {
            Fault::Impair(_) => (SHORTEST_IMPAIRMENT, LONGEST),
            _ if chance.happens(25) => CRITICAL,
            _ => (SHORTEST, LONGEST),
        };
        Self { after, lasting: chance.any_length(least, most), router, fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_brings_the_same_faults_and_another_seed_others() {
        let plan = |seed| (0..50).map(|number| Episode::new(seed, number, 3, false)).collect::<Vec<_>>();
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
    }

    #[test]
    fn every_fault_that_is_turned_on_happens() {
        let faults: Vec<_> = (0..500).flat_map(|number| Episode::new(7, number, 3, true).faults).collect();
        for kind in Fault::kinds() {
            assert!(faults.iter().any(|planned| planned.fault.kind() == kind), "{kind}");
        }
        assert!((0..3).all(|router| faults.iter().any(|planned| planned.router == router)));
    }

    #[test]
    fn a_fair_share_of_the_episodes_has_only_faults_that_keep_roles() {
        let gentle = (0..500).filter(|&number| Episode::new(7, number, 3, false).keeps_roles()).count();
        assert!((80..200).contains(&gentle), "{gentle}");
    }

    #[test]
    fn a_fence_is_not_taken_down_while_its_agent_may_be_dead() {
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
