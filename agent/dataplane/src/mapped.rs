//! BPF arrays that are mapped into memory. The agent reads and writes them without a system call.

use std::mem::offset_of;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::{io, slice};

use aya::maps::{Map, MapData};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use xvrrp_common::abi::{Fixed, Heard, Lease, MacWord, Router, RouterKey, Settings, SlotEntry};
use zerocopy::{Immutable, IntoBytes};

use super::{DataplaneError, Slot};

/// An array whose entries are `T`, for which any bytes are valid.
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

    fn entry(&self, index: u32) -> Option<NonNull<T>> {
        // SAFETY: the mapping holds `count` entries, and `index` is one of them.
        (index < self.count).then(|| unsafe { self.entries.add(index as usize) })
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: this is exactly the mapping made in `new`, and no reference into it exists.
        let _ = unsafe { munmap(self.entries.cast(), self.length.get()) };
    }
}

/// Maximum number of reads. A second one is needed only while the kernel half writes the same entry, which takes
/// nanoseconds.
const ATTEMPTS: usize = 8;

/// The latest adverts that the kernel half has heard, by slot.
#[derive(Debug)]
pub(super) struct HeardTable(Mapped<Heard>);

impl HeardTable {
    pub(super) fn new(name: &'static str, map: Map) -> Result<Self, DataplaneError> {
        Mapped::new(name, map).map(Self)
    }

    /// Returns the entry once two reads in a row are equal. Returns an empty entry if the slot does not exist.
    pub(super) fn read(&self, slot: Slot) -> Heard {
        let Some(entry) = self.0.entry(slot.get()) else {
            return Heard::default();
        };
        // SAFETY: the entry is mapped as long as `self` lives, aligned, and any bytes make a `Heard`. The kernel half
        // may write it on any CPU at any time, so the read is volatile. A read of a half-written entry is detected
        // below.
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
    pub(super) fn clear(&mut self, slot: Slot) {
        if let Some(entry) = self.0.entry(slot.get()) {
            // SAFETY: as in `read`. No virtual router has the slot, so the kernel half does not write it.
            unsafe { entry.write_volatile(Heard::default()) };
        }
    }
}

/// Access to an entry by words, each of which both sides read and write as a whole.
impl<T> Mapped<T> {
    const WORDS: usize = {
        assert!(size_of::<T>().is_multiple_of(size_of::<u64>()) && align_of::<T>() == align_of::<u64>());
        size_of::<T>() / size_of::<u64>()
    };

    fn words(&self, index: u32) -> Option<&[AtomicU64]> {
        let entry = self.entry(index)?;
        // SAFETY: the entry is mapped as long as `self` exists, aligned, and consists of this many words. The kernel
        // half accesses the memory by whole words too.
        Some(unsafe { slice::from_raw_parts(entry.as_ptr().cast(), Self::WORDS) })
    }

    fn word(&self, index: u32, offset: usize) -> Option<&AtomicU64> {
        self.words(index)?.get(offset / size_of::<u64>())
    }

    /// Writes the words of a field that have changed. `from` is the offset of the field.
    fn write_field<F: IntoBytes + Immutable>(&self, index: u32, from: usize, field: &F) {
        let words = self.words(index).and_then(|words| words.get(from / size_of::<u64>()..)).unwrap_or_default();
        for (word, bytes) in words.iter().zip(field.as_bytes().as_chunks().0) {
            let value = u64::from_ne_bytes(*bytes);
            if word.load(Ordering::Relaxed) != value {
                word.store(value, Ordering::Release);
            }
        }
    }
}

/// The slots: the data of each virtual router, and its lease, which the kernel half may set to [`Lease::ENDED`] at any
/// time.
#[derive(Debug)]
pub(super) struct SlotTable(Mapped<SlotEntry>);

impl SlotTable {
    pub(super) fn new(name: &'static str, map: Map) -> Result<Self, DataplaneError> {
        Mapped::new(name, map).map(Self)
    }

    /// Returns the number of slots.
    pub(super) fn count(&self) -> u32 {
        self.0.count
    }

