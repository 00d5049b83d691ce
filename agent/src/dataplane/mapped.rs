//! BPF arrays in memory that the kernel half shares with us: read and written without a system call.

use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use aya::maps::{Map, MapData};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use xvrrp_common::abi::{Heard, Lease};

use super::DataplaneError;

/// An array whose entries are `T`, which any bytes make a valid one of.
#[derive(Debug)]
struct Mapped<T> {
    entries: NonNull<T>,
    length: NonZeroUsize,
    count: u32,
    /// Keeps the map open.
    _map: MapData,
}

// SAFETY: the memory belongs to the map, not to a thread.
unsafe impl<T> Send for Mapped<T> {}

impl<T> Mapped<T> {
    fn new(name: &'static str, map: Map) -> Result<Self, DataplaneError> {
        let Map::Array(map) = map else {
            return Err(DataplaneError::Missing(name));
        };
        let count = map.info()?.max_entries();
        let length = NonZeroUsize::new(size_of::<T>() * count as usize)
            .ok_or_else(|| DataplaneError::MapMemory(io::ErrorKind::InvalidInput.into()))?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let memory = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, map.fd(), 0) };
        let memory = memory.map_err(|errno| DataplaneError::MapMemory(errno.into()))?;
        Ok(Self { entries: memory.cast(), length, count, _map: map })
    }

    fn entry(&self, slot: u32) -> Option<NonNull<T>> {
        // SAFETY: the mapping holds `count` entries, and `slot` is one of them.
        (slot < self.count).then(|| unsafe { self.entries.add(slot as usize) })
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`, and nobody holds a reference into it.
        let _ = unsafe { munmap(self.entries.cast(), self.length.get()) };
    }
}

/// Reading again is needed only while the kernel half writes the same entry, which takes nanoseconds.
const ATTEMPTS: usize = 8;

/// What the kernel half has heard.
#[derive(Debug)]
pub(super) struct HeardTable(Mapped<Heard>);

impl HeardTable {
    pub(super) fn new(name: &'static str, map: Map) -> Result<Self, DataplaneError> {
        Mapped::new(name, map).map(Self)
    }

    /// The entry as two reads in a row found it; empty for a slot that there is not.
    pub(super) fn read(&self, slot: u32) -> Heard {
        let Some(entry) = self.0.entry(slot) else {
            return Heard::default();
        };
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

    /// Forgets what another virtual router heard in this slot.
    pub(super) fn clear(&mut self, slot: u32) {
        if let Some(entry) = self.0.entry(slot) {
            // SAFETY: as in `read`; no virtual router has the slot, so the kernel half does not write it.
            unsafe { entry.write_volatile(Heard::default()) };
        }
    }
}

/// The ends of leases, which the kernel half reads for every frame and may set to [`Lease::ENDED`] at any time.
#[derive(Debug)]
pub(super) struct LeaseTable(Mapped<Lease>);

impl LeaseTable {
    pub(super) fn new(name: &'static str, map: Map) -> Result<Self, DataplaneError> {
        Mapped::new(name, map).map(Self)
    }

    fn until(&self, slot: u32) -> Option<&AtomicU64> {
        let lease = self.0.entry(slot)?.as_ptr();
        // SAFETY: mapped as long as `self` lives, and aligned. The kernel half accesses it as one word, too.
        Some(unsafe { AtomicU64::from_ptr(&raw mut (*lease).until) })
    }

    pub(super) fn get(&self, slot: u32) -> u64 {
        self.until(slot).map_or(Lease::ENDED, |lease| lease.load(Ordering::Acquire))
    }

    pub(super) fn set(&self, slot: u32, until: u64) {
        if let Some(lease) = self.until(slot) {
            lease.store(until, Ordering::Release);
        }
    }

    /// Moves the end of the lease, unless it is not `from` any more: then what it is instead.
    pub(super) fn renew(&self, slot: u32, from: u64, until: u64) -> Result<(), u64> {
        let Some(lease) = self.until(slot) else { return Err(Lease::ENDED) };
        lease.compare_exchange(from, until, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }
}
