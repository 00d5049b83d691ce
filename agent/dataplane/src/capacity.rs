//! The size of the maps.

/// How many entries the maps must have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Virtual routers, one for each family of addresses.
    pub routers: u32,
    /// Virtual addresses.
    pub vips: u32,
    /// Allowed sources and unicast peers, each for one virtual router.
    pub sources: u32,
}

impl Capacity {
    /// Adds room for growth, so that the maps still suffice after a change of the configuration.
    #[must_use]
    pub fn with_room(self) -> Self {
        let room = |count: u32| count.max(64).next_power_of_two();
        // Twice as many addresses, because a new list is added before the old one is removed.
        Self { routers: room(self.routers), vips: 2 * room(self.vips), sources: 2 * room(self.sources) }
    }
}
