//! Settings of a search: the routers on the segment, their faults, and the rules that are broken on purpose.

/// A time in ticks. Skew_Time is a whole number of ticks for priorities that are multiples of `256 / INTERVAL`.
pub type Ticks = u32;

#[derive(Clone, Debug)]
pub struct Setting {
    pub routers: Vec<Router>,
    /// Advertisement interval of all routers.
    pub interval: Ticks,
    /// Longest delay of a frame. Each frame has its own delay.
    pub delay: Ticks,
    /// Number of adverts in a row that can get lost between two routers.
    pub losses_in_a_row: u8,
    pub faults: Faults,
    /// Whether all agents start at the same time. Otherwise each can start at any time.
    pub together: bool,
    pub rules: Rules,
}

#[derive(Clone, Copy, Debug)]
pub struct Router {
    pub priority: u8,
    pub preempt: bool,
    /// Number of parts in [`RATE`] by which its clock is fast.
    pub fast: i64,
}

/// A clock can be fast or slow by multiples of one part in this many.
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

/// How often each fault can happen in all. [`UNLIMITED`] sets no limit.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// The agent is killed or stops gracefully, and may be started again.
    pub deaths: u8,
    /// The agent is held up at any point, for any time.
    pub hangs: u8,
    pub duplicates: u8,
}

pub const UNLIMITED: u8 = u8::MAX;

impl Faults {
    pub const NONE: Self = Self { deaths: 0, hangs: 0, duplicates: 0 };
    pub const A_DEATH: Self = Self { deaths: 1, ..Self::NONE };
    pub const A_HANG: Self = Self { hangs: 1, ..Self::NONE };
}

/// Rules that the agent and its kernel half follow. A test can break any of them.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub lease: Lease,
    /// The kernel half ends the lease when it hears an advert that wins.
    pub fence: bool,
    /// The lease runs from a moment before the advert is sent, not from its renewal.
    pub lease_from_sending: bool,
    /// The agent sends no advert after the lease has ended. An advert that may have been sent after that time does not
    /// renew the lease.
    pub looks_at_clock: bool,
    /// The agent does not renew a lease that the kernel half has ended in the meantime.
    pub compare_and_swap: bool,
    /// A Backup reads the kernel half's stamps before it takes over.
    pub stamps: bool,
    /// A successor is Active only while the lease runs.
    pub resume_within_lease: bool,
    /// If not 0: after a takeover, the router sends two adverts this far apart before the one that grants the lease.
    pub opening: Ticks,
    /// Maximum number of events that wait for the agent.
    pub ring: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    Off,
    ThreeIntervals,
    Ticks(Ticks),
}

impl Rules {
    /// The rules that are implemented.
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
