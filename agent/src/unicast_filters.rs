//! The virtual MACs that the network cards' unicast filters let in on our behalf.
//!
//! Such an entry outlives the process and cannot be marked as ours. So it is written down before it is made, and an
//! agent that starts after a crash removes what its predecessor wrote down.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use xvrrp_common::units::MacAddress;

use crate::net::{Interface, NetError, Netlink};

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
    mac: [u8; 6],
}

impl UnicastFilters {
    /// Closes what a predecessor left open. `record` is the file that it, and we, write down entries in.
    pub async fn recover(netlink: Netlink, record: PathBuf, interfaces: &[Interface]) -> Result<Self, FilterError> {
        let opened = read(&record)?;
        let mut filters = Self { netlink, record, opened };
        filters.close_all(interfaces).await?;
        Ok(filters)
    }

    /// Opens the filters for all of `wanted`, (interface, MAC).
    pub async fn open(&mut self, wanted: &[(&Interface, MacAddress)]) -> Result<(), FilterError> {
        self.opened =
            wanted.iter().map(|(interface, mac)| Entry { interface: interface.name.clone(), mac: mac.0 }).collect();
        if self.opened.is_empty() {
            return Ok(());
        }
        write(&self.record, &self.opened)?;
        let mut foreign = Vec::new();
        for (interface, mac) in wanted {
            if !self.netlink.open_unicast_filter(&interface.name, interface.ifindex, *mac).await? {
                foreign.push(Entry { interface: interface.name.clone(), mac: mac.0 });
            }
        }
        // What somebody else has opened is not ours to close.
        if !foreign.is_empty() {
            self.opened.retain(|entry| !foreign.contains(entry));
            write(&self.record, &self.opened)?;
        }
        Ok(())
    }

    /// Closes all that is open; tries every one, and returns the first failure.
    pub async fn close_all(&mut self, interfaces: &[Interface]) -> Result<(), FilterError> {
        let mut outcome = Ok(());
        for entry in self.opened.drain(..) {
            let Some(interface) = interfaces.iter().find(|interface| interface.name == entry.interface) else {
                continue;
            };
            let mac = MacAddress(entry.mac);
            let closed = self.netlink.close_unicast_filter(&interface.name, interface.ifindex, mac).await;
            outcome = outcome.and(closed);
        }
        outcome?;
        match fs::remove_file(&self.record) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(FilterError::Record { path: self.record.clone(), source })
            }
            _ => Ok(()),
        }
    }
}

fn read(record: &Path) -> Result<Vec<Entry>, FilterError> {
    match fs::read(record) {
        // A record that a crash cut short was followed by no entry.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(FilterError::Record { path: record.to_owned(), source }),
    }
}

fn write(record: &Path, entries: &[Entry]) -> Result<(), FilterError> {
    let bytes = serde_json::to_vec(entries).map_err(io::Error::from);
    bytes
        .and_then(|bytes| fs::write(record, bytes))
        .map_err(|source| FilterError::Record { path: record.to_owned(), source })
}
