//! Imports the `vrrp` lines of FRR: of frr.conf or vrrpd.conf.

use std::net::IpAddr;
use std::path::Path;

use super::document::Table;
use super::error::ImportError;
use super::input::read_text;
use super::location::{Located, Location};
use super::names::TakenNames;
use super::report::ImportReport;
use super::time::duration;

/// FRR's default, in milliseconds.
const DEFAULT_INTERVAL: u32 = 1_000;
/// Unit of intervals in adverts of version 2, in milliseconds.
const SECOND: u32 = 1_000;
const DEFAULT_PRIORITY: u32 = 100;

/// Values of a virtual router, or defaults of all.
#[derive(Clone, Debug, Default)]
struct Values {
    version: Option<Located<u32>>,
    priority: Option<Located<u32>>,
    /// In milliseconds.
    interval: Option<Located<u32>>,
    preempt: Option<Located<bool>>,
    pseudo_header: Option<Located<bool>>,
    shutdown: Option<Located<bool>>,
}

#[derive(Debug)]
struct Router {
    interface: Located<String>,
    vrid: Located<u32>,
    values: Values,
    addresses: Vec<Located<IpAddr>>,
}

/// Returns whether a line is one of FRR's.
pub(super) fn is_line(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["frr", "version" | "defaults", ..] => true,
        ["vrrp" | "no", rest @ ..] => {
            let rest = rest.strip_prefix(&["vrrp"]).unwrap_or(rest);
            rest.first().is_some_and(|word| word.parse::<u8>().is_ok() || matches!(*word, "default" | "autoconfigure"))
        }
        _ => false,
    }
}

/// Returns the tables of the result, which are not checked yet.
pub(super) fn import(path: &Path, report: &mut ImportReport) -> Result<Vec<Table>, ImportError> {
    let mut reader = Reader { interface: None, defaults: Values::default(), routers: Vec::new(), report };
    let first = Location::new(path, 0);
    for (index, line) in read_text(path)?.lines().enumerate() {
        reader.line(line, &first.at(index + 1));
    }
    let Reader { defaults, routers, report, .. } = reader;
    let Some(router) = routers.first() else {
        report.add(&first, "vrrp", "the file has no virtual router, so there is nothing for xvrrp to do");
        return Ok(Vec::new());
    };
    let advice = "FRR needs a macvlan device with the virtual MAC for each family; xvrrp needs none: remove these devices, \
                  and `vrrp` from FRR's configuration";
    report.changed(&router.vrid.location, "vrrp", advice);
    let mut names = TakenNames::default();
    Ok(routers.iter().filter_map(|router| router.table(&defaults, &mut names, report)).collect())
}

struct Reader<'a> {
    /// The interface whose block is being read.
    interface: Option<Located<String>>,
    defaults: Values,
    routers: Vec<Router>,
    report: &'a mut ImportReport,
}

impl Reader<'_> {
    fn line(&mut self, line: &str, location: &Location) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            [word, ..] if word.starts_with(['!', '#']) => {}
            ["interface", name, ..] => {
                self.interface = Some(Located::new((*name).to_owned(), &location.of("interface")));
            }
            ["no", "vrrp", rest @ ..] => self.vrrp(rest, true, location),
            ["vrrp", rest @ ..] => self.vrrp(rest, false, location),
            ["exit" | "end" | "router" | "vrf" | "line", ..] => self.interface = None,
            // Other lines concern other daemons.
            _ => {}
        }
    }

    fn vrrp(&mut self, words: &[&str], negated: bool, location: &Location) {
        let (number, rest) = match words {
            ["autoconfigure", ..] if negated => return,
            ["autoconfigure", ..] => {
                let advice = "FRR makes virtual routers of the macvlan devices that it finds; write them out as \
                              `show vrrp` lists them";
                return self.report.add(location, "vrrp autoconfigure", advice);
            }
            ["default", rest @ ..] => {
                if let Err(wrong) = self.defaults.set(rest, negated, location) {
                    self.report.add(location, "vrrp default", wrong);
                }
                return;
            }
            [number, rest @ ..] => (number, rest),
            [] => return self.report.add(location, "vrrp", "has no VRID; add one"),
        };
        let (Some(vrid), Some(interface)) =
            (number.parse().ok().filter(|vrid| (1..=255).contains(vrid)), &self.interface)
        else {
            let advice =
                format!("{number:?} is not a VRID from 1 to 255 in the block of an interface; correct the line");
            return self.report.add(location, "vrrp", advice);
        };
        let same = |router: &Router| router.vrid.value == vrid && router.interface.value == interface.value;
        if negated && rest.is_empty() {
            return self.routers.retain(|router| !same(router));
        }
        let position = self.routers.iter().position(same).unwrap_or_else(|| {
            let (interface, vrid) = (interface.clone(), Located::new(vrid, &location.of(&format!("vrrp {vrid}"))));
            self.routers.push(Router { interface, vrid, values: Values::default(), addresses: Vec::new() });
            self.routers.len() - 1
        });
        let Some(router) = self.routers.get_mut(position) else { return };
        if let Err(wrong) = router.set(rest, negated, location) {
            self.report.add(location, &format!("vrrp {vrid}"), wrong);
        }
    }
}

impl Router {
    /// Reads what follows the VRID. The error says what is wrong.
    fn set(&mut self, words: &[&str], negated: bool, location: &Location) -> Result<(), String> {
        let ["ip" | "ipv6", address, ..] = words else { return self.values.set(words, negated, location) };
        let address: IpAddr = address.parse().map_err(|_| format!("{address:?} is not an IP address; correct it"))?;
        self.addresses.retain(|known| known.value != address);
        if !negated {
            let family = if address.is_ipv4() { "ip" } else { "ipv6" };
            self.addresses.push(Located::new(address, &location.of(family)));
        }
        Ok(())
    }

