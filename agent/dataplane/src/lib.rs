//! The agent's side of the kernel half: loads it, attaches it, writes its maps, and reads what it has heard and
//! counted.
//!
//! This is the only user of aya. Programs, links and maps are pinned ([`Pins`]), so they outlive the process: the
//! kernel half of a dead agent keeps receiving adverts, and serves until the lease ends.

#![warn(missing_docs)]

mod attach;
mod attachments;
mod capacity;
mod counters;
mod error;
mod events;
mod fence;
mod kernel_log;
mod link;
mod link_probe;
mod mapped;
mod monitor;
mod namespace_end;
mod pins;
mod slot;
mod tables;

use std::ptr::NonNull;

use aya::EbpfLoader;
use aya::maps::{Array, MapData};
use nix::sys::mman::{MmapAdvise, madvise};
use nix::unistd::{SysconfVar, sysconf};
use xvrrp_common::abi::{LAYOUT, Stamp, constant, map};

pub use attach::strips_vlan_tags;
pub use attachments::{Attachments, RestoredPins};
pub use capacity::Capacity;
pub use counters::CounterReader;
pub use error::{DataplaneError, with_causes};
pub use events::{Events, KernelEvent};
pub use fence::Fence;
pub use link_probe::LinkProbe;
pub use monitor::Monitor;
pub use pins::{GoneNamespace, Incompatibility, Pins, Predecessor, namespace_cookie};
pub use slot::Slot;
pub use tables::{Retained, Tables, wait_for_readers};

/// The kernel half, compiled for BPF. `build.rs` finds the object.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("XVRRP_EBPF_OBJECT"));

/// The kernel half, loaded.
#[derive(Debug)]
pub struct Dataplane {
    /// The programs and the interfaces that they are attached to.
    pub attachments: Attachments,
    /// The maps.
    pub tables: Tables,
}

impl Dataplane {
    /// Loads programs and maps that end with this process. Attaches nothing.
    ///
    /// # Errors
    /// The kernel refuses a map or a program.
    pub fn load(capacity: Capacity) -> Result<Self, DataplaneError> {
        Self::load_with(capacity, None)
    }

    /// Loads programs that outlive this process, with the maps that a predecessor has left, or else with new maps of at
    /// least this capacity. Attaches and writes nothing. A predecessor must be [`Predecessor::Compatible`], or must
    /// have been removed.
    ///
    /// # Errors
    /// The kernel refuses a map or a program, or nothing can be pinned.
    pub fn open(capacity: Capacity, pins: &Pins) -> Result<Self, DataplaneError> {
        pins.create()?;
        Self::load_with(capacity.with_room(), Some(pins.clone()))
    }

    fn load_with(capacity: Capacity, pins: Option<Pins>) -> Result<Self, DataplaneError> {
        let can_show = u32::from(monitor::can_show());
        let mut loader = EbpfLoader::new();
        loader
            // The programs access no structure of the kernel, so its type information (megabytes) need not be read.
            .btf(None)
            .map_max_entries(map::ROUTERS, capacity.routers.max(1))
            .map_max_entries(map::VIPS, capacity.vips.max(1))
            .map_max_entries(map::ALLOWED_SOURCES, capacity.sources.max(1))
            .map_max_entries(map::HEARD, capacity.routers.max(1))
            .map_max_entries(map::SLOTS, capacity.routers.max(1))
            .map_max_entries(map::COUNTERS, CounterReader::count(capacity.routers))
            .map_max_entries(kernel_log::MAP, page_size())
            .override_global(constant::CAN_SHOW, &can_show, true);
        if let Some(pins) = &pins {
            for &name in map::PINNED {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        let mut ebpf = loader.load(OBJECT)?;
        release_object();
        let mut stamp: Array<MapData, Stamp> =
            ebpf.take_map(map::STAMP).ok_or(DataplaneError::Missing(map::STAMP))?.try_into()?;
        let tables = Tables::of(|name| ebpf.take_map(name).ok_or(DataplaneError::Missing(name)))?;
        let attachments = Attachments::new(ebpf, pins)?;
        // The stamp comes last, because maps without it count as incomplete.
        stamp.set(0, Stamp { layout: LAYOUT, version: version() }, 0)?;
        Ok(Self { attachments, tables })
    }
}

fn page_size() -> u32 {
    sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| size.try_into().ok()).unwrap_or(1 << 16)
}

/// Releases the memory of [`OBJECT`], half a megabyte. The kernel reads the pages from the file if they are needed
/// again.
fn release_object() {
    let page = page_size() as usize;
    // Only whole pages that hold nothing else.
    let before = OBJECT.as_ptr().align_offset(page);
    if let Some(rest) = OBJECT.get(before..)
        && let Some(start) = NonNull::new(rest.as_ptr().cast_mut())
    {
        // SAFETY: these are pages of a file that nobody writes, so they keep their content. Locked pages stay in
        // memory, which does no harm.
        let _ = unsafe { madvise(start.cast(), rest.len() / page * page, MmapAdvise::MADV_DONTNEED) };
    }
}

fn version() -> [u8; 28] {
    let mut bytes = [0; 28];
    for (byte, letter) in bytes.iter_mut().zip(env!("CARGO_PKG_VERSION").bytes()) {
        *byte = letter;
    }
    bytes
}
