//! Reads the addresses of a `[[virtual_router]]`, with their options.

use std::collections::BTreeMap;
use std::net::IpAddr;

use xvrrp_common::units::{Family, Version, Vrid};

use super::address::{Vip, parse_vip};
use super::error::Reported;
use super::iproute;
use super::keys::{self, Key};
use super::model::{StaticAddress, VirtualRouterConfig};
use super::quote::quote;
use super::section::{Found, Section};

/// The addresses of a virtual router, each with its line.
pub(super) struct ListedAddresses {
    pub advertised: Vec<(Vip, usize)>,
    pub unadvertised: Vec<(Vip, usize)>,
    /// Those that have options.
    pub options: Vec<StaticAddress>,
}

impl ListedAddresses {
    /// Reads both lists. `interface` is `None` if the virtual router has no valid one, which is an error of its own.
    pub fn read(section: &mut Section, version: Version, interface: Option<&str>) -> Result<Self, Reported> {
        let mut reader = AddressReader { version, interface, options: Vec::new() };
        let advertised = reader.read_advertised(section);
        let unadvertised = reader.read_unadvertised(section);
        Ok(Self { advertised: advertised?, unadvertised: unadvertised?, options: reader.options })
    }

    pub fn all(&self) -> impl Iterator<Item = &(Vip, usize)> {
        self.advertised.iter().chain(&self.unadvertised)
    }

    /// Whether the adverts carry addresses of this family.
    pub fn has(&self, family: Family) -> bool {
        self.advertised.iter().any(|(vip, _)| vip.family() == family)
    }

    /// Returns the addresses that are on other interfaces than that of the virtual router, with the names of these.
    pub fn devices(&self, interface: &str) -> BTreeMap<IpAddr, &str> {
        let given = self.options.iter().map(|it| (it.address, it.interface.as_str()));
        given.filter(|(_, device)| *device != interface).collect()
    }

    /// Reports addresses on other interfaces that cannot be there, because they are not installed at all.
    fn check_devices(&self, section: &mut Section, interface: &str, accept: bool) {
        let devices = self.devices(interface);
        let elsewhere = self.all().find_map(|(vip, line)| Some((vip, devices.get(&vip.address)?, *line)));
        if let Some((vip, device, line)) = elsewhere.filter(|_| !accept) {
            let message = format!(
                "\"{vip}\" is on {}, but with accept = false no address is installed, and the kernel half answers only \
                 on {}; remove accept or dev",
                quote(device),
                quote(interface)
            );
            section.report(&keys::ADDRESSES, line, message);
        }
    }

    /// Reports addresses with which the virtual router could not work.
    pub fn check(&self, section: &mut Section, vrid: Option<Vrid>, interface: Option<&str>, accept: Option<bool>) {
        check_ipv6(section, vrid, &self.advertised);
        self.check_unadvertised(section);
        if let (Some(interface), Some(accept)) = (interface, accept) {
            self.check_devices(section, interface, accept);
        }
    }

    /// Reports addresses of a family in which there is no advert.
    fn check_unadvertised(&self, section: &mut Section) {
        if let Some((vip, line)) = self.unadvertised.iter().find(|(vip, _)| !self.has(vip.family())) {
            let message = format!(
                "\"{vip}\" is of a family that addresses does not have; add an address of that family to addresses, or \
                 give this one a virtual router of its own"
            );
            section.report(&keys::UNADVERTISED_ADDRESSES, *line, message);
        }
    }
}

struct AddressReader<'a> {
    version: Version,
    interface: Option<&'a str>,
    options: Vec<StaticAddress>,
}

