//! Finds out whether the network namespace to which the pins in a directory belong is gone.
//!
//! A namespace is known only by its cookie, and no system call finds a namespace by its cookie. Nor does the absence of
//! an agent or of interfaces prove that it is gone. So one more map is pinned, a `BPF_MAP_TYPE_DEVMAP` whose only entry
//! names the loopback interface of the namespace. The kernel removes an entry from such a map when its interface is
//! unregistered, and a loopback interface is unregistered only at the end of its namespace.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use super::link_probe::{self, BpfCommand, bpf, get};

/// The map's name among the pins.
pub(super) const NAME: &str = "NAMESPACE_END";
/// Index of the loopback interface in every network namespace.
const LOOPBACK: u32 = 1;

#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

impl BpfCommand for MapCreate {
    /// `BPF_MAP_CREATE`
    const NUMBER: libc::c_long = 0;
}

/// Attributes of the commands that read or write one element of a map.
#[repr(C)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct Lookup(Element);

impl BpfCommand for Lookup {
    /// `BPF_MAP_LOOKUP_ELEM`
    const NUMBER: libc::c_long = 1;
}

#[repr(C)]
struct Update(Element);

impl BpfCommand for Update {
    /// `BPF_MAP_UPDATE_ELEM`
    const NUMBER: libc::c_long = 2;
}

/// Pins the map for the calling thread's network namespace, unless it is pinned already. It gets its entry before it is
/// pinned, so that an empty map always means that the namespace is gone.
pub(super) fn pin(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    /// `BPF_MAP_TYPE_DEVMAP`
    const DEVMAP: u32 = 14;
    let fd = bpf(&MapCreate { kind: DEVMAP, key_size: 4, value_size: 4, max_entries: 1, flags: 0 })?;
    // SAFETY: the kernel has just opened this descriptor, so it has no other owner.
    let map = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut loopback = LOOPBACK;
    bpf(&Update(element(&map, &0, &mut loopback)?))?;
    link_probe::pin(&map, path)
}

/// Returns whether the namespace for which the map was pinned is gone. An error, such as that there is no map, proves
/// nothing.
pub(super) fn has_come(path: &Path) -> io::Result<bool> {
    let map = get(path)?;
    let mut ifindex = 0;
    match bpf(&Lookup(element(&map, &0, &mut ifindex)?)) {
        Ok(_) => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(true),
        Err(error) => Err(error),
    }
}

fn element(map: &OwnedFd, key: &u32, value: &mut u32) -> io::Result<Element> {
    let (key, value) = (std::ptr::from_ref(key) as u64, std::ptr::from_mut(value) as u64);
    Ok(Element { map_fd: number(map)?, padding: 0, key, value, flags: 0 })
}

fn number(map: &OwnedFd) -> io::Result<u32> {
    u32::try_from(map.as_raw_fd()).map_err(io::Error::other)
}
