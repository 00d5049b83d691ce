//! What is explored: who is on the segment, what can befall them, and which rule is broken on purpose.

/// How many ticks an interval has. Skew_Time is whole ticks for priorities that are multiples of `256 / INTERVAL`.
pub type Ticks = u32;

#[derive(Clone, Debug)]
pub struct Setting {
    pub routers: Vec<Router>,
    /// Advertisement interval of all.
    pub interval: Ticks,
    /// A frame takes from none to this many, each its own time.
    pub delay: Ticks,
    /// How many adverts in a row can get lost between two routers.
    pub losses_in_a_row: u8,
    pub faults: Faults,
    /// All agents start at once; otherwise each at any time.
    pub together: bool,
    pub rules: Rules,
}

#[derive(Clone, Copy, Debug)]
pub struct Router {
    pub priority: u8,
    pub preempt: bool,
    /// By how many parts of [`RATE`] its clock is fast.
    pub fast: i64,
}

/// A clock can be fast or slow by multiples of one part of so many.
pub const RATE: i64 = 32;

impl Router {
    pub const fn new(priority: u8) -> Self {
        Self { priority, preempt: true, fast: 0 }
    }

    pub const fn fast(self, fast: i64) -> Self {
        Self { fast, ..self }
    }

    pub const fn no_preempt(self) -> Self {
        Self { preempt: false, ..self }
    }
}

/// How many of what can happen from the start to the end; [`u8::MAX`] is for ever.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// The agent is killed, or killed and started again, or stopped gracefully and started again.
    pub deaths: u8,
    /// The agent is held up, at any point, for any time.
    pub hangs: u8,
    pub duplicates: u8,
}

pub const FOR_EVER: u8 = u8::MAX;

impl Faults {
    pub const NONE: Self = Self { deaths: 0, hangs: 0, duplicates: 0 };
    pub const A_DEATH: Self = Self { deaths: 1, ..Self::NONE };
    pub const A_HANG: Self = Self { hangs: 1, ..Self::NONE };
}

/// As the agent and its kernel half are built, unless a test says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Three intervals long, unless this says how many ticks.
    pub lease: Lease,
    /// The kernel half ends the lease when it hears an advert that wins.
    pub fence: bool,
    /// The lease counts from a moment before the advert is sent, not from when it is renewed.
    pub lease_from_sending: bool,
    /// No advert is sent after the lease, and none that may have been renews it.
    pub looks_at_clock: bool,
    /// No lease is renewed that the kernel half has ended in between.
    pub compare_and_swap: bool,
    /// A Backup reads the kernel half's stamps before it takes over.
    pub stamps: bool,
    /// A successor is Active only while the lease runs.
    pub resume_within_lease: bool,
    /// After a takeover, two adverts leave so long one after the other before one brings a lease; 0 for none.
    pub opening: Ticks,
    /// How many events wait for the agent at most.
    pub ring: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    Off,
    ThreeIntervals,
    Ticks(Ticks),
}

impl Rules {
    pub const BUILT: Self = Self {
        lease: Lease::ThreeIntervals,
        fence: true,
        lease_from_sending: true,
        looks_at_clock: true,
        compare_and_swap: true,
        stamps: true,
        resume_within_lease: true,
        opening: 0,
        ring: 2,
    };
}
