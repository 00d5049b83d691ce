//! The virtual MACs that the network cards' unicast filters let in on our behalf.
//!
//! Such an entry outlives the process and cannot be marked as ours. So it is written down before it is made, and an
//! agent that starts after a crash removes what its predecessor wrote down.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use xvrrp_common::units::MacAddress;

use crate::files;
use crate::net::{Interface, NetError, Netlink};

/// The file's name.
const RECORD: &str = "unicast-filters.json";

#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error("cannot keep the record of opened unicast filters in {path}: {source}; the directory must be writable")]
    Record { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Net(#[from] NetError),
}

/// See the module.
#[derive(Debug)]
pub struct UnicastFilters {
    netlink: Netlink,
    record: PathBuf,
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
    /// Finds what a predecessor left open. It has written that down beside the control socket, as we do.
    pub fn recover(netlink: Netlink, control: &Path) -> Result<Self, FilterError> {
        let record = control.with_file_name(RECORD);
        let opened = read(&record)?;
        Ok(Self { netlink, record, opened })
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
        let left = self.opened.clone();
        let wanted_ones: Vec<Entry> = wanted.iter().map(entry).collect();
        for unwanted in left.iter().filter(|entry| !wanted_ones.contains(entry)) {
            self.close(unwanted, interfaces).await?;
            self.opened.retain(|entry| entry != unwanted);
        }
        self.opened = wanted_ones;
        if self.opened.is_empty() {
            return self.remove_record();
        }
        write(&self.record, &self.opened)?;
        let mut foreign = Vec::new();
        for pair @ (interface, mac) in wanted {
            let opened = self.netlink.open_unicast_filter(&interface.name, interface.ifindex, *mac).await?;
            if !opened && !left.contains(&entry(pair)) {
                foreign.push(entry(pair));
            }
        }
        // What somebody else has opened is not ours to close.
        if !foreign.is_empty() {
            self.opened.retain(|entry| !foreign.contains(entry));
            write(&self.record, &self.opened)?;
        }
        Ok(())
    }

    /// What is open, for a reader: `MAC on INTERFACE`.
    pub fn open_ones(&self) -> impl Iterator<Item = String> {
        self.opened.iter().map(|entry| format!("{} on {}", MacAddress(entry.mac), entry.interface))
    }

    /// Closes all that is open; tries every one, and returns the first failure.
    pub async fn close_all(&mut self, interfaces: &[Interface]) -> Result<(), FilterError> {
        let mut outcome = Ok(());
        for entry in std::mem::take(&mut self.opened) {
            outcome = outcome.and(self.close(&entry, interfaces).await);
        }
        outcome.and_then(|()| self.remove_record())
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

    fn remove_record(&self) -> Result<(), FilterError> {
        match fs::remove_file(&self.record) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(FilterError::Record { path: self.record.clone(), source })
            }
            _ => Ok(()),
        }
    }
}

/// Many times as long as the record of as many virtual routers as there can be.
const MAX_RECORD: u64 = 16 << 20;

fn read(record: &Path) -> Result<Vec<Entry>, FilterError> {
    match files::read(record, MAX_RECORD) {
        // A record that a crash cut short was followed by no entry.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
        Err(error) if error.fault.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(FilterError::Record { path: record.to_owned(), source: error.into() }),
    }
}

fn write(record: &Path, entries: &[Entry]) -> Result<(), FilterError> {
    let bytes = serde_json::to_vec(entries).map_err(io::Error::from);
    // A crash leaves the one or the other.
    let new = record.with_extension("new");
    bytes
        .and_then(|bytes| fs::write(&new, bytes))
        .and_then(|()| fs::rename(&new, record))
        .map_err(|source| FilterError::Record { path: record.to_owned(), source })
}
