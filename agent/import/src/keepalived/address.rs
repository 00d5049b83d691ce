//! `virtual_ipaddress` and `virtual_ipaddress_excluded`.

use std::net::Ipv6Addr;

use super::super::place::Located;
use super::super::report::Report;
use super::tree::Statement;

/// An address with its options.
#[derive(Debug)]
pub(super) struct Address {
    /// With its prefix length, if it has one; keepalived's default is a single address, as ours.
    text: Located<String>,
    options: Vec<String>,
    /// Not in adverts.
    pub excluded: bool,
}

pub(super) fn read(block: &Statement, excluded: bool) -> impl Iterator<Item = Address> {
    block.statements().iter().map(move |line| Address {
        text: Located::new(line.keyword.clone(), &line.place),
        options: line.words.clone(),
        excluded,
    })
}

impl Address {
    pub fn is_ipv6(&self) -> bool {
        let address = self.text.value.split('/').next().unwrap_or_default();
        address.parse::<Ipv6Addr>().is_ok()
    }
}

/// Those of a virtual router on the interface, in their order. What they cannot have is reported.
pub(super) fn choose(addresses: &[Address], interface: &str, report: &mut Report) -> Vec<Located<String>> {
    let family = addresses.iter().find(|address| !address.excluded).is_some_and(Address::is_ipv6);
    let fits = |address: &&Address| report_options(address, interface, family, report);
    addresses.iter().filter(fits).map(|address| address.text.clone()).collect()
}

/// Returns whether the address can be one of the virtual router.
fn report_options(address: &Address, interface: &str, ipv6: bool, report: &mut Report) -> bool {
    let Address { text: Located { value: text, place }, options, excluded } = address;
    if address.is_ipv6() != ipv6 {
        let advice = format!(
            "{text} is of the other family: give it a [[virtual_router]] of its own, in one [[sync_group]] with this"
        );
        report.left(place, "virtual_ipaddress_excluded", advice);
        return false;
    }
    let mut options = options.iter().map(String::as_str);
    while let Some(option) = options.next() {
        let advice = match option {
            "dev" => match options.next() {
                Some(device) if device != interface => {
                    let advice = format!(
                        "{text} is left out: it is on {device}; give it a [[virtual_router]] of its own there, in one [[sync_group]] \
                         with this"
                    );
                    report.left(place, "dev", advice);
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
                _ => "the scope is global; remove it, or let a notify program set the address",
            },
            "brd" | "broadcast" => {
                options.next();
                "the interface's own address has the broadcast address of the network; remove it"
            }
            "peer" => {
                options.next();
                "there are no peer addresses; let a notify program set this one"
            }
            "preferred_lft" => {
                options.next();
                "has no counterpart; remove it"
            }
            "use_vmac" => "choose virtual_mac for the virtual router",
            // With it keepalived does not give up the role when something removes the address. xvrrp puts the address back.
            "no_track" => continue,
            "home" | "-nodad" | "mngtmpaddr" | "noprefixroute" | "autojoin" => "has no counterpart; remove it",
            _ => "keepalived has no such option, and ignores it; write one address on each line",
        };
        report.left(place, option, advice);
    }
    if *excluded {
        let advice = format!(
            "{text} is in addresses here, and so in adverts; beside a keepalived, move it to virtual_ipaddress there first: it drops \
             adverts with other addresses"
        );
        report.left(place, "virtual_ipaddress_excluded", advice);
    }
    true
}
