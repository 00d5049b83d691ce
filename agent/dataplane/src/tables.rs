//! The maps that the agent and the kernel half share, apart from counters and the monitor.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{Ordering, fence};

use aya::Pod;
use aya::maps::{HashMap, Map, MapData};
use nix::time::{ClockId, clock_getres};
use xvrrp_common::abi::{self, Checked, Heard, Lease, Router, RouterKey, SourceKey, VipKey, digest, map};
use xvrrp_common::units::Instant;

use super::mapped::{HeardTable, SettingsEntry, SlotTable};
use super::{CounterReader, DataplaneError, Events, Pins, Slot};

/// The kernel's longest tick in nanoseconds (`CONFIG_HZ_100`).
const MAX_TICK: i64 = 10_000_000;

/// The entries that stay in the maps. All others are removed.
#[derive(Clone, Debug)]
pub struct Retained {
    /// The virtual routers.
    pub routers: BTreeSet<RouterKey>,
    /// The virtual addresses.
    pub vips: BTreeSet<VipKey>,
    /// The allowed sources.
    pub sources: BTreeSet<SourceKey>,
}

/// The maps. The election owns them.
pub struct Tables {
    routers: Hash<RouterKey, u32>,
    vips: Hash<VipKey, Checked>,
    allowed_sources: Hash<SourceKey, Checked>,
    settings: SettingsEntry,
    /// The virtual routers in the maps, with their slots.
    known: BTreeMap<RouterKey, Slot>,
    /// The virtual routers without a virtual MAC. If there are any, the destination of every packet is looked up.
    without_virtual_mac: BTreeSet<RouterKey>,
    slots: SlotTable,
    heard: HeardTable,
    /// Whether a role or a lease was written since the last call of [`Self::renew_lease_of_all`].
    all_ended: Cell<bool>,
    /// Opened only when they are taken, because a predecessor may still be reading.
    events: Option<Map>,
    counters: Option<CounterReader>,
}

/// A hash map. A program may be reading an element while it is removed.
struct Hash<K, V> {
    map: HashMap<MapData, K, V>,
    /// Maximum number of elements.
    room: usize,
}

impl Tables {
    /// Opens the maps that a predecessor has left, which must be compatible.
    ///
    /// # Errors
    /// A map is missing or cannot be opened.
    pub fn open(pins: &Pins) -> Result<Self, DataplaneError> {
        Self::of(|name| Ok(Map::from_map_data(MapData::from_pin(pins.map(name))?)?))
    }

    pub(super) fn of(
        mut take: impl FnMut(&'static str) -> Result<Map, DataplaneError>,
    ) -> Result<Self, DataplaneError> {
        let mut tables = Self {
            routers: Hash::new(map::ROUTERS, take(map::ROUTERS)?)?,
            vips: Hash::new(map::VIPS, take(map::VIPS)?)?,
            allowed_sources: Hash::new(map::ALLOWED_SOURCES, take(map::ALLOWED_SOURCES)?)?,
            settings: SettingsEntry::new(map::SETTINGS, take(map::SETTINGS)?)?,
            known: BTreeMap::new(),
            without_virtual_mac: BTreeSet::new(),
            slots: SlotTable::new(map::SLOTS, take(map::SLOTS)?)?,
            heard: HeardTable::new(map::HEARD, take(map::HEARD)?)?,
            all_ended: Cell::new(true),
            events: Some(take(map::EVENTS)?),
            counters: Some(CounterReader::new(take(map::COUNTERS)?)?),
        };
        let known = tables.routers.map.iter().map(|entry| entry.map(|(key, slot)| (key, Slot::new(slot))));
        tables.known = known.collect::<Result<_, _>>()?;
        for (key, router) in tables.routers() {
            if router.flags & Router::VIRTUAL_MAC == 0 {
                tables.without_virtual_mac.insert(key);
            }
        }
        tables.set_settings();
        Ok(tables)
    }

    /// Lists every virtual router in the maps.
    pub fn routers(&self) -> BTreeMap<RouterKey, Router> {
        self.known.iter().map(|(key, slot)| (*key, self.slots.read(*slot).router(slot.get()))).collect()
    }

    /// Lists all slots, including the free ones.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.slots.count()).map(Slot::new)
    }

