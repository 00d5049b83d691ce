//! What the kernel half counted.

use std::fmt;

use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use xvrrp_common::abi::Counters;

use super::DataplaneError;

/// Reads counters, from any thread.
pub struct CounterReader(PerCpuArray<MapData, Counters>);

impl CounterReader {
    /// The index of what belongs to no virtual router of ours.
    pub const NO_ROUTER: u32 = 0;

    /// The index of the virtual router in `slot`.
    pub const fn router(slot: u32) -> u32 {
        slot + 1
    }

    pub(super) fn new(map: Map) -> Result<Self, DataplaneError> {
        Ok(Self(map.try_into()?))
    }

    /// Starts counting again at this index.
    pub(super) fn clear(&mut self, index: u32) -> Result<(), DataplaneError> {
        let cpus = nr_cpus().map_err(|(_, error)| DataplaneError::Cpus(error))?;
        Ok(self.0.set(
            index,
            PerCpuValues::try_from(vec![Counters::default(); cpus]).map_err(DataplaneError::Cpus)?,
            0,
        )?)
    }

    /// The counts at this index, of all CPUs together.
    ///
    /// # Errors
    ///
    /// Fails if the index is beyond the map's end.
    pub fn read(&self, index: u32) -> Result<Counters, DataplaneError> {
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
