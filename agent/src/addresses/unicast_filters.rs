//! Entries for virtual MACs in the unicast filters of network cards.
//!
//! Such an entry outlives the process and cannot be marked as ours. It is therefore recorded in a file before it is
//! created, and an agent that starts after a crash removes what its predecessor has recorded. The name of the file
//! contains the network namespace, and its text contains the namespace and the boot: agents of several namespaces may
//! share a directory, and the index of an interface means nothing in another namespace.
//!
//! The record of a version up to 0.1 names interfaces but no namespace. It is assumed to be this namespace's if an
//! agent has left its pins here, as every agent does that runs, is replaced or has crashed. Otherwise the record may
//! belong to an agent of another namespace with the same control path, and is left alone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use xvrrp_common::units::{IfIndex, MacAddress};
use xvrrp_config::files;
use xvrrp_dataplane::namespace_cookie;
use xvrrp_net::{Interface, NetError, Netlink};

/// Beginning of the name of a record, which is followed by the namespace. In versions up to 0.1 it is the whole name.
const RECORD: &str = "unicast-filters";
const EXTENSION: &str = "json";
/// File in which Linux identifies the running boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Failure to open or close a unicast filter, or to record it.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error("cannot keep the record of opened unicast filters in {path}: {source}; the directory must be writable")]
    Record { path: PathBuf, source: io::Error },
    #[error("cannot identify the network namespace: {0}")]
    Namespace(#[source] io::Error),
    #[error(transparent)]
    Net(#[from] NetError),
}

/// The filter entries of this network namespace, with their record.
#[derive(Debug)]
pub struct UnicastFilters {
    netlink: Netlink,
    record: Record,
}

/// Record of the filter entries that this agent has created.
#[derive(Clone, Debug)]
pub struct Record {
    path: PathBuf,
    /// Record of an earlier version, if it still exists.
    old_record: Option<PathBuf>,
    /// Boot to which the record belongs.
    boot: String,
    /// Cookie of the network namespace to which the record belongs.
    namespace: u64,
    opened: Vec<FilterEntry>,
}

/// Content of the file.
#[derive(Debug, Serialize, Deserialize)]
struct RecordText {
    boot: String,
    namespace: u64,
    opened: Vec<FilterEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FilterEntry {
    interface: String,
    /// Index of the interface, because a renamed interface keeps its filter entries. 0 in the record of an earlier
    /// version.
    #[serde(default)]
    ifindex: u32,
    mac: [u8; 6],
}

/// Removes the record of a network namespace that is gone, from beside the control socket. The filter entries went with
/// the namespace. Returns the path of the record if there was one.
///
/// # Errors
/// The record cannot be read or removed.
pub fn remove_record_of_gone(control: &Path, namespace: u64) -> Result<Option<PathBuf>, FilterError> {
    let mut record = Record::new(control, namespace, boot());
    let existed = record.path.exists();
    record.remove()?;
    Ok((existed && !record.path.exists()).then_some(record.path))
}

impl UnicastFilters {
    /// Reads the record of the entries that a predecessor left open, from beside the control socket.
    /// `has_pins` says whether a predecessor has left pins in this network namespace.
    ///
    /// # Errors
    /// The record cannot be read, or the network namespace cannot be identified.
    pub fn recover(netlink: Netlink, control: &Path, has_pins: bool) -> Result<Self, FilterError> {
        Ok(Self { netlink, record: Record::find(control, has_pins)? })
    }

    /// Returns the current record, for the thread that keeps the filters open.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Returns the paths of the records of other network namespaces in the same directory.
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

    /// Opens the filters for all pairs of interface and MAC in `wanted` and closes the others. A filter that is open
    /// already stays open without interruption. RFC 9568 8.1.2 (conformance 55): "gratuitous ARP messages MUST be
    /// delayed until both the IPv4 address and the Virtual Router MAC address are configured".
    ///
    /// # Errors
    /// The kernel refuses an entry, or the record cannot be written.
    pub async fn open(
        &mut self,
        wanted: &[(&Interface, MacAddress)],
        interfaces: &[Interface],
    ) -> Result<(), FilterError> {
        let entry = |&(Interface { name, ifindex, .. }, mac): &(&Interface, MacAddress)| FilterEntry {
            interface: name.clone(),
            ifindex: ifindex.get(),
            mac: mac.0,
        };
        let left = self.record.opened.clone();
        let wanted_ones: Vec<FilterEntry> = wanted.iter().map(entry).collect();
        for unwanted in left.iter().filter(|entry| !wanted_ones.contains(entry)) {
            self.close(unwanted, interfaces).await?;
            self.record.opened.retain(|entry| entry != unwanted);
        }
        self.record.opened = wanted_ones;
        if self.record.opened.is_empty() {
            return self.record.remove();
        }
        // A record that is complete already is not written, so that a full file system does not matter then.
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
        // An entry that something else has created must not be closed by this agent.
        if !foreign.is_empty() {
            self.record.opened.retain(|entry| !foreign.contains(entry));
            self.record.write()?;
        }
        Ok(())
    }

    /// Returns the open entries as text: `MAC on INTERFACE`.
    pub fn open_ones(&self) -> impl Iterator<Item = String> {
        self.record.opened.iter().map(|entry| format!("{} on {}", MacAddress(entry.mac), entry.interface))
    }

    /// Closes all open entries.
    ///
    /// # Errors
    /// An entry or the record cannot be removed. All entries are tried even then, and the error is the first one.
    pub async fn close_all(&mut self, interfaces: &[Interface]) -> Result<(), FilterError> {
        let mut outcome = Ok(());
        for entry in std::mem::take(&mut self.record.opened) {
            outcome = outcome.and(self.close(&entry, interfaces).await);
        }
        outcome.and_then(|()| self.record.remove())
    }

    async fn close(&self, entry: &FilterEntry, interfaces: &[Interface]) -> Result<(), FilterError> {
        // The filter of an interface that is gone is gone too.
        let is_it = |it: &&Interface| match entry.ifindex {
            0 => it.name == entry.interface,
            ifindex => it.ifindex == IfIndex::new(ifindex),
        };
        let Some(interface) = interfaces.iter().find(is_it) else { return Ok(()) };
        let mac = MacAddress(entry.mac);
        Ok(self.netlink.close_unicast_filter(&interface.name, interface.ifindex, mac).await?)
    }
}

impl Record {
    /// Finds the record of the calling thread's network namespace beside this control socket, and logs which records it
    /// ignores.
    fn find(control: &Path, has_pins: bool) -> Result<Self, FilterError> {
        let namespace = namespace_cookie().map_err(FilterError::Namespace)?;
        Self::find_of(control, namespace, boot(), has_pins)
    }

    /// Returns the empty record of a network namespace.
    fn new(control: &Path, namespace: u64, boot: String) -> Self {
        let path = control.with_file_name(format!("{RECORD}-{namespace}.{EXTENSION}"));
        Self { path, old_record: None, boot, namespace, opened: Vec::new() }
    }

    fn find_of(control: &Path, namespace: u64, boot: String, has_pins: bool) -> Result<Self, FilterError> {
        let old_record = control.with_file_name(format!("{RECORD}.{EXTENSION}"));
        let mut record = Self::new(control, namespace, boot);
        match read(&record.path)?.map(|bytes| serde_json::from_slice::<RecordText>(&bytes)) {
            None => {}
            Some(Ok(RecordText { boot, namespace, opened }))
                if (&boot, namespace) == (&record.boot, record.namespace) =>
            {
                record.opened = opened;
                return Ok(record);
            }
            Some(Ok(_)) => {
                tracing::warn!(
                    "{} belongs to another boot or another network namespace: ignoring it",
                    record.path.display()
                );
            }
            // If a crash cut the record short, no entry was created after it.
            Some(Err(_)) => {}
        }
        if let Some(bytes) = read(&old_record)? {
            if !has_pins {
                tracing::warn!(
                    "{} was written by an earlier version, which recorded no network namespace, and no agent has left \
                     anything else in this one: leaving its entries alone; remove the file if no agent of another \
                     namespace uses it",
                    old_record.display()
                );
                return Ok(record);
            }
            record.opened = serde_json::from_slice(&bytes).unwrap_or_default();
            record.old_record = Some(old_record);
        }
        Ok(record)
    }

    /// Adds an entry that has been created since.
    ///
    /// # Errors
    /// The record cannot be written. The entry exists nevertheless.
    pub fn claim(&mut self, interface: &str, ifindex: IfIndex, mac: MacAddress) -> Result<(), FilterError> {
        let entry = FilterEntry { interface: interface.to_owned(), ifindex: ifindex.get(), mac: mac.0 };
        if self.opened.contains(&entry) {
            return Ok(());
        }
        self.opened.push(entry);
        self.write()
    }

    fn write(&mut self) -> Result<(), FilterError> {
        let Self { path, boot, namespace, opened, .. } = &*self;
        let text = RecordText { boot: boot.clone(), namespace: *namespace, opened: opened.clone() };
        // Renaming is atomic: a crash leaves either the old record or the new one.
        let new = path.with_extension("new");
        serde_json::to_vec(&text)
            .map_err(io::Error::from)
            .and_then(|bytes| fs::write(&new, bytes))
            .and_then(|()| fs::rename(&new, path))
            .map_err(|source| FilterError::Record { path: path.clone(), source })?;
        self.remove_old_record()
    }

    fn remove(&mut self) -> Result<(), FilterError> {
        self.remove_old_record()?;
        // A record of another boot or namespace must not be removed by this agent.
        let is_foreign = read(&self.path)?.is_some_and(|bytes| {
            serde_json::from_slice::<RecordText>(&bytes)
                .is_ok_and(|text| (&text.boot, text.namespace) != (&self.boot, self.namespace))
        });
        if is_foreign { Ok(()) } else { remove(&self.path) }
    }

    fn remove_old_record(&mut self) -> Result<(), FilterError> {
        self.old_record.take().map_or(Ok(()), |path| remove(&path))
    }
}

/// Identifies the running boot. If that is impossible, all boots count as the same one: records are usually in /run and
/// do not survive a boot.
fn boot() -> String {
    fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Largest size of a record in bytes: many times the size of the record of the largest number of virtual routers.
const MAX_RECORD: u64 = 16 << 20;

/// Reads a record. Returns `None` if there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, FilterError> {
    match files::read(path, MAX_RECORD) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.fault.is_not_found() => Ok(None),
        Err(error) => Err(FilterError::Record { path: path.to_owned(), source: error.into() }),
    }
}

/// Removes a record, if there is one.
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
    fn each_namespace_has_its_own_record_and_finds_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let control = directory.path().join("xvrrp.sock");
        find(&control, 1, "a").claim("eth0", IfIndex::new(2), MAC).unwrap();
        find(&control, 2, "a").claim("eth1", IfIndex::new(3), MAC).unwrap();
        assert_eq!(find(&control, 1, "a").opened.len(), 1);
        let mut other = find(&control, 2, "a");
        assert_eq!(other.opened.first().unwrap().interface, "eth1");
        other.remove().unwrap();
        assert_eq!(find(&control, 2, "a").opened, []);
        assert_eq!(find(&control, 1, "a").opened.len(), 1);
    }

    #[test]
    fn the_record_of_a_namespace_that_is_gone_is_removed_unless_it_is_of_another_boot() {
        let directory = tempfile::tempdir().unwrap();
        let control = directory.path().join("xvrrp.sock");
        assert_eq!(remove_record_of_gone(&control, 1).unwrap(), None);
        for (namespace, boot) in [(1, &*boot()), (2, &*boot()), (3, "another")] {
            find(&control, namespace, boot).claim("eth0", IfIndex::new(2), MAC).unwrap();
        }
        let path = directory.path().join("unicast-filters-1.json");
        assert_eq!(remove_record_of_gone(&control, 1).unwrap(), Some(path.clone()));
        assert!(!path.exists());
        assert_eq!(remove_record_of_gone(&control, 3).unwrap(), None);
        assert_eq!(find(&control, 2, &boot()).opened.len(), 1);
        assert_eq!(find(&control, 3, "another").opened.len(), 1);
    }

    #[test]
    fn a_record_of_another_boot_is_neither_applied_nor_removed() {
        let directory = tempfile::tempdir().unwrap();
        let control = directory.path().join("xvrrp.sock");
        find(&control, 1, "a").claim("eth0", IfIndex::new(2), MAC).unwrap();
        let mut later = find(&control, 1, "b");
        assert_eq!(later.opened, []);
        later.remove().unwrap();
        assert_eq!(find(&control, 1, "a").opened.len(), 1);
        // The namespace of that boot no longer exists, and another namespace has its cookie now.
        later.claim("eth0", IfIndex::new(2), MAC).unwrap();
        assert_eq!(find(&control, 1, "b").opened.len(), 1);
    }

    #[test]
    fn the_record_of_an_earlier_version_is_read_and_replaced_when_a_record_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let control = directory.path().join("xvrrp.sock");
        let old_record = directory.path().join("unicast-filters.json");
        fs::write(&old_record, r#"[{"interface":"eth0","mac":[0,0,94,0,1,51]}]"#).unwrap();
        let mut record = find(&control, 1, "a");
        assert_eq!(record.opened, [FilterEntry { interface: "eth0".into(), ifindex: 0, mac: MAC.0 }]);
        record.write().unwrap();
        assert!(!old_record.exists());
        assert_eq!(find(&control, 1, "a").opened.len(), 1);

        fs::write(&old_record, "[").unwrap();
        find(&control, 2, "a").remove().unwrap();
        assert!(!old_record.exists());
    }

    #[test]
    fn the_record_of_an_earlier_version_is_left_alone_in_a_namespace_where_no_agent_has_left_pins() {
        let directory = tempfile::tempdir().unwrap();
        let control = directory.path().join("xvrrp.sock");
        let legacy = directory.path().join("unicast-filters.json");
        fs::write(&legacy, r#"[{"interface":"eth0","mac":[0,0,94,0,1,51]}]"#).unwrap();
        let mut record = Record::find_of(&control, 1, "a".to_owned(), false).unwrap();
        assert_eq!(record.opened, []);
        record.claim("eth1", IfIndex::new(3), MAC).unwrap();
        record.remove().unwrap();
        assert!(legacy.exists());
        assert_eq!(find(&control, 1, "a").opened.len(), 1, "with pins it is this namespace's");
    }
}