    /// Makes the table `[[virtual_router]]`, unless FRR does not run it either.
    fn table(&self, defaults: &Values, names: &mut TakenNames, report: &mut ImportReport) -> Option<Table> {
        let Self { interface, vrid, values, addresses } = self;
        let location = &vrid.location;
        let title = format!("vrrp {}", vrid.value);
        if let Some(shutdown) = values.shutdown.as_ref().or(defaults.shutdown.as_ref()).filter(|it| it.value) {
            report.note(&shutdown.location, &title, "is shut down, so FRR does not run it either");
            return None;
        }
        if addresses.is_empty() {
            report.add(location, &title, "has no address; add one, as in: vrrp 5 ip 192.0.2.1");
            return None;
        }
        let mut table = Table::new("[[virtual_router]]", location);
        table.set("name", names.claim(&format!("{}-{}", interface.value, vrid.value)), location);
        table.set("interface", interface.value.as_str(), &interface.location);
        table.set("vrid", vrid.value, &location.of("vrrp"));
        let version = values.version.as_ref().or(defaults.version.as_ref());
        match version {
            Some(version) => table.set("version", version.value, &version.location),
            None => table.choose("version", 3, "FRR: no version, so its default"),
        }
        let version = version.map_or(3, |version| version.value);
        match values.priority.as_ref().or(defaults.priority.as_ref()) {
            Some(priority) => table.set("priority", priority.value, &priority.location),
            None => table.choose("priority", DEFAULT_PRIORITY, "FRR: no priority, so its default"),
        }
        write_interval(version, values.interval.as_ref().or(defaults.interval.as_ref()), &mut table, report);
        self.write_addresses(&title, &mut table, report);
        if let Some(preempt) = values.preempt.as_ref().or(defaults.preempt.as_ref()).filter(|it| !it.value) {
            table.set("preempt", false, &preempt.location);
        }
        let plain = values.pseudo_header.as_ref().or(defaults.pseudo_header.as_ref()).filter(|it| !it.value);
        if let Some(plain) = plain
            && version == 3
            && addresses.iter().any(|address| address.value.is_ipv4())
        {
            table.set("checksum", "plain", &plain.location);
        }
        Some(table)
    }

    /// Adds the addresses. The first one of IPv6 is link-local (RFC 9568 5.2.9).
    fn write_addresses(&self, title: &str, table: &mut Table, report: &mut ImportReport) {
        let Self { vrid, addresses, .. } = self;
        let rank = |address: &Located<IpAddr>| match address.value {
            IpAddr::V4(_) => 0,
            IpAddr::V6(address) if address.is_unicast_link_local() => 1,
            IpAddr::V6(_) => 2,
        };
        let mut sorted = addresses.clone();
        sorted.sort_by_key(rank);
        if sorted.first().is_some_and(|first| first.value.is_ipv4())
            && sorted.last().is_some_and(|it| it.value.is_ipv6())
        {
            let advice =
                "FRR elects an Active router for each family by itself; here, both families change role together";
            report.changed(&vrid.location, title, advice);
        }
        report.note(
            &vrid.location,
            title,
            "its addresses have no prefix length in FRR's configuration, and become single addresses; add the prefix length \
             of the macvlan device if it matters",
        );
        let sorted = sorted.into_iter().map(|it| Located::new(it.value.to_string(), &it.location)).collect();
        table.set_list_with_note("addresses", sorted, Some("an address without a prefix length is a single address"));
    }
}

/// Adds the interval, in whole seconds for version 2.
fn write_interval(version: u32, interval: Option<&Located<u32>>, table: &mut Table, report: &mut ImportReport) {
    let Some(Located { value, location }) = interval else {
        table.choose(
            "advert_interval",
            duration(u64::from(DEFAULT_INTERVAL) * 1_000),
            "FRR: no advertisement-interval, so its default",
        );
        return;
    };
    let rounded = if version == 2 { (value / SECOND).max(1) * SECOND } else { *value };
    let shown = duration(u64::from(rounded) * 1_000);
    if rounded != *value {
        let advice = format!("becomes {shown}: version 2 has whole seconds");
        report.changed(location, "advertisement-interval", advice);
    }
    table.set("advert_interval", shown, location);
}

impl Values {
    /// Reads what follows the VRID, or `default`. The error says what is wrong.
    fn set(&mut self, words: &[&str], negated: bool, location: &Location) -> Result<(), String> {
        let number = |text: &str, range: std::ops::RangeInclusive<u32>| {
            let number = text.parse().ok().filter(|number| range.contains(number));
            let (least, most) = (range.start(), range.end());
            number
                .map(|number| Located::new(number, location))
                .ok_or_else(|| format!("{text:?} is not a number from {least} to {most}; correct it"))
        };
        let switch = || Some(Located::new(!negated, location));
        match words {
            [] => {}
            ["version" | "priority" | "advertisement-interval", ..] if negated => match words.first() {
                Some(&"version") => self.version = None,
                Some(&"priority") => self.priority = None,
                _ => self.interval = None,
            },
            ["version", version, ..] => self.version = Some(number(version, 2..=3)?),
            ["priority", priority, ..] => self.priority = Some(number(priority, 1..=254)?),
            ["advertisement-interval", interval, ..] => self.interval = Some(number(interval, 10..=40_950)?),
            ["preempt", ..] => self.preempt = switch(),
            ["checksum-with-ipv4-pseudoheader", ..] => self.pseudo_header = switch(),
            ["shutdown", ..] => self.shutdown = switch(),
            [other, ..] => {
                return Err(format!("the import does not know {other:?}; see docs/configuration.md for a key"));
            }
        }
        Ok(())
    }
}
