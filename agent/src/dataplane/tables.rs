//! The maps: what the kernel half is told, and what it has heard.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;

use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData};
use nix::time::{ClockId, clock_getres};
use xvrrp_common::abi::{self, Heard, Lease, Router, RouterKey, Settings, SourceKey, VipKey, map};

use super::mapped::{HeardTable, LeaseTable};
use super::{CounterReader, DataplaneError, Events, Pins};

/// The kernel's longest tick in nanoseconds (`CONFIG_HZ_100`).
const MOST_TICK: i64 = 10_000_000;

/// See the module. The election owns it.
pub struct Tables {
    routers: HashMap<MapData, RouterKey, Router>,
    vips: HashMap<MapData, VipKey, RouterKey>,
    allowed_sources: HashMap<MapData, SourceKey, u8>,
    settings: Array<MapData, Settings>,
    /// Virtual routers on account of which packets are looked up by their destination.
    without_virtual_mac: BTreeSet<RouterKey>,
    heard: HeardTable,
    leases: LeaseTable,
    /// Not opened before they are taken: a predecessor may still be reading.
    events: Option<Map>,
    counters: Option<CounterReader>,
}

impl Tables {
    /// The maps that a predecessor has left, and that are known to fit.
    pub fn open(pins: &Pins) -> Result<Self, DataplaneError> {
        Self::of(|name| Ok(Map::from_map_data(MapData::from_pin(pins.map(name))?)?))
    }

    pub(super) fn of(
        mut take: impl FnMut(&'static str) -> Result<Map, DataplaneError>,
    ) -> Result<Self, DataplaneError> {
        let mut tables = Self {
            routers: take(map::ROUTERS)?.try_into()?,
            vips: take(map::VIPS)?.try_into()?,
            allowed_sources: take(map::ALLOWED_SOURCES)?.try_into()?,
            settings: take(map::SETTINGS)?.try_into()?,
            without_virtual_mac: BTreeSet::new(),
            heard: HeardTable::new(map::HEARD, take(map::HEARD)?)?,
            leases: LeaseTable::new(map::LEASES, take(map::LEASES)?)?,
            events: Some(take(map::EVENTS)?),
            counters: Some(CounterReader::new(take(map::COUNTERS)?)?),
        };
        for (key, router) in tables.routers()? {
            if router.flags & Router::VIRTUAL_MAC == 0 {
                tables.without_virtual_mac.insert(key);
            }
        }
        tables.set_settings()?;
        Ok(tables)
    }

    /// Every virtual router that the kernel half knows.
    pub fn routers(&self) -> Result<BTreeMap<RouterKey, Router>, DataplaneError> {
        Ok(self.routers.iter().collect::<Result<_, _>>()?)
    }

    /// Makes a virtual router known, or changes it: one map write, and with it the role.
    pub fn set_router(&mut self, key: RouterKey, router: &Router) -> Result<(), DataplaneError> {
        self.routers.insert(key, router, 0)?;
        let changed = if router.flags & Router::VIRTUAL_MAC == 0 {
            self.without_virtual_mac.insert(key)
        } else {
            self.without_virtual_mac.remove(&key)
        };
        if changed { self.set_settings() } else { Ok(()) }
    }

    /// Makes the kernel half forget a virtual router.
    pub fn remove_router(&mut self, key: &RouterKey) -> Result<(), DataplaneError> {
        self.routers.remove(key)?;
        if self.without_virtual_mac.remove(key) { self.set_settings() } else { Ok(()) }
    }

    fn set_settings(&mut self) -> Result<(), DataplaneError> {
        let look_up_destinations = u32::from(!self.without_virtual_mac.is_empty());
        // What the coarse clocks can tell apart is the kernel's tick.
        let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_or(MOST_TICK, |tick| tick.tv_nsec());
        let tick = u32::try_from(tick).unwrap_or_default();
        Ok(self.settings.set(0, Settings { look_up_destinations, tick }, 0)?)
    }

    /// Says to which virtual router an address belongs.
    pub fn add_vip(&mut self, vip: VipKey, router: RouterKey) -> Result<(), DataplaneError> {
        Ok(self.vips.insert(vip, router, 0)?)
    }

    /// The addresses of each virtual router, in no order.
    pub fn addresses(&self) -> Result<BTreeMap<RouterKey, Vec<IpAddr>>, DataplaneError> {
        let mut addresses = BTreeMap::<_, Vec<_>>::new();
        for entry in self.vips.iter() {
            let (vip, router) = entry?;
            addresses.entry(router).or_default().push(abi::ip_address(vip.family, vip.address));
        }
        Ok(addresses)
    }

    /// The sources that each virtual router hears which does not hear everybody, in no order.
    pub fn sources(&self) -> Result<BTreeMap<RouterKey, Vec<IpAddr>>, DataplaneError> {
        let mut sources = BTreeMap::<_, Vec<_>>::new();
        for key in self.allowed_sources.keys() {
            let SourceKey { router, address } = key?;
            sources.entry(router).or_default().push(abi::ip_address(router.family, address));
        }
        Ok(sources)
    }

    /// Lets a virtual router with [`Router::RESTRICT_SOURCES`] hear this source, where the TTL or hop limit is not below
    /// `least_ttl`.
    pub fn allow_source(&mut self, source: SourceKey, least_ttl: u8) -> Result<(), DataplaneError> {
        Ok(self.allowed_sources.insert(source, least_ttl, 0)?)
    }

    /// Forgets all addresses and sources but these.
    pub fn retain(&mut self, vips: &BTreeSet<VipKey>, sources: &BTreeSet<SourceKey>) -> Result<(), DataplaneError> {
        retain(&mut self.vips, vips)?;
        retain(&mut self.allowed_sources, sources)
    }

    /// What the kernel half has heard for the virtual router in this slot; without a system call.
    pub fn heard(&self, slot: u32) -> Heard {
        self.heard.read(slot)
    }

    /// Until when the virtual router in this slot may serve; without a system call.
    pub fn lease(&self, slot: u32) -> u64 {
        self.leases.get(slot)
    }

    /// Sets it; without a system call.
    pub fn set_lease(&self, slot: u32, until: u64) {
        self.leases.set(slot, until);
    }

    /// Moves it, unless the kernel half has ended it and it is not `from` any more: then what it is.
    pub fn renew_lease(&self, slot: u32, from: u64, until: u64) -> Result<(), u64> {
        self.leases.renew(slot, from, until)
    }

    /// Makes a slot ready for a virtual router that did not have it.
    pub fn clear_slot(&mut self, slot: u32) -> Result<(), DataplaneError> {
        self.heard.clear(slot);
        self.leases.set(slot, Lease::ENDED);
        self.counters.as_mut().map_or(Ok(()), |counters| counters.clear(CounterReader::router(slot)))
    }

    /// The events, to be waited for; they can be taken once.
    pub fn take_events(&mut self) -> Result<Events, DataplaneError> {
        Events::new(self.events.take().ok_or(DataplaneError::Missing(map::EVENTS))?)
    }

    /// The counters, to be read from any thread; they can be taken once.
    pub fn take_counters(&mut self) -> Result<CounterReader, DataplaneError> {
        self.counters.take().ok_or(DataplaneError::Missing(map::COUNTERS))
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}

fn retain<K: Pod + Ord + Hash, V: Pod>(
    map: &mut HashMap<MapData, K, V>,
    wanted: &BTreeSet<K>,
) -> Result<(), DataplaneError> {
    let known = map.keys().collect::<Result<Vec<K>, _>>()?;
    for key in known.iter().filter(|key| !wanted.contains(key)) {
        map.remove(key)?;
    }
    Ok(())
}