    /// Returns the content of the slot, or an empty entry if the slot does not exist.
    pub(super) fn read(&self, slot: Slot) -> SlotEntry {
        // SAFETY: the entry is mapped as long as `self` lives, aligned, and any bytes make a `SlotEntry`. The kernel
        // half writes only the lease, by whole words.
        self.0.entry(slot.get()).map_or_else(SlotEntry::default, |entry| unsafe { entry.read_volatile() })
    }

    /// Writes the changed fields of a virtual router: first the data, then the role, and the key last.
    pub(super) fn write(&self, key: RouterKey, router: &Router) {
        let slot = Slot::new(router.slot);
        let before = self.read(slot);
        if before.router(router.slot).fixed() != router.fixed() {
            let generation = before.generation.wrapping_add(1);
            let copy = offset_of!(SlotEntry, fixed) + usize::from(generation & 1 != 0) * size_of::<Fixed>();
            self.0.write_field(slot.get(), copy, &router.fixed());
            self.0.write_field(slot.get(), offset_of!(SlotEntry, generation), &generation);
        }
        let mac = |mac| MacWord { mac, reserved: [0; 2] };
        self.0.write_field(slot.get(), offset_of!(SlotEntry, interface_mac), &mac(router.interface_mac));
        self.0.write_field(slot.get(), offset_of!(SlotEntry, answer_mac), &mac(router.answer_mac));
        self.0.write_field(slot.get(), offset_of!(SlotEntry, state), &router.state());
        self.0.write_field(slot.get(), offset_of!(SlotEntry, key), &key);
    }

    /// Marks the slot as free.
    pub(super) fn free(&self, slot: Slot) {
        self.0.write_field(slot.get(), offset_of!(SlotEntry, key), &RouterKey::default());
    }

    fn until(&self, slot: Slot) -> Option<&AtomicU64> {
        self.0.word(slot.get(), offset_of!(SlotEntry, lease) + offset_of!(Lease, until))
    }

    pub(super) fn lease(&self, slot: Slot) -> u64 {
        self.until(slot).map_or(Lease::ENDED, |lease| lease.load(Ordering::Acquire))
    }

    pub(super) fn set_lease(&self, slot: Slot, until: u64) {
        if let Some(lease) = self.until(slot) {
            lease.store(until, Ordering::Release);
        }
    }

    /// Moves the end of the lease if it is still `from`. Otherwise returns the current end.
    pub(super) fn renew_lease(&self, slot: Slot, from: u64, until: u64) -> Result<(), u64> {
        let Some(lease) = self.until(slot) else { return Err(Lease::ENDED) };
        lease.compare_exchange(from, until, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }
}

/// The settings, a map with one entry.
#[derive(Debug)]
pub(super) struct SettingsEntry(Mapped<Settings>);

impl SettingsEntry {
    pub(super) fn new(name: &'static str, map: Map) -> Result<Self, DataplaneError> {
        Mapped::new(name, map).map(Self)
    }

    pub(super) fn set(&self, look_up_destinations: bool, tick: u32) {
        let fields = [u32::from(look_up_destinations), tick];
        self.0.write_field(0, offset_of!(Settings, look_up_destinations), &fields);
    }

    fn all(&self) -> Option<&AtomicU64> {
        self.0.word(0, offset_of!(Settings, all) + offset_of!(Lease, until))
    }

    /// Ends the lease of all. The kernel half sees that before anything that the caller writes next.
    pub(super) fn end_all(&self) {
        if let Some(all) = self.all() {
            all.store(Lease::ENDED, Ordering::SeqCst);
            fence(Ordering::SeqCst);
        }
    }

    /// Sets the lease of all to the end that `until` computes. `mark` is a time in the past that was never stored
    /// before. If the kernel half ends a lease after `until` has read it, it overwrites the mark, and the lease of all
    /// stays ended.
    pub(super) fn renew_all(&self, mark: u64, until: impl FnOnce() -> u64) {
        let Some(all) = self.all() else { return };
        all.store(mark, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let _ = all.compare_exchange(mark, until(), Ordering::SeqCst, Ordering::Relaxed);
    }
}
