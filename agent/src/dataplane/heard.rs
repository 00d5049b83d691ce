//! What the kernel half has heard, in memory that it shares with us.

use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

use aya::maps::{Map, MapData};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use xvrrp_common::abi::{Heard, map};

use super::DataplaneError;

/// Reading again is needed only while the kernel half writes the same entry, which takes nanoseconds.
const ATTEMPTS: usize = 8;

/// The map [`map::HEARD`], readable without a system call.
#[derive(Debug)]
pub(super) struct HeardTable {
    entries: NonNull<Heard>,
    length: NonZeroUsize,
    count: u32,
    /// Keeps the map open.
    _map: MapData,
}

// SAFETY: the memory belongs to the map, not to a thread, and is only ever read from here.
unsafe impl Send for HeardTable {}

impl HeardTable {
    pub(super) fn map(map: Map, count: u32) -> Result<Self, DataplaneError> {
        let Map::Array(map) = map else {
            return Err(DataplaneError::Missing(map::HEARD));
        };
        let length = NonZeroUsize::new(size_of::<Heard>() * count as usize)
            .ok_or_else(|| DataplaneError::MapMemory(io::ErrorKind::InvalidInput.into()))?;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let memory = unsafe { mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, map.fd(), 0) };
        let memory = memory.map_err(|errno| DataplaneError::MapMemory(errno.into()))?;
        Ok(Self { entries: memory.cast(), length, count, _map: map })
    }

    /// The entry as two reads in a row found it; empty for a slot that there is not.
    pub(super) fn read(&self, slot: u32) -> Heard {
        if slot >= self.count {
            return Heard::default();
        }
        // SAFETY: the mapping holds `count` entries, and `slot` is one of them.
        let entry = unsafe { self.entries.add(slot as usize) };
        // SAFETY: the entry is mapped as long as `self` lives, aligned, and any bytes make a `Heard`. The kernel half
        // writes it on any CPU at any time, therefore volatile; what was read while it wrote is found out below.
        let read = || unsafe { entry.read_volatile() };
        let mut heard = read();
        for _ in 0..ATTEMPTS {
            fence(Ordering::Acquire);
            let again = read();
            if again == heard {
                break;
            }
            heard = again;
        }
        heard
    }
}

impl Drop for HeardTable {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `map`, and nobody holds a reference into it.
        let _ = unsafe { munmap(self.entries.cast(), self.length.get()) };
    }
}
