//! Pins of programs and maps in a BPF file system, by which they outlive the agent.
//!
//! Below the configured directory, each network namespace has a directory of its own. It has the maps by their names
//! and the links by interface. Only the agent that holds the namespace's singleton changes it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use aya::maps::{Array, Map, MapData, MapInfo};
use nix::mount::{MsFlags, mount};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::statfs::{FsType, statfs};
use xvrrp_common::abi::{
    Checked, Counters, Heard, LAYOUT, RouterKey, Settings, SlotEntry, SourceKey, Stamp, VipKey, map,
};
use xvrrp_common::units::IfIndex;

use super::link_probe::LinkProbe;
use super::{Capacity, CounterReader, DataplaneError, namespace_end};

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS: FsType = FsType(0xcafe_4a11);

/// Beginning of the name of a network namespace's directory. The namespace's cookie follows it.
const DIRECTORY: &str = "netns-";

/// Names of the pins of links.
pub(super) const INGRESS: &str = "ingress";
pub(super) const EGRESS: &str = "egress";
pub(super) const FENCE: &str = "fence";
/// Name of the pin of the fence's program, which exists while another owner opens it.
const FENCE_PROGRAM: &str = "program-0";

/// The directory of pins of one network namespace.
#[derive(Clone, Debug)]
pub struct Pins {
    /// Directory of all agents of this host.
    base: PathBuf,
    /// Directory of this network namespace.
    directory: PathBuf,
}

/// A network namespace that no longer exists, and whose pins were removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoneNamespace {
    /// Its cookie ([`namespace_cookie`]). No other namespace gets the same one before the next boot.
    pub cookie: u64,
    /// The directory of its pins.
    pub directory: PathBuf,
}

/// The maps and programs that a predecessor has left.
#[derive(Debug, PartialEq, Eq)]
pub enum Predecessor {
    /// Nothing is pinned.
    None,
    /// Maps that this agent can use, made by an agent of this version.
    Compatible(String),
    /// Maps that this agent cannot use, and why.
    Incompatible(Incompatibility),
}

