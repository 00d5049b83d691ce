//! Reads values that occur in several kinds of tables.

use toml::de::DeTable;
use xvrrp_common::units::Family;

use super::address_list::ListedAddresses;
use super::error::Reported;
use super::keys::{self, Key};
use super::quote::quote;
use super::section::Section;

/// Longest path, in bytes: `PATH_MAX` of linux/limits.h without the final NUL.
pub(super) const MAX_PATH: usize = 4095;

/// Returns the name of a table in messages: its `name`, or its number, counted from 1.
pub(super) fn name_or_number(table: &DeTable, number: usize) -> String {
    match table.get(keys::NAME.name).and_then(|name| name.get_ref().as_str()) {
        Some(name) if !name.is_empty() => quote(name),
        _ => format!("#{number}"),
    }
}

/// Reads `interface`: a name that the kernel's `dev_valid_name` accepts, without control characters.
pub(super) fn read_interface(section: &mut Section) -> Result<String, Reported> {
    let name = section.string(&keys::INTERFACE)?;
    let name = section.required(&keys::INTERFACE, name)?;
    let valid = (1..=15).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control());
    if !valid {
        let wrong = format!("{} is not a valid interface name", quote(name));
        return Err(section.reject(&keys::INTERFACE, section.line_of(&keys::INTERFACE), wrong));
    }
    Ok(name.to_owned())
}

/// Reports a family in which the virtual router has addresses but the key lists no other router, and a family in which
/// it is the reverse.
pub(super) fn check_listed(
    section: &mut Section,
    key: &Key,
    what: &str,
    addresses: &ListedAddresses,
    listed: &[Family],
) {
    for (family, name, example) in [(Family::Ipv4, "IPv4", "192.0.2.2"), (Family::Ipv6, "IPv6", "fe80::2")] {
        let message = match (addresses.has(family), listed.contains(&family)) {
            (true, false) => format!(
                "no {name} address is listed, so no other router would be heard over {name}; add the {name} addresses \
                 of the other routers, such as \"{example}\""
            ),
            (false, true) if addresses.advertised.is_empty() => {
                format!("the adverts are not over {name}; remove the {name} {what}, or set family = \"{family}\"")
            }
            (false, true) => format!("the virtual router has no {name} address; remove the {name} {what}"),
            _ => continue,
        };
        section.report(key, section.line_of(key), message);
    }
}
