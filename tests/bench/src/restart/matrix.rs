//! The combinations of virtual routers, interfaces and intervals that are measured.

use std::fmt;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use xvrrp_lab::Segments;

/// Number of virtual routers and of interfaces.
pub type Place = Segments;

/// A single virtual router.
pub const ALONE: Place = Place { routers: 1, interfaces: 1 };

const PLACES: [Place; 5] = [
    ALONE,
    Place { routers: 30, interfaces: 1 },
    Place { routers: 255, interfaces: 1 },
    Place { routers: 30, interfaces: 16 },
    Place { routers: 255, interfaces: 16 },
];
/// Advertisement intervals in milliseconds.
const INTERVALS: [u64; 5] = [10, 20, 50, 100, 1000];
/// Numbers and intervals of a quick run.
const QUICK_PLACES: [Place; 2] = [ALONE, Place { routers: 30, interfaces: 16 }];
const QUICK_INTERVALS: [u64; 1] = [100];

/// Largest number of adverts a second for each processor, of all virtual routers together. Both hosts, the switch and
/// the clients share the processors. On two processors with other load and nothing done, adverts were up to 1.13
/// intervals apart at 12,750 adverts a second, and up to 1.25 at 25,500, which is more than a restart is allowed.
const MAX_ADVERTS: u64 = 7000;

/// One combination.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub place: Place,
    pub interval: Duration,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place: Place { routers, interfaces }, interval } = self;
        write!(f, "{routers} on {interfaces}, {} ms", interval.as_millis())
    }
}

impl Cell {
    /// Returns the number of runs of each way. There are fewer if a single run takes seconds.
    pub fn runs(self) -> usize {
        if self.interval < Duration::from_secs(1) { 4 } else { 2 }
    }

    fn adverts_a_second(self) -> u64 {
        u64::from(self.place.routers) * 1000 / u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Returns the combinations that this machine can handle, and a note about the others.
pub fn cells(quick: bool) -> Result<(Vec<Cell>, Option<String>)> {
    let (places, intervals) =
        if quick { (&QUICK_PLACES[..], &QUICK_INTERVALS[..]) } else { (&PLACES[..], &INTERVALS[..]) };
    let all = places.iter().flat_map(|&place| {
        intervals.iter().map(move |&milliseconds| Cell { place, interval: Duration::from_millis(milliseconds) })
    });
    let processors = thread::available_parallelism()?.get();
    let max = MAX_ADVERTS * u64::try_from(processors)?;
    let (cells, left_out): (Vec<_>, Vec<_>) = all.partition(|cell| cell.adverts_a_second() <= max);
    let note = (!left_out.is_empty()).then(|| {
        let names: Vec<_> = left_out.iter().map(Cell::to_string).collect();
        format!(
            "These combinations are left out, because they need more than {max} adverts a second ({MAX_ADVERTS} for \
             each of {processors} processors): {}.",
            names.join("; ")
        )
    });
    Ok((cells, note))
}