/// Why this agent cannot use the maps of a predecessor. Displays as a clause about the predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatibility {
    /// The map with the layout's number is missing.
    #[error("it is incomplete")]
    Incomplete,
    /// The maps have a layout with this number.
    #[error("its maps have layout {0}, ours {LAYOUT}")]
    Layout(u32),
    /// The map with this name is missing.
    #[error("it has no map {0}")]
    NoMap(&'static str),
    /// The keys or values of the map with this name have another size.
    #[error("the keys or values of its map {0} have another size")]
    Form(&'static str),
    /// The map with this name has too few entries for the configuration.
    #[error("its map {0} is too small for this configuration")]
    Capacity(&'static str),
}

impl Pins {
    /// Returns the pins of the calling thread's network namespace, below `base`. Changes nothing. There may be none.
    ///
    /// # Errors
    /// The kernel does not identify the namespace (before Linux 5.14).
    pub fn below(base: &Path) -> Result<Self, DataplaneError> {
        let cookie = namespace_cookie().map_err(|source| DataplaneError::Pins { path: base.to_owned(), source })?;
        Ok(Self { base: base.to_owned(), directory: base.join(format!("{DIRECTORY}{cookie}")) })
    }

    /// Makes the directory. Mounts a BPF file system on the parent of the base if there is none.
    pub(super) fn create(&self) -> Result<(), DataplaneError> {
        let failed = |path: &Path, source| DataplaneError::Pins { path: path.to_owned(), source };
        let parent = self.base.parent().unwrap_or(&self.base);
        fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        if !is_bpf_file_system(parent).map_err(|error| failed(parent, error))? {
            // The mount would hide the files in the directory.
            if has_entries(parent).map_err(|error| failed(parent, error))? {
                return Err(DataplaneError::NoBpfFileSystem { path: parent.to_owned() });
            }
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            let mounted = mount(Some("bpf"), parent, Some("bpf"), flags, Some("mode=0700"));
            mounted.map_err(|errno| DataplaneError::Mount { path: parent.to_owned(), source: errno.into() })?;
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        made.map_err(|error| failed(&self.directory, error))?;
        // The owner of the directory could remove the fence.
        let owner = fs::metadata(&self.base).map_err(|error| failed(&self.base, error))?.uid();
        if owner != nix::unistd::geteuid().as_raw() {
            return Err(failed(&self.base, io::Error::other(format!("it belongs to the user with id {owner}"))));
        }
        // Without it, the pins of a namespace stay after its end. The agent starts all the same.
        let _ = namespace_end::pin(&self.map(namespace_end::NAME));
        Ok(())
    }

    /// Returns why there can be no pins below `base`, as far as is known without changing anything. A missing BPF file
    /// system is not an obstacle, because the agent mounts one, unless that would hide files.
    pub fn obstacle(base: &Path) -> Option<DataplaneError> {
        let parent = base.parent().unwrap_or(base);
        let hides = !is_bpf_file_system(parent).ok()? && has_entries(parent).ok()?;
        hides.then(|| DataplaneError::NoBpfFileSystem { path: parent.to_owned() })
    }

    /// Returns the directory in which the pins of this network namespace are, or would be.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) fn link(&self, kind: &str, ifindex: IfIndex) -> PathBuf {
        self.directory.join(format!("{kind}-{ifindex}"))
    }

    pub(super) fn fence_program(&self) -> PathBuf {
        self.directory.join(FENCE_PROGRAM)
    }

    /// Examines what is pinned. Changes nothing.
    pub fn predecessor(&self, capacity: Capacity) -> Predecessor {
        if !map::PINNED.iter().any(|name| self.map(name).exists()) {
            return Predecessor::None;
        }
        match self.compatible_version(capacity) {
            Ok(version) => Predecessor::Compatible(version),
            Err(reason) => Predecessor::Incompatible(reason),
        }
    }

    fn compatible_version(&self, capacity: Capacity) -> Result<String, Incompatibility> {
        let layout = self.stamp().ok_or(Incompatibility::Incomplete)?;
        if layout.layout != LAYOUT {
            return Err(Incompatibility::Layout(layout.layout));
        }
        for (name, key, value, entries) in forms(capacity) {
            let info = MapInfo::from_pin(self.map(name)).map_err(|_| Incompatibility::NoMap(name))?;
            let fits = info.key_size() as usize == key && info.value_size() as usize == value;
            if !fits {
                return Err(Incompatibility::Form(name));
            }
            if info.max_entries() < entries {
                return Err(Incompatibility::Capacity(name));
            }
        }
        let version = layout.version.split(|&byte| byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(version).into_owned())
    }

    fn stamp(&self) -> Option<Stamp> {
        let stamp = MapData::from_pin(self.map(map::STAMP)).ok()?;
        let stamp: Array<_, Stamp> = Map::Array(stamp).try_into().ok()?;
        stamp.get(&0, 0).ok()
    }

    /// Returns the interfaces that have a pinned link of this kind.
    pub(super) fn linked(&self, kind: &str) -> Vec<IfIndex> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let index = |name: &OsStr| name.to_str()?.strip_prefix(kind)?.strip_prefix('-')?.parse().ok();
        entries.filter_map(|entry| index(&entry.file_name()).map(IfIndex::new)).collect()
    }

    /// Returns whether both programs of a predecessor are attached to the interface.
    pub fn are_attached(&self, ifindex: IfIndex) -> bool {
        [INGRESS, EGRESS].into_iter().all(|kind| self.is_on(kind, ifindex))
    }

    /// Returns whether the program in the interface's XDP hook is a predecessor's.
    pub fn hold_hook(&self, ifindex: IfIndex) -> bool {
        self.is_on(INGRESS, ifindex)
    }

    fn is_on(&self, kind: &str, ifindex: IfIndex) -> bool {
        LinkProbe::open(&self.link(kind, ifindex)).is_ok_and(|link| link.ifindex() == Some(ifindex))
    }

    /// Names the pins of links after the interfaces that these are attached to now. An interface that was in another
    /// network namespace may have come back with another index, and with a predecessor's programs.
    pub fn follow_interfaces(&self) {
        for kind in [INGRESS, EGRESS] {
            let on = |pin: &Path| LinkProbe::open(pin).ok().and_then(|link| link.ifindex());
            let found = self.linked(kind).into_iter().filter_map(|named| Some((named, on(&self.link(kind, named))?)));
            let moved: Vec<(IfIndex, IfIndex)> = found.filter(|(named, now)| named != now).collect();
            // Under an intermediate name, because two interfaces may have exchanged their indices.
            let meanwhile = |now: IfIndex| self.directory.join(format!("{kind}-moved-{now}"));
            let renamed = moved.iter().try_for_each(|&(named, now)| fs::rename(self.link(kind, named), meanwhile(now)));
            let renamed = renamed.and_then(|()| {
                moved.iter().try_for_each(|&(_, now)| {
                    // A link whose interface is gone may still have this name.
                    let _ = fs::remove_file(self.link(kind, now));
                    fs::rename(meanwhile(now), self.link(kind, now))
                })
            });
            if let Err(error) = renamed {
                tracing::warn!("cannot rename what is pinned in {}: {error}", self.directory.display());
            }
        }
    }

    /// Returns the names of all pins.
    pub(super) fn names(&self) -> io::Result<BTreeSet<OsString>> {
        match fs::read_dir(&self.directory) {
            Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(error),
        }
    }

    /// Returns whether anything is pinned.
    pub fn exist(&self) -> bool {
        fs::read_dir(&self.directory).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Removes every pin of this namespace. The kernel then detaches the programs, and frees the maps that nobody has
    /// open.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub fn remove(&self) -> Result<(), DataplaneError> {
        let failed = |source| DataplaneError::Pins { path: self.directory.clone(), source };
        match remove_directory(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        // The agent of another namespace may have its directory there.
        let _ = fs::remove_dir(&self.base);
        Ok(())
    }

    /// Removes the pins of network namespaces that are gone, and returns these namespaces. No agent can start in such a
    /// namespace any more. Pins of a namespace that exists, or of which nothing is known, are left alone.
    pub fn remove_of_gone_namespaces(&self) -> Vec<GoneNamespace> {
        let entries = fs::read_dir(&self.base).into_iter().flatten().flatten();
        let directories = entries.map(|entry| entry.path()).filter(|path| *path != self.directory);
        let gone: Vec<_> = directories
            .filter_map(|directory| Some(GoneNamespace { cookie: cookie(&directory)?, directory }))
            .filter(|gone| namespace_end::has_come(&gone.directory.join(namespace_end::NAME)).unwrap_or(false))
            .filter(|gone| remove_directory(&gone.directory).is_ok())
            .collect();
        if !gone.is_empty() {
            // Fails if another namespace has pins there.
            let _ = fs::remove_dir(&self.base);
        }
        gone
    }
}

/// Returns the cookie of the network namespace to which a directory belongs.
fn cookie(directory: &Path) -> Option<u64> {
    directory.file_name()?.to_str()?.strip_prefix(DIRECTORY)?.parse().ok()
}

fn is_bpf_file_system(path: &Path) -> io::Result<bool> {
    Ok(statfs(path)?.filesystem_type() == BPF_FS)
}

fn has_entries(directory: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(directory)?.next().is_some())
}

fn remove_directory(directory: &Path) -> io::Result<()> {
    let mut names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    // Links come first, so that no program runs with half of the maps. The proof that a namespace is gone comes last.
    names.sort_by_key(|name| (name == namespace_end::NAME, map::PINNED.iter().any(|map| OsStr::new(map) == name)));
    for name in names {
        unpin(&directory.join(name))?;
    }
    fs::remove_dir(directory)
}

/// Removes the pin of a map or link. Detaches a link.
pub(super) fn unpin(path: &Path) -> io::Result<()> {
    // Otherwise, the kernel would detach the program later, and the hook would be taken until then.
    if let Ok(link) = LinkProbe::open(path) {
        // A map cannot be detached.
        let _ = link.detach();
    }
    fs::remove_file(path)
}

/// Name, size of key and value, and minimum number of entries of every map that a successor reuses.
fn forms(capacity: Capacity) -> [(&'static str, usize, usize, u32); 7] {
    let index = size_of::<u32>();
    [
        (map::ROUTERS, size_of::<RouterKey>(), size_of::<u32>(), capacity.routers),
        (map::VIPS, size_of::<VipKey>(), size_of::<Checked>(), capacity.vips),
        (map::ALLOWED_SOURCES, size_of::<SourceKey>(), size_of::<Checked>(), capacity.sources),
        (map::HEARD, index, size_of::<Heard>(), capacity.routers),
        (map::SLOTS, index, size_of::<SlotEntry>(), capacity.routers),
        (map::COUNTERS, index, size_of::<Counters>(), CounterReader::count(capacity.routers)),
        (map::SETTINGS, index, size_of::<Settings>(), 1),
    ]
}

/// Returns a number that identifies the network namespace as long as the kernel runs, unlike the number of its inode
/// (`SO_NETNS_COOKIE`, Linux 5.14).
///
/// # Errors
/// The kernel does not identify the namespace (before Linux 5.14).
pub fn namespace_cookie() -> io::Result<u64> {
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of_val(&cookie)).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: pointer and length describe `cookie`, which outlives the call.
    let result = unsafe {
        libc::getsockopt(
            any.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}
