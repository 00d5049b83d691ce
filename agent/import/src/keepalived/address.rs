//! Reads `virtual_ipaddress` and `virtual_ipaddress_excluded`.

use std::net::Ipv6Addr;

use super::super::location::Located;
use super::super::report::ImportReport;
use super::tree::Statement;

/// An address with its options.
#[derive(Debug)]
pub(super) struct AddressLine {
    /// The address, with its prefix length if it has one. Without one, it is a single address in keepalived and in
    /// xvrrp.
    text: Located<String>,
    options: Vec<String>,
    /// Whether adverts of keepalived do not list it.
    pub excluded: bool,
}

/// Reads the addresses of a block.
pub(super) fn read(block: &Statement, excluded: bool) -> impl Iterator<Item = AddressLine> {
    block.statements().iter().map(move |line| AddressLine {
        text: Located::new(line.keyword.clone(), &line.location),
        options: line.words.clone(),
        excluded,
    })
}

impl AddressLine {
    pub fn is_ipv6(&self) -> bool {
        let address = self.text.value.split('/').next().unwrap_or_default();
        address.parse::<Ipv6Addr>().is_ok()
    }
}

/// Returns the addresses that a virtual router on this interface can have, in their order. Reports the others, and
/// options without a counterpart.
pub(super) fn choose(addresses: &[AddressLine], interface: &str, report: &mut ImportReport) -> Vec<Located<String>> {
    let family = addresses.iter().find(|address| !address.excluded).is_some_and(AddressLine::is_ipv6);
    let fits = |address: &&AddressLine| report_options(address, interface, family, report);
    addresses.iter().filter(fits).map(|address| address.text.clone()).collect()
}

/// Reports options without a counterpart. Returns whether the virtual router can have the address.
fn report_options(address: &AddressLine, interface: &str, ipv6: bool, report: &mut ImportReport) -> bool {
    let AddressLine { text: Located { value: text, location }, options, excluded } = address;
    if address.is_ipv6() != ipv6 {
        let advice = format!(
            "{text} is of the other address family; give it a [[virtual_router]] of its own, in one [[sync_group]] \
             with this one"
        );
        report.add(location, "virtual_ipaddress_excluded", advice);
        return false;
    }
    let mut options = options.iter().map(String::as_str);
    while let Some(option) = options.next() {
        let advice = match option {
            "dev" => match options.next() {
                Some(device) if device != interface => {
                    let advice = format!(
                        "{text} is left out: it is on {device}; give it a [[virtual_router]] of its own there, in one \
                         [[sync_group]] with this one"
                    );
                    report.add(location, "dev", advice);
                    return false;
                }
                _ => continue,
            },
            "label" => {
                options.next();
                "has no counterpart; `ip address show proto 112` lists the addresses that xvrrp has set"
            }
            "scope" => match options.next() {
                Some("global" | "0") => continue,
                _ => "the scope is always global; remove it, or add the address by a notify program",
            },
            "brd" | "broadcast" => {
                options.next();
                "the interface's own address already has the broadcast address of the network; remove it"
            }
            "peer" => {
                options.next();
                "there are no peer addresses; add this one by a notify program"
            }
            "preferred_lft" => {
                options.next();
                "has no counterpart; remove it"
            }
            "use_vmac" => "set virtual_mac of the virtual router instead",
            // With no_track, keepalived keeps the role when something removes the address. xvrrp puts the address back.
            "no_track" => continue,
            "home" | "-nodad" | "mngtmpaddr" | "noprefixroute" | "autojoin" => "has no counterpart; remove it",
            _ => "keepalived has no such option, so it ignores this; write one address on each line",
        };
        report.add(location, option, advice);
    }
    if *excluded {
        let advice = format!(
            "{text} is in addresses now, so adverts list it; if the other router runs keepalived, first move it to \
             virtual_ipaddress there: keepalived drops adverts with other addresses"
        );
        report.add(location, "virtual_ipaddress_excluded", advice);
    }
    true
}