    /// Adds a virtual router, or changes it. A change takes no system call, and takes effect before anything that the
    /// caller reads afterwards. `take` in `ebpf/src/advert.rs` relies on that.
    ///
    /// # Errors
    /// The maps have no room for another virtual router.
    pub fn set_router(&mut self, key: RouterKey, router: &Router) -> Result<(), DataplaneError> {
        if router.role == Router::ROLE_ACTIVE {
            self.end_lease_of_all();
        }
        self.slots.write(key, router);
        fence(Ordering::SeqCst);
        let slot = Slot::new(router.slot);
        if self.known.get(&key) != Some(&slot) {
            self.routers.set(key, slot.get())?;
            self.known.insert(key, slot);
        }
        let changed = if router.flags & Router::VIRTUAL_MAC == 0 {
            self.without_virtual_mac.insert(key)
        } else {
            self.without_virtual_mac.remove(&key)
        };
        if changed {
            self.set_settings();
        }
        Ok(())
    }

    fn set_settings(&mut self) {
        // The resolution of the coarse clocks is the kernel's tick.
        let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_or(MAX_TICK, |tick| tick.tv_nsec());
        self.settings.set(!self.without_virtual_mac.is_empty(), u32::try_from(tick).unwrap_or_default());
    }

    /// Records which virtual router an address belongs to, by its slot.
    ///
    /// # Errors
    /// The map has no room for another address.
    pub fn add_vip(&mut self, vip: VipKey, slot: Slot) -> Result<(), DataplaneError> {
        self.vips.set(vip, Checked { value: slot.get(), digest: digest(zerocopy::transmute!(vip)) })
    }

