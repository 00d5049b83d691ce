//! The agent's side of the kernel half: loads it, attaches it, writes its maps and reads what it heard and counted.
//!
//! The only user of aya. Programs, maps and links live as long as [`Dataplane`]; when the process dies, however it
//! dies, the kernel detaches and frees them.

mod attach;
mod counters;
mod error;
mod events;
mod heard;
mod kernel_log;

use std::collections::BTreeSet;
use std::{fmt, io};

use aya::maps::{Array, HashMap, Map, MapData};
use aya::programs::{Program, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use xvrrp_common::abi::{Heard, Router, RouterKey, Settings, SourceKey, VipKey, map, program};

pub use attach::{Occupant, XdpMode};
pub use counters::CounterReader;
pub use error::DataplaneError;
pub use events::Events;
use heard::HeardTable;

/// The kernel half, compiled for BPF; `build.rs` says where it comes from.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("XVRRP_EBPF_OBJECT"));

/// How much the maps must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub routers: u32,
    pub vips: u32,
    pub sources: u32,
}

/// The kernel half, loaded.
pub struct Dataplane {
    ebpf: Ebpf,
    routers: HashMap<MapData, RouterKey, Router>,
    vips: HashMap<MapData, VipKey, RouterKey>,
    allowed_sources: HashMap<MapData, SourceKey, u8>,
    settings: Array<MapData, Settings>,
    /// Virtual routers on account of which packets are looked up by their destination.
    refusing: BTreeSet<RouterKey>,
    heard: HeardTable,
}

impl Dataplane {
    /// Loads programs and maps; nothing is attached yet.
    pub fn load(capacity: Capacity) -> Result<Self, DataplaneError> {
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(map::ROUTERS, capacity.routers.max(1))
            .map_max_entries(map::VIPS, capacity.vips.max(1))
            .map_max_entries(map::ALLOWED_SOURCES, capacity.sources.max(1))
            .map_max_entries(map::HEARD, capacity.routers.max(1))
            .map_max_entries(map::COUNTERS, CounterReader::router(capacity.routers))
            .load(OBJECT)?;
        ingress(&mut ebpf)?.load()?;
        egress(&mut ebpf)?.load()?;
        Ok(Self {
            routers: take(&mut ebpf, map::ROUTERS)?.try_into()?,
            vips: take(&mut ebpf, map::VIPS)?.try_into()?,
            allowed_sources: take(&mut ebpf, map::ALLOWED_SOURCES)?.try_into()?,
            settings: take(&mut ebpf, map::SETTINGS)?.try_into()?,
            refusing: BTreeSet::new(),
            heard: HeardTable::map(take(&mut ebpf, map::HEARD)?, capacity.routers.max(1))?,
            ebpf,
        })
    }

    /// Attaches both programs to an interface, once. Driver mode where it works, else generic mode. An `occupant` of
    /// the hook is an error that names it.
    pub fn attach(
        &mut self,
        interface: &str,
        ifindex: u32,
        occupant: Option<Occupant>,
    ) -> Result<XdpMode, DataplaneError> {
        let mode = attach::ingress(ingress(&mut self.ebpf)?, interface, ifindex, occupant)?;
        attach::egress(egress(&mut self.ebpf)?, interface)?;
        Ok(mode)
    }

    /// Makes a virtual router known, or changes it: one map write, and with it the role.
    pub fn set_router(&mut self, key: RouterKey, router: &Router) -> Result<(), DataplaneError> {
        self.routers.insert(key, router, 0)?;
        if router.flags & (Router::VIRTUAL_MAC | Router::ACCEPT) == 0 && self.refusing.insert(key) {
            self.settings.set(0, Settings { refuse_by_destination: 1 }, 0)?;
        }
        Ok(())
    }

    /// Says to which virtual router an address belongs.
    pub fn add_vip(&mut self, vip: VipKey, router: RouterKey) -> Result<(), DataplaneError> {
        Ok(self.vips.insert(vip, router, 0)?)
    }

    /// Lets a virtual router with [`Router::RESTRICT_SOURCES`] hear this source.
    pub fn allow_source(&mut self, source: SourceKey) -> Result<(), DataplaneError> {
        Ok(self.allowed_sources.insert(source, 0, 0)?)
    }

    /// What the kernel half has heard for the virtual router in this slot; without a system call.
    pub fn heard(&self, slot: u32) -> Heard {
        self.heard.read(slot)
    }

    /// The events, to be waited for; they can be taken once.
    pub fn take_events(&mut self) -> Result<Events, DataplaneError> {
        Events::new(take(&mut self.ebpf, map::EVENTS)?)
    }

    /// The counters, to be read from any thread; they can be taken once.
    pub fn take_counters(&mut self) -> Result<CounterReader, DataplaneError> {
        CounterReader::new(take(&mut self.ebpf, map::COUNTERS)?)
    }

    /// Passes what the kernel half logs on to our own log, as long as it is polled; to be had once.
    pub fn forward_log(&mut self) -> Result<impl Future<Output = io::Result<()>> + Send + use<>, DataplaneError> {
        kernel_log::forward(&mut self.ebpf)
    }

    /// A program by its name in [`program`], for test runs.
    pub fn program(&self, name: &str) -> Option<&Program> {
        self.ebpf.program(name)
    }
}

impl fmt::Debug for Dataplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataplane").finish_non_exhaustive()
    }
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, DataplaneError> {
    ebpf.take_map(name).ok_or(DataplaneError::Missing(name))
}

fn ingress(ebpf: &mut Ebpf) -> Result<&mut Xdp, DataplaneError> {
    let program = ebpf.program_mut(program::INGRESS).ok_or(DataplaneError::Missing(program::INGRESS))?;
    Ok(program.try_into()?)
}

fn egress(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, DataplaneError> {
    let program = ebpf.program_mut(program::EGRESS).ok_or(DataplaneError::Missing(program::EGRESS))?;
    Ok(program.try_into()?)
}
