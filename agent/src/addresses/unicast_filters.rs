//! The virtual MACs that the network cards' unicast filters let in on our behalf.
//!
//! Such an entry outlives the process and cannot be marked as ours. So it is written down before it is made, and an
//! agent that starts after a crash removes what its predecessor wrote down. The record has the network namespace in its
//! name and, with the boot, in its text: agents of several namespaces may share a directory, and an interface's index means
//! nothing elsewhere.
//!
//! The record of a version up to 0.1 names interfaces, and no namespace. It is taken for this namespace's where an agent of this
//! namespace has left its pins, as each does that runs, is replaced or has crashed. Where none has, the record may be of another
//! namespace's agent with the same control path, and is left alone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use xvrrp_common::units::MacAddress;
use xvrrp_config::files;
use xvrrp_dataplane::namespace_cookie;
use xvrrp_net::{Interface, NetError, Netlink};

/// How files of records are named, with the namespace behind it; the whole name, in versions up to 0.1.
const RECORD: &str = "unicast-filters";
const EXTENSION: &str = "json";
/// Where Linux names the running boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error("cannot keep the record of opened unicast filters in {path}: {source}; the directory must be writable")]
    Record { path: PathBuf, source: io::Error },
    #[error("cannot tell which network namespace this is: {0}")]
    Namespace(#[source] io::Error),
    #[error(transparent)]
    Net(#[from] NetError),
}

/// See the module.
#[derive(Debug)]
pub struct UnicastFilters {
    netlink: Netlink,
    record: Record,
}

/// What is written down.
#[derive(Clone, Debug)]
pub struct Record {
    path: PathBuf,
    /// The one that an earlier version wrote, if it is still there.
    legacy: Option<PathBuf>,
    /// The boot and the network namespace that the record belongs to.
    boot: String,
    namespace: u64,
    opened: Vec<Entry>,
}

/// The file's text.
#[derive(Debug, Serialize, Deserialize)]
struct Text {
    boot: String,
    namespace: u64,
    opened: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    interface: String,
    /// Its index: an interface that is renamed keeps what we have opened. 0 in the record of an earlier version.
    #[serde(default)]
    ifindex: u32,
    mac: [u8; 6],
}

impl UnicastFilters {
    /// Finds what a predecessor left open. It has written that down beside the control socket, as we do. `has_pins` says whether
    /// it has left pins in this network namespace.
    pub fn recover(netlink: Netlink, control: &Path, has_pins: bool) -> Result<Self, FilterError> {
        Ok(Self { netlink, record: Record::find(control, has_pins)? })
    }

    /// What is written down now, for whoever keeps the filters open.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The records beside ours, which are those of other network namespaces.
    pub fn records_of_others(&self) -> Vec<PathBuf> {
        let directory = self.record.path.parent().map(fs::read_dir);
        let paths = directory.into_iter().flatten().flatten().flatten().map(|entry| entry.path());
        let is_record = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let number = name.strip_prefix(RECORD).and_then(|name| name.strip_prefix('-'));
            number.is_some_and(|number| number.ends_with(EXTENSION)) && path != self.record.path
        };
        paths.filter(|path| is_record(path)).collect()
    }

    /// Opens the filters for all of `wanted`, (interface, MAC), and closes the others. What is open already stays so
    /// without a gap (conformance 55).
    pub async fn open(
        &mut self,
        wanted: &[(&Interface, MacAddress)],
        interfaces: &[Interface],
    ) -> Result<(), FilterError> {
        let entry = |&(Interface { name, ifindex, .. }, mac): &(&Interface, MacAddress)| Entry {
            interface: name.clone(),
            ifindex: *ifindex,
            mac: mac.0,
        };
        let left = self.record.opened.clone();
        let wanted_ones: Vec<Entry> = wanted.iter().map(entry).collect();
        for unwanted in left.iter().filter(|entry| !wanted_ones.contains(entry)) {
            self.close(unwanted, interfaces).await?;
            self.record.opened.retain(|entry| entry != unwanted);
        }
        self.record.opened = wanted_ones;
        if self.record.opened.is_empty() {
            return self.record.remove();
        }
        // A full file system is no obstacle to what is written down already.
        if self.record.opened != left {
            self.record.write()?;
        }
        let mut foreign = Vec::new();
        for pair @ (interface, mac) in wanted {
            let opened = self.netlink.open_unicast_filter(&interface.name, interface.ifindex, *mac).await?;
            if !opened && !left.contains(&entry(pair)) {
                foreign.push(entry(pair));
            }
        }
        // What somebody else has opened is not ours to close.
        if !foreign.is_empty() {
            self.record.opened.retain(|entry| !foreign.contains(entry));
            self.record.write()?;
        }
        Ok(())
    }

    /// What is open, for a reader: `MAC on INTERFACE`.
    pub fn open_ones(&self) -> impl Iterator<Item = String> {
        self.record.opened.iter().map(|entry| format!("{} on {}", MacAddress(entry.mac), entry.interface))
    }

    /// Closes all that is open; tries every one, and returns the first failure.
    pub async fn close_all(&mut self, interfaces: &[Interface]) -> Result<(), FilterError> {
        let mut outcome = Ok(());
        for entry in std::mem::take(&mut self.record.opened) {
            outcome = outcome.and(self.close(&entry, interfaces).await);
        }
        outcome.and_then(|()| self.record.remove())
    }

    async fn close(&self, entry: &Entry, interfaces: &[Interface]) -> Result<(), FilterError> {
        // An interface that is gone has taken its filter along.
        let is_it = |it: &&Interface| match entry.ifindex {
            0 => it.name == entry.interface,
            ifindex => it.ifindex == ifindex,
        };
        let Some(interface) = interfaces.iter().find(is_it) else { return Ok(()) };
        let mac = MacAddress(entry.mac);
        Ok(self.netlink.close_unicast_filter(&interface.name, interface.ifindex, mac).await?)
    }
}

