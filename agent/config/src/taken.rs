//! Names, VRIDs, addresses and services that must be unique.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use xvrrp_common::units::{Family, Vrid};

use super::error::Reported;
use super::keys;
use super::quote::quote;
use super::section::Section;

/// What the virtual routers and sync groups that were read so far have taken.
#[derive(Default)]
pub(super) struct Taken {
    names: HashMap<String, usize>,
    groups: HashMap<String, usize>,
    services: HashMap<String, Holder>,
    vrids: HashMap<(String, Family, Vrid), Holder>,
    addresses: HashMap<(String, IpAddr), Holder>,
}

/// The first table that took something. Displays as its name and line.
struct Holder {
    place: String,
    line: usize,
}

impl Taken {
    /// Takes the name of a virtual router.
    pub fn claim_name(&mut self, section: &mut Section) -> Result<String, Reported> {
        claim_name(&mut self.names, section)
    }

    /// Takes the name of a sync group, which may also be the name of a virtual router.
    pub fn claim_group_name(&mut self, section: &mut Section) -> Result<String, Reported> {
        claim_name(&mut self.groups, section)
    }

    /// Takes a service: a unit that one role starts must not be stopped by another.
    pub fn claim_service(&mut self, section: &mut Section, unit: &str, line: usize) -> Result<(), Reported> {
        match self.services.entry(unit.to_owned()) {
            Entry::Vacant(vacant) => {
                vacant.insert(Holder { place: section.place.clone(), line });
                Ok(())
            }
            Entry::Occupied(first) => {
                let message =
                    format!("{} already follows the role of {}; remove it from one of them", quote(unit), first.get());
                Err(section.report(&keys::SERVICES, line, message))
            }
        }
    }

    /// Takes a VRID, which is unique on its interface for each family (RFC 9568 5.2.3), whatever the version: both
    /// versions would use the same virtual MAC address.
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

    /// Takes an address. It has one MAC address at a time, so it can be used by one virtual router of an interface.
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
                    format!(
                        "{address} is already used on interface {} by {first}; remove it from one of them",
                        quote(interface)
                    )
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
