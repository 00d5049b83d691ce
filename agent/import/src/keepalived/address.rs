//! Reads `virtual_ipaddress` and `virtual_ipaddress_excluded`.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};

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
        self.parsed().is_some_and(|address| address.is_ipv6())
    }

    /// Returns the interface of an address that adverts do not list: it may be on several. The others are unique.
    fn device(&self) -> Option<&str> {
        let at = self.options.iter().position(|option| option == "dev").filter(|_| self.excluded)?;
        self.options.get(at + 1).map(String::as_str)
    }

    /// Returns whether it has a virtual MAC in keepalived, if it is on another interface than this one.
    pub fn elsewhere(&self, interface: &str) -> Option<bool> {
        let device = self.options.iter().skip_while(|option| *option != "dev").nth(1)?;
        (device != interface).then(|| self.options.iter().any(|option| option == "use_vmac"))
    }

    /// Returns the address with its prefix length, if it has one. keepalived ignores a prefix length that is not valid.
    fn value(&self, report: &mut ImportReport) -> Located<String> {
        let Located { value: text, location } = &self.text;
        let Some((address, prefix_length)) = text.split_once('/') else { return self.text.clone() };
        let most = if self.is_ipv6() { 128 } else { 32 };
        let value = match prefix_length.parse::<u8>().ok().filter(|length| *length <= most) {
            Some(length) => format!("{address}/{length}"),
            None => {
                let advice = format!("{text} is {address}/{most} for keepalived, and here; correct the prefix length");
                report.changed(location, self.directive(), advice);
                address.to_owned()
            }
        };
        Located::new(value, location)
    }

    fn directive(&self) -> &'static str {
        if self.excluded { "virtual_ipaddress_excluded" } else { "virtual_ipaddress" }
    }

    /// Returns the address without its prefix length, if it is one.
    pub fn parsed(&self) -> Option<IpAddr> {
        self.text.value.split('/').next()?.parse().ok()
    }
}

/// The addresses that a virtual router can have.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// Those that adverts list.
    pub advertised: Vec<Located<String>>,
    pub unadvertised: Vec<Located<String>>,
    /// The first IPv6 address that adverts list.
    pub first: Option<Located<Ipv6Addr>>,
}

/// Returns the addresses that a virtual router on this interface can have, in their order. `ipv6` says whether its
/// adverts are over IPv6. Reports the other addresses, and options without a counterpart.
pub(super) fn choose(addresses: &[AddressLine], interface: &str, ipv6: bool, report: &mut ImportReport) -> Chosen {
    let (mut seen, mut installed) = (HashSet::new(), HashSet::new());
    let mut chosen = Chosen::default();
    for address in addresses {
        let parsed = address.parsed();
        let ignored = if parsed.is_none() {
            Some("is not an IP address, so keepalived ignores the line; correct it")
        } else if !address.excluded && address.is_ipv6() != ipv6 {
            Some("is not of the family of the adverts, so keepalived ignores it; remove it")
        } else if !seen.insert((parsed, address.device())) {
            Some("is listed twice, and keepalived uses the first; remove one")
        } else {
            None
        };
        if let Some(why) = ignored {
            let Located { value: text, location } = &address.text;
            report.changed(location, address.directive(), format!("{text:?} {why}"));
        } else if !installed.insert(parsed) {
            let Located { value: text, location } = &address.text;
            let advice = format!(
                "{text} is on another interface already; give it a [[virtual_router]] of its own here, in one \
                 [[sync_group]] with this one"
            );
            report.add(location, address.directive(), advice);
        } else {
            let options = read_options(address, interface, report);
            let Located { value, location } = address.value(report);
            if let (Some(IpAddr::V6(first)), false) = (parsed, address.excluded) {
                chosen.first.get_or_insert(Located::new(first, &location));
            }
            let list = if address.excluded { &mut chosen.unadvertised } else { &mut chosen.advertised };
            list.push(Located::new(format!("{value}{options}"), &location));
        }
    }
    chosen
}

/// Returns the options in the words of ip(8), each after a space. Reports those without a counterpart.
fn read_options(address: &AddressLine, interface: &str, report: &mut ImportReport) -> String {
    let AddressLine { text: Located { location, .. }, options, .. } = address;
    let ipv6 = address.is_ipv6();
    let mut read = String::new();
    let mut unknown = Vec::new();
    let mut options = options.iter().map(String::as_str);
    while let Some(option) = options.next() {
        match option {
            "dev" => match options.next() {
                Some(device) if device != interface => read += &format!(" dev {device}"),
                _ => {}
            },
            "label" | "scope" | "brd" | "broadcast" | "peer" | "preferred_lft" => {
                let Some(value) = options.next() else { continue };
                if ipv6 && matches!(option, "label" | "scope" | "brd" | "broadcast") {
                    report.note(location, option, "the kernel knows it for IPv4 only, so keepalived ignores it too");
                } else {
                    let option = if option == "broadcast" { "brd" } else { option };
                    read += &format!(" {option} {value}");
                }
            }
            "home" | "mngtmpaddr" if !ipv6 => {
                report.changed(location, option, "the kernel knows it for IPv6 only; remove it");
            }
            "home" | "mngtmpaddr" | "noprefixroute" | "autojoin" | "no_track" => read += &format!(" {option}"),
            "-nodad" => {
                let advice = "a virtual address is installed without duplicate address detection, because its last \
                              owner may still have it (RFC 9568 8.2)";
                report.changed(location, option, advice);
            }
            "use_vmac" => {
                let advice = "the address has the MAC of its interface; virtual_mac is for a whole virtual router";
                report.changed(location, option, advice);
            }
            _ => unknown.push(option),
        }
    }
    if !unknown.is_empty() {
        let unknown = unknown.join(" ");
        let advice = format!("keepalived knows no option {unknown:?}, and ignores it; write one address on each line");
        report.changed(location, address.directive(), advice);
    }
    read
}
