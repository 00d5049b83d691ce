//! What no two virtual routers may share.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use xvrrp_common::units::{Family, Vrid};

use super::error::Reported;
use super::keys;
use super::section::{Section, quote};

/// Names, VRIDs and addresses of the virtual routers read so far, and names of sync groups.
#[derive(Default)]
pub(super) struct Taken {
    names: HashMap<String, usize>,
    groups: HashMap<String, usize>,
    services: HashMap<String, Holder>,
    vrids: HashMap<(String, Family, Vrid), Holder>,
    addresses: HashMap<(String, IpAddr), Holder>,
}

/// Who had it first, and where.
struct Holder {
    place: String,
    line: usize,
}

impl Taken {
    /// The name of a virtual router.
    pub fn claim_name(&mut self, section: &mut Section) -> Result<String, Reported> {
        claim_name(&mut self.names, section)
    }

    /// The name of a sync group, which may be that of a virtual router, too.
    pub fn claim_group_name(&mut self, section: &mut Section) -> Result<String, Reported> {
        claim_name(&mut self.groups, section)
    }

    /// Who is started by one role must not be stopped by another.
    pub fn claim_service(&mut self, section: &mut Section, unit: &str, line: usize) -> Result<(), Reported> {
        match self.services.entry(unit.to_owned()) {
            Entry::Vacant(vacant) => {
                vacant.insert(Holder { place: section.place.clone(), line });
                Ok(())
            }
            Entry::Occupied(first) => {
                let message = format!("{} already follows the role of {}; remove one", quote(unit), first.get());
                Err(section.report(&keys::SERVICES, line, message))
            }
        }
    }

    /// The VRID of a virtual router is unique on its interface for each family (RFC 9568 5.2.3), whatever the version:
    /// both versions would use the same virtual MAC address.
    pub fn claim_vrid(&mut self, section: &mut Section, interface: &str, family: Family, vrid: Vrid) {
        let line = section.line_of(&keys::VRID);
        match self.vrids.entry((interface.to_owned(), family, vrid)) {
            Entry::Vacant(vacant) => {
                vacant.insert(Holder { place: section.place.clone(), line });
            }
            Entry::Occupied(first) => {
                let message = format!(
                    "{vrid} is already used on interface {} by {}; choose another",
                    quote(interface),
                    first.get()
                );
                section.report(&keys::VRID, line, message);
            }
        }
    }

    /// An address can have one MAC address at a time, so one virtual router of an interface.
    pub fn claim_address(&mut self, section: &mut Section, interface: &str, address: IpAddr, line: usize) {
        match self.addresses.entry((interface.to_owned(), address)) {
            Entry::Vacant(vacant) => {
                vacant.insert(Holder { place: section.place.clone(), line });
            }
            Entry::Occupied(first) => {
                let first = first.get();
                let message = if first.place == section.place {
                    format!("{address} is listed twice, first on line {}; remove one", first.line)
                } else {
                    format!("{address} is already used on interface {} by {first}; remove one", quote(interface))
                };
                section.report(&keys::ADDRESSES, line, message);
            }
        }
    }
}

fn claim_name(taken: &mut HashMap<String, usize>, section: &mut Section) -> Result<String, Reported> {
    let name = section.identifier(&keys::NAME)?;
    let name = section.required(&keys::NAME, name)?;
    let line = section.line_of(&keys::NAME);
    match taken.entry(name.to_owned()) {
        Entry::Vacant(vacant) => {
            vacant.insert(line);
            Ok(name.to_owned())
        }
        Entry::Occupied(first) => {
            let message = format!("{} is already taken on line {}; choose another", quote(name), first.get());
            Err(section.report(&keys::NAME, line, message))
        }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (line {})", self.place, self.line)
    }
}
