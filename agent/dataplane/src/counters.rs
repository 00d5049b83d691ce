//! The counters of the kernel half.

use std::fmt;

use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use xvrrp_common::abi::Counters;

use super::{DataplaneError, Slot};

/// Reads counters. Any thread may use it.
pub struct CounterReader(PerCpuArray<MapData, Counters>);

impl CounterReader {
    /// Index of the counters for frames that belong to no virtual router of this host.
    const NO_ROUTER: u32 = 0;

    const fn index(slot: Slot) -> u32 {
        slot.get().saturating_add(1)
    }

    /// Returns how many entries the map needs for this many virtual routers.
    pub(super) const fn count(routers: u32) -> u32 {
        routers + 1
    }

    pub(super) fn new(map: Map) -> Result<Self, DataplaneError> {
        Ok(Self(map.try_into()?))
    }

    /// Resets the counters of the virtual router in this slot.
    pub(super) fn clear(&mut self, slot: Slot) -> Result<(), DataplaneError> {
        let cpus = nr_cpus().map_err(|(_, error)| DataplaneError::Cpus(error))?;
        Ok(self.0.set(
            Self::index(slot),
            PerCpuValues::try_from(vec![Counters::default(); cpus]).map_err(DataplaneError::Cpus)?,
            0,
        )?)
    }

    /// Returns the counts of the virtual router in this slot, summed over all CPUs.
    ///
    /// # Errors
    /// The slot is beyond the map's end.
    pub fn of_router(&self, slot: Slot) -> Result<Counters, DataplaneError> {
        self.read(Self::index(slot))
    }

    /// Returns the counts of frames that belong to no virtual router of this host, summed over all CPUs.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn of_no_router(&self) -> Result<Counters, DataplaneError> {
        self.read(Self::NO_ROUTER)
    }

    fn read(&self, index: u32) -> Result<Counters, DataplaneError> {
        let mut total = Counters::default();
        for cpu in self.0.get(&index, 0)?.iter() {
            for (sum, count) in total.0.iter_mut().zip(cpu.0) {
                *sum = sum.wrapping_add(count);
            }
        }
        Ok(total)
    }
}

impl fmt::Debug for CounterReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CounterReader").finish_non_exhaustive()
    }
}
