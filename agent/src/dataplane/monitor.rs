//! Adverts, ARP and Neighbor Discovery as the kernel half sees them, for who watches.

use std::fmt;

use aya::Ebpf;
use aya::maps::perf::{PerfEvent, PerfEventArray, PerfEventArrayBuffer};
use aya::maps::{Array, MapData};
use aya::util::online_cpus;
use xvrrp_common::abi::{Sighting, map};
use zerocopy::FromBytes;

use super::DataplaneError;

/// Of each CPU's buffer; a power of two. Room for some hundred frames.
const PAGES: usize = 32;

/// Has the kernel half show what it sees, for as long as somebody wants to know. Its maps are not pinned: a successor's programs
/// have their own, and start without anybody who watches.
pub struct Monitor {
    shown: PerfEventArray<MapData>,
    wanted: Array<MapData, u32>,
    /// Of each CPU; none while nobody watches.
    buffers: Vec<PerfEventArrayBuffer<MapData>>,
}

/// A frame, or its beginning.
#[derive(Clone, Debug)]
pub struct Sighted {
    pub about: Sighting,
    pub frame: Vec<u8>,
}

impl Monitor {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, DataplaneError> {
        let mut take = |name| ebpf.take_map(name).ok_or(DataplaneError::Missing(name));
        let (shown, wanted) = (take(map::MONITOR)?.try_into()?, take(map::MONITORED)?.try_into()?);
        Ok(Self { shown, wanted, buffers: Vec::new() })
    }

    /// From now on frames are shown.
    pub fn begin(&mut self) -> Result<(), DataplaneError> {
        let cpus = online_cpus().map_err(|(_, error)| DataplaneError::Cpus(error))?;
        let buffers = cpus.into_iter().map(|cpu| self.shown.open(cpu, Some(PAGES)));
        self.buffers = buffers.collect::<Result<_, _>>()?;
        Ok(self.wanted.set(0, 1, 0)?)
    }

    /// And no more.
    pub fn end(&mut self) {
        // Should that fail, frames are shown to nobody.
        let _ = self.wanted.set(0, 0, 0);
        self.buffers.clear();
    }

    /// What was seen since the last time, in order of time, and how many frames more there was no room for.
    pub fn read(&mut self) -> (Vec<Sighted>, u64) {
        let (mut seen, mut lost) = (Vec::new(), 0);
        for buffer in &mut self.buffers {
            buffer.for_each(|event| match event {
                PerfEvent::Sample { head, tail } => seen.extend(sighted(&[head, tail].concat())),
                PerfEvent::Lost { count } => lost += count,
            });
        }
        seen.sort_by_key(|sighted| sighted.about.at);
        (seen, lost)
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

/// What the kernel adds to its end is cut off.
fn sighted(bytes: &[u8]) -> Option<Sighted> {
    let (about, frame) = Sighting::read_from_prefix(bytes).ok()?;
    let captured = usize::try_from(about.captured).ok()?;
    Some(Sighted { about, frame: frame.get(..captured)?.to_vec() })
}
