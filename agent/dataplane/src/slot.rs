//! The numbers of virtual routers in the maps.

/// Position of a virtual router in the arrays that the agent shares with the kernel half
/// ([`Router::slot`](xvrrp_common::abi::Router::slot)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

impl Slot {
    /// Makes the slot with this number in the maps.
    pub const fn new(slot: u32) -> Self {
        Self(slot)
    }

    /// Returns the number, as the maps hold it.
    pub const fn get(self) -> u32 {
        self.0
    }
}
