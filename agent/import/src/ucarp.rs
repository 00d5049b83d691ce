//! Refuses configurations of ucarp, whose protocol VRRP routers do not understand, and shows what to write instead.

use std::path::Path;

use super::error::ImportError;
use super::location::Location;

/// What a configuration of ucarp says about an address.
#[derive(Debug, Default)]
struct Found<'a> {
    interface: Option<&'a str>,
    vhid: Option<&'a str>,
    address: Option<&'a str>,
}

/// Returns an error if these are lines with a command `ucarp`, options `ucarp-*` as in /etc/network/interfaces, or
/// variables as in /etc/ucarp.
pub(super) fn refuse(path: &Path, lines: &[&str]) -> Option<ImportError> {
    let uncommented = |line: &'_ str| !line.starts_with('#');
    let index = lines.iter().position(|line| uncommented(line) && is_line(line))?;
    let mut found = Found::default();
    // The interface of the options in /etc/network/interfaces comes before them.
    let mut before = lines.get(..index).unwrap_or_default().iter().rev();
    let interface = before.find_map(|line| line.strip_prefix("iface "));
    found.interface = interface.and_then(|rest| rest.split_whitespace().next());
    for line in lines.get(index..).unwrap_or_default().iter().filter(|line| uncommented(line)) {
        found.read(line);
    }
    let mut keys = String::new();
    if let Some(interface) = found.interface {
        keys += &format!(" interface = {interface:?},");
    }
    if let Some(vhid) = found.vhid {
        keys += &format!(" vrid = {vhid},");
    }
    if let Some(address) = found.address {
        keys += &format!(" addresses = [{address:?}],");
    }
    let with = if keys.is_empty() { String::new() } else { format!(" with{}", keys.trim_end_matches(',')) };
    Some(ImportError::at(
        Location::new(path, 0).at(index + 1),
        format_args!(
            "this is a configuration of ucarp, which speaks CARP and not VRRP, so that all hosts must change at the same \
             time; write a [[virtual_router]]{with} (docs/configuration.md)"
        ),
    ))
}

fn is_line(line: &str) -> bool {
    let command = |word: &str| word == "ucarp" || word.ends_with("/ucarp");
    let mut words = line.split_whitespace();
    line.split_whitespace().any(command)
        || words.next().is_some_and(|word| word.starts_with("ucarp-"))
        || is_variable(line)
}

/// Returns whether this line sets a variable that only /etc/ucarp has.
pub(super) fn is_variable(line: &str) -> bool {
    variable(line).is_some_and(|(name, _)| matches!(name, "VIP_ADDRESS" | "BIND_INTERFACE"))
}

/// Splits `NAME=value`, without the quotes of the value.
fn variable(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    Some((name.trim(), value.trim().trim_matches(['"', '\''])))
}

impl<'a> Found<'a> {
    /// Reads the options in a line.
    fn read(&mut self, line: &'a str) {
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            let (name, value) = match variable(word) {
                Some((name, value)) => (name, Some(value)),
                None => match word.split_at_checked(2) {
                    // The value of an option with one letter may follow it directly.
                    Some((name @ ("-i" | "-v" | "-a"), value)) if !value.is_empty() => (name, Some(value)),
                    _ => (word, None),
                },
            };
            let place = match name {
                "-i" | "--interface" | "BIND_INTERFACE" => &mut self.interface,
                "-v" | "--vhid" | "ucarp-vid" | "ID" => &mut self.vhid,
                "-a" | "--addr" | "ucarp-vip" | "VIP_ADDRESS" => &mut self.address,
                _ => continue,
            };
            if let Some(value) = value.or_else(|| words.next()) {
                place.get_or_insert(value);
            }
        }
    }
}