impl Record {
    /// Finds the record of the calling thread's network namespace, beside this control socket, and logs which records it ignores.
    fn find(control: &Path, has_pins: bool) -> Result<Self, FilterError> {
        let namespace = namespace_cookie().map_err(FilterError::Namespace)?;
        // Where it cannot be read, all boots are one: records are in /run as a rule, which none of them survives.
        let boot = fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned()).unwrap_or_default();
        Self::find_of(control, namespace, boot, has_pins)
    }

    fn find_of(control: &Path, namespace: u64, boot: String, has_pins: bool) -> Result<Self, FilterError> {
        let path = control.with_file_name(format!("{RECORD}-{namespace}.{EXTENSION}"));
        let legacy = control.with_file_name(format!("{RECORD}.{EXTENSION}"));
        let mut record = Self { path, legacy: None, boot, namespace, opened: Vec::new() };
        match read(&record.path)?.map(|bytes| serde_json::from_slice::<Text>(&bytes)) {
            None => {}
            Some(Ok(Text { boot, namespace, opened })) if (&boot, namespace) == (&record.boot, record.namespace) => {
                record.opened = opened;
                return Ok(record);
            }
            Some(Ok(_)) => {
                tracing::warn!(
                    "{} is of another boot or another network namespace: what it says is left alone",
                    record.path.display()
                );
            }
            // A record that a crash cut short was followed by no entry.
            Some(Err(_)) => {}
        }
        if let Some(bytes) = read(&legacy)? {
            if !has_pins {
                tracing::warn!(
                    "{} is of an earlier version, which wrote down no network namespace, and no agent has left anything else in \
                     this one: what it says is left alone; remove it if no agent of another namespace uses it",
                    legacy.display()
                );
                return Ok(record);
            }
            record.opened = serde_json::from_slice(&bytes).unwrap_or_default();
            record.legacy = Some(legacy);
        }
        Ok(record)
    }

    /// Adds what has been opened since. That it could not be written down is an error, but it is open.
    pub fn claim(&mut self, interface: &str, ifindex: u32, mac: MacAddress) -> Result<(), FilterError> {
        let entry = Entry { interface: interface.to_owned(), ifindex, mac: mac.0 };
        if self.opened.contains(&entry) {
            return Ok(());
        }
        self.opened.push(entry);
        self.write()
    }

    fn write(&mut self) -> Result<(), FilterError> {
        let Self { path, boot, namespace, opened, .. } = &*self;
        let text = Text { boot: boot.clone(), namespace: *namespace, opened: opened.clone() };
        // A crash leaves the one or the other.
        let new = path.with_extension("new");
        serde_json::to_vec(&text)
            .map_err(io::Error::from)
            .and_then(|bytes| fs::write(&new, bytes))
            .and_then(|()| fs::rename(&new, path))
            .map_err(|source| FilterError::Record { path: path.clone(), source })?;
        self.remove_legacy()
    }

    fn remove(&mut self) -> Result<(), FilterError> {
        self.remove_legacy()?;
        // One of another boot or namespace is not ours to remove.
        let is_anothers = read(&self.path)?.is_some_and(|bytes| {
            serde_json::from_slice::<Text>(&bytes)
                .is_ok_and(|text| (&text.boot, text.namespace) != (&self.boot, self.namespace))
        });
        if is_anothers { Ok(()) } else { remove(&self.path) }
    }

    fn remove_legacy(&mut self) -> Result<(), FilterError> {
        self.legacy.take().map_or(Ok(()), |legacy| remove(&legacy))
    }
}

