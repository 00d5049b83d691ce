//! The size of the maps.

/// How much the maps must hold.
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
    /// With room to grow, so that the maps still do after a change of the configuration.
    #[must_use]
    pub fn with_room(self) -> Self {
        let room = |count: u32| count.max(64).next_power_of_two();
        // Twice as many addresses: another list comes before the old one goes.
        Self { routers: room(self.routers), vips: 2 * room(self.vips), sources: 2 * room(self.sources) }
    }
}