    /// Returns the addresses of the virtual router in each slot, in no particular order.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn addresses(&self) -> Result<BTreeMap<Slot, Vec<IpAddr>>, DataplaneError> {
        let mut addresses = BTreeMap::<_, Vec<_>>::new();
        for entry in &self.vips.map {
            let (vip, Checked { value: slot, .. }) = entry?;
            // Skips the key by which an address is found from other interfaces.
            if vip.ifindex != 0 {
                addresses.entry(Slot::new(slot)).or_default().push(abi::ip_address(vip.family, vip.address));
            }
        }
        Ok(addresses)
    }

    /// Returns the allowed sources of each virtual router that restricts them, in no particular order.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn sources(&self) -> Result<BTreeMap<RouterKey, Vec<IpAddr>>, DataplaneError> {
        let mut sources = BTreeMap::<_, Vec<_>>::new();
        for SourceKey { router, address } in self.allowed_sources.keys()? {
            sources.entry(router).or_default().push(abi::ip_address(router.family, address));
        }
        Ok(sources)
    }

    /// Allows this source for a virtual router with [`Router::RESTRICT_SOURCES`], where the TTL or hop limit is not
    /// below `min_ttl`.
    ///
    /// # Errors
    /// The map has no room for another source.
    pub fn allow_source(&mut self, source: SourceKey, min_ttl: u8) -> Result<(), DataplaneError> {
        let value = Checked { value: u32::from(min_ttl), digest: digest(zerocopy::transmute!(source)) };
        self.allowed_sources.set(source, value)
    }

    /// Returns whether there is room for these before anything is removed.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn have_room(&self, Retained { routers, vips, sources }: &Retained) -> Result<bool, DataplaneError> {
        let new = routers.iter().filter(|key| !self.known.contains_key(key)).count();
        Ok(new + self.known.len() <= self.routers.room
            && self.vips.has_room(vips)?
            && self.allowed_sources.has_room(sources)?)
    }

    /// Removes all entries except these.
    ///
    /// # Errors
    /// A map cannot be read or written.
    pub fn retain(&mut self, Retained { routers, vips, sources }: &Retained) -> Result<(), DataplaneError> {
        self.vips.retain(vips)?;
        self.allowed_sources.retain(sources)?;
        self.routers.retain(routers)?;
        let (kept, gone) = std::mem::take(&mut self.known).into_iter().partition(|(key, _)| routers.contains(key));
        self.known = kept;
        let gone: BTreeMap<RouterKey, Slot> = gone;
        for (key, slot) in gone {
            self.slots.free(slot);
            self.without_virtual_mac.remove(&key);
        }
        self.set_settings();
        Ok(())
    }

    /// Returns, without a system call, what the kernel half has heard for the virtual router in this slot.
    pub fn heard(&self, slot: Slot) -> Heard {
        self.heard.read(slot)
    }

    /// Returns, without a system call, until when the virtual router in this slot may serve.
    pub fn lease(&self, slot: Slot) -> u64 {
        self.slots.lease(slot)
    }

    /// Sets, without a system call, until when the virtual router in this slot may serve.
    pub fn set_lease(&self, slot: Slot, until: u64) {
        self.end_lease_of_all();
        self.slots.set_lease(slot, until);
    }

    /// Moves the end of a lease from `from` to a later time.
    ///
    /// # Errors
    /// The kernel half has ended the lease. The error is the end that was found instead.
    pub fn renew_lease(&self, slot: Slot, from: u64, until: u64) -> Result<(), u64> {
        self.slots.renew_lease(slot, from, until)
    }

    /// Returns whether a write has ended the lease of all, so that it has to be computed again.
    pub fn lease_of_all_has_ended(&self) -> bool {
        self.all_ended.get()
    }

    /// Sets the lease of all ([`Settings::all`](xvrrp_common::abi::Settings::all)) to the one that ends first among the
    /// slots of `active`, which must be those of all Active virtual routers. Each call needs another `now`. Returns the
    /// end.
    pub fn renew_lease_of_all(&self, now: Instant, active: impl Iterator<Item = Slot>) -> u64 {
        let mut until = Lease::UNLIMITED;
        self.settings.renew_all(now.as_nanos(), || {
            until = active.map(|slot| self.lease(slot)).min().unwrap_or(Lease::UNLIMITED);
            until
        });
        self.all_ended.set(false);
        until
    }

    fn end_lease_of_all(&self) {
        self.settings.end_all();
        self.all_ended.set(true);
    }

    /// Prepares a slot for a virtual router that did not have it before.
    ///
    /// # Errors
    /// The slot's counters cannot be cleared.
    pub fn clear_slot(&mut self, slot: Slot) -> Result<(), DataplaneError> {
        self.heard.clear(slot);
        self.set_lease(slot, Lease::ENDED);
        self.counters.as_mut().map_or(Ok(()), |counters| counters.clear(slot))
    }

    /// Takes the events, which a thread can wait for. They can be taken once.
    ///
    /// # Errors
    /// The events were taken before, or cannot be mapped into memory.
    pub fn take_events(&mut self) -> Result<Events, DataplaneError> {
        Events::new(self.events.take().ok_or(DataplaneError::Missing(map::EVENTS))?)
    }

    /// Takes the counters, which can be read from any thread. They can be taken once.
    ///
    /// # Errors
    /// The counters were taken before.
    pub fn take_counters(&mut self) -> Result<CounterReader, DataplaneError> {
        self.counters.take().ok_or(DataplaneError::Missing(map::COUNTERS))
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}

impl<K: Pod + Ord, V: Pod + PartialEq> Hash<K, V> {
    fn new(name: &'static str, map: Map) -> Result<Self, DataplaneError> {
        let Map::HashMap(data) = &map else { return Err(DataplaneError::Missing(name)) };
        let room = data.info()?.max_entries() as usize;
        Ok(Self { map: map.try_into()?, room })
    }

    /// Does nothing if the element has this value already, because an update would free it under a reader.
    fn set(&mut self, key: K, value: V) -> Result<(), DataplaneError> {
        if self.map.get(&key, 0).is_ok_and(|before| before == value) {
            return Ok(());
        }
        Ok(self.map.insert(key, value, 0)?)
    }

    fn keys(&self) -> Result<BTreeSet<K>, DataplaneError> {
        Ok(self.map.keys().collect::<Result<_, _>>()?)
    }

    fn has_room(&self, wanted: &BTreeSet<K>) -> Result<bool, DataplaneError> {
        Ok(self.keys()?.union(wanted).count() <= self.room)
    }

    fn retain(&mut self, wanted: &BTreeSet<K>) -> Result<(), DataplaneError> {
        for key in self.keys()?.difference(wanted) {
            self.map.remove(key)?;
        }
        Ok(())
    }
}

/// Waits until every program that was running has ended, so that none still reads what was removed. This takes about
/// 10 ms.
pub fn wait_for_readers() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: the system call takes no pointers. If the kernel refuses (a processor without ticks), digests and keys
    // still let a reader detect that an element was removed.
    unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
}