/// Many times as long as the record of as many virtual routers as there can be.
const MAX_RECORD: u64 = 16 << 20;

fn read(path: &Path) -> Result<Option<Vec<u8>>, FilterError> {
    match files::read(path, MAX_RECORD) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.fault.is_not_found() => Ok(None),
        Err(error) => Err(FilterError::Record { path: path.to_owned(), source: error.into() }),
    }
}

fn remove(path: &Path) -> Result<(), FilterError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(FilterError::Record { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddress = MacAddress([0, 0, 0x5e, 0, 1, 51]);

    fn find(control: &Path, namespace: u64, boot: &str) -> Record {
        Record::find_of(control, namespace, boot.to_owned(), true).unwrap()
    }

    #[test]
    fn each_namespace_has_a_record_of_its_own_and_finds_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let control = directory.path().join("xvrrp.sock");
        find(&control, 1, "a").claim("eth0", 2, MAC).unwrap();
        find(&control, 2, "a").claim("eth1", 3, MAC).unwrap();
        assert_eq!(find(&control, 1, "a").opened.len(), 1);
        let mut other = find(&control, 2, "a");
        assert_eq!(other.opened.first().unwrap().interface, "eth1");
        other.remove().unwrap();
        assert_eq!(find(&control, 2, "a").opened, []);
        assert_eq!(find(&control, 1, "a").opened.len(), 1);
    }

    #[test]
    fn a_record_of_another_boot_is_neither_applied_nor_removed() {
        let directory = tempfile::tempdir().unwrap();
        let control = directory.path().join("xvrrp.sock");
        find(&control, 1, "a").claim("eth0", 2, MAC).unwrap();
        let mut later = find(&control, 1, "b");
        assert_eq!(later.opened, []);
        later.remove().unwrap();
        assert_eq!(find(&control, 1, "a").opened.len(), 1);
        // A namespace of that boot is no more, and its cookie is now another's.
        later.claim("eth0", 2, MAC).unwrap();
        assert_eq!(find(&control, 1, "b").opened.len(), 1);
    }

    #[test]
    fn the_record_of_an_earlier_version_is_read_and_replaced_by_the_next_one_that_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let control = directory.path().join("xvrrp.sock");
        let legacy = directory.path().join("unicast-filters.json");
        fs::write(&legacy, r#"[{"interface":"eth0","mac":[0,0,94,0,1,51]}]"#).unwrap();
        let mut record = find(&control, 1, "a");
        assert_eq!(record.opened, [Entry { interface: "eth0".into(), ifindex: 0, mac: MAC.0 }]);
        record.write().unwrap();
        assert!(!legacy.exists());
        assert_eq!(find(&control, 1, "a").opened.len(), 1);

        fs::write(&legacy, "[").unwrap();
        find(&control, 2, "a").remove().unwrap();
        assert!(!legacy.exists());
    }

    #[test]
    fn the_record_of_an_earlier_version_is_left_alone_in_a_namespace_where_no_agent_has_left_pins() {
        let directory = tempfile::tempdir().unwrap();
        let control = directory.path().join("xvrrp.sock");
        let legacy = directory.path().join("unicast-filters.json");
        fs::write(&legacy, r#"[{"interface":"eth0","mac":[0,0,94,0,1,51]}]"#).unwrap();
        let mut record = Record::find_of(&control, 1, "a".to_owned(), false).unwrap();
        assert_eq!(record.opened, []);
        record.claim("eth1", 3, MAC).unwrap();
        record.remove().unwrap();
        assert!(legacy.exists());
        assert_eq!(find(&control, 1, "a").opened.len(), 1, "with pins it is this namespace's");
    }
}