impl AddressReader<'_> {
    fn read_advertised(&mut self, section: &mut Section) -> Result<Vec<(Vip, usize)>, Reported> {
        let list = section.list(&keys::ADDRESSES)?;
        let (elements, line) = section.required(&keys::ADDRESSES, list)?;
        if elements.is_empty() {
            return Err(section.reject(&keys::ADDRESSES, line, "the list is empty"));
        }
        if elements.len() > VirtualRouterConfig::MAX_ADDRESSES {
            let message = format!(
                "{} addresses are too many; expected at most {} (RFC 9568 5.2.5)",
                elements.len(),
                VirtualRouterConfig::MAX_ADDRESSES
            );
            return Err(section.report(&keys::ADDRESSES, line, message));
        }
        self.parse_all(section, &keys::ADDRESSES, elements)
    }

    fn read_unadvertised(&mut self, section: &mut Section) -> Result<Vec<(Vip, usize)>, Reported> {
        let key = &keys::UNADVERTISED_ADDRESSES;
        let Some((elements, line)) = section.list(key)? else { return Ok(Vec::new()) };
        if elements.len() > VirtualRouterConfig::MAX_UNADVERTISED {
            let wrong = format!("{} addresses are too many", elements.len());
            return Err(section.reject(key, line, wrong));
        }
        self.parse_all(section, key, elements)
    }

    fn parse_all(
        &mut self,
        section: &mut Section,
        key: &Key,
        elements: Vec<Found>,
    ) -> Result<Vec<(Vip, usize)>, Reported> {
        let parsed = section.each(key, elements, |text| self.parse(text))?;
        let vips = parsed.into_iter().map(|((vip, options), line)| {
            self.options.extend(options);
            (vip, line)
        });
        Ok(vips.collect())
    }

    /// Parses an address, and its options if it has any. The error says what is wrong and what is expected.
    fn parse(&self, text: &str) -> Result<(Vip, Option<StaticAddress>), String> {
        let mut words = text.split_whitespace();
        let address = words.next().unwrap_or_default();
        let mut vip = parse_vip(address, self.version).map_err(|error| error.to_string())?;
        let words: Vec<&str> = words.collect();
        if words.is_empty() {
            return Ok((vip, None));
        }
        let interface = self.interface.unwrap_or("lo");
        let has_device = words.contains(&"dev");
        let with_device = if has_device { text.to_owned() } else { format!("{text} dev {interface}") };
        let mut parsed = iproute::parse_address(&with_device).map_err(|wrong| format!("{}: {wrong}", quote(text)))?;
        vip.prefix_length = parsed.prefix_length;
        if parsed.address.is_ipv6() {
            // As without options: no duplicate address detection (RFC 9568 8.2), and no source of this host's
            // connections.
            parsed.nodad = true;
            if !words.contains(&"preferred_lft") {
                parsed.preferred_lifetime = Some(0);
            }
        }
        Ok((vip, Some(parsed)))
    }
}

/// Checks that the first IPv6 address is the link-local address of the virtual router, which is the same on every
/// router of the group (RFC 9568 5.2.9), and that an advert can carry all of them.
fn check_ipv6(section: &mut Section, vrid: Option<Vrid>, addresses: &[(Vip, usize)]) {
    let mut ipv6 = addresses.iter().filter_map(|(vip, line)| match vip.address {
        IpAddr::V6(address) => Some((address, *line)),
        IpAddr::V4(_) => None,
    });
    let Some((first, line)) = ipv6.next() else { return };
    if !first.is_unicast_link_local() {
        let vrid = vrid.map_or(1, Vrid::get);
        let message = format!(
            "\"{first}\" is the first IPv6 address, which must be link-local and the same on every router of the group \
             (RFC 9568 5.2.9); put one before it, such as \"fe80::{vrid:x}/64\""
        );
        section.report(&keys::ADDRESSES, line, message);
    }
    let count = ipv6.count() + 1;
    if count > VirtualRouterConfig::MAX_IPV6_ADDRESSES {
        let max = VirtualRouterConfig::MAX_IPV6_ADDRESSES;
        let message =
            format!("{count} IPv6 addresses are too many; expected at most {max}, which one advert can carry");
        section.report(&keys::ADDRESSES, section.line_of(&keys::ADDRESSES), message);
    }
}
