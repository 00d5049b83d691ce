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
    /// Family of the adverts if they list no address.
    pub family: Family,
    pub link_local_first: bool,
}

impl ListedAddresses {
    /// Reads both lists, and reports addresses with which the virtual router could not work. `version`, `interface` and
    /// `vrid` are `None` if the virtual router has no valid ones, which are errors of their own.
    pub fn read(
        section: &mut Section,
        version: Option<Version>,
        interface: Option<&str>,
        vrid: Option<Vrid>,
    ) -> Result<Self, Reported> {
        let mut reader = AddressReader { version: version.unwrap_or(Version::V3), interface, options: Vec::new() };
        let advertised = reader.read_advertised(section);
        // Version 2 has IPv4 adverts only, but these addresses are not in the adverts.
        reader.version = Version::V3;
        let unadvertised = reader.read_unadvertised(section);
        let link_local_first = section.boolean(&keys::LINK_LOCAL_FIRST, true);
        let (advertised, unadvertised, link_local_first) = (advertised?, unadvertised?, link_local_first?);
        check_ipv6(section, vrid, &advertised, link_local_first);
        let (options, family) = (reader.options, Family::Ipv4);
        Ok(Self { advertised, unadvertised, options, family, link_local_first })
    }

    pub fn all(&self) -> impl Iterator<Item = &(Vip, usize)> {
        self.advertised.iter().chain(&self.unadvertised)
    }

    /// Whether there are adverts in this family.
    pub fn has(&self, family: Family) -> bool {
        let listed = self.advertised.iter().any(|(vip, _)| vip.family() == family);
        listed || self.advertised.is_empty() && family == self.family
    }

    /// Returns the addresses that are on other interfaces than that of the virtual router, with the names of these.
    pub fn devices(&self, interface: &str) -> BTreeMap<IpAddr, &str> {
        let given = self.options.iter().map(|it| (it.address, it.interface.as_str()));
        given.filter(|(_, device)| *device != interface).collect()
    }

    /// Reports addresses on other interfaces: they cannot be there with `accept = false`.
    pub fn report_devices(&self, section: &mut Section, interface: &str) {
        let devices = self.devices(interface);
        let elsewhere = self.all().find_map(|(vip, line)| Some((vip, devices.get(&vip.address)?, *line)));
        if let Some((vip, device, line)) = elsewhere {
            let message = format!(
                "\"{vip}\" is on {}, but with accept = false no address is installed, and the kernel half answers only \
                 on {}; remove accept or dev",
                quote(device),
                quote(interface)
            );
            section.report(&keys::ADDRESSES, line, message);
        }
    }

    /// Reads the family of adverts that list no address. `others` are the other routers that the virtual router lists.
    pub fn read_family(
        &mut self,
        section: &mut Section,
        version: Option<Version>,
        others: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Family, Reported> {
        let mut others = others.into_iter().map(Family::of).peekable();
        let all_ipv6 = others.peek().is_some() && others.all(|family| family == Family::Ipv6);
        let line = section.line_of(&keys::FAMILY);
        self.family = match section.string(&keys::FAMILY)? {
            None if all_ipv6 && version != Some(Version::V2) => Family::Ipv6,
            None | Some("ipv4") => Family::Ipv4,
            Some("ipv6") if version == Some(Version::V2) => {
                let message = "version 2 is IPv4 only (RFC 3768); remove family, or set version = 3";
                return Err(section.report(&keys::FAMILY, line, message));
            }
            Some("ipv6") => Family::Ipv6,
            Some(other) => {
                return Err(section.reject(&keys::FAMILY, line, format_args!("{} is not valid", quote(other))));
            }
        };
        if section.get(&keys::FAMILY).is_some() && !self.advertised.is_empty() {
            let message = "has no effect, because the addresses decide the family of the adverts; remove it";
            return Err(section.report(&keys::FAMILY, line, message));
        }
        Ok(self.family)
    }
}

struct AddressReader<'a> {
    version: Version,
    interface: Option<&'a str>,
    options: Vec<StaticAddress>,
}

impl AddressReader<'_> {
    fn read_advertised(&mut self, section: &mut Section) -> Result<Vec<(Vip, usize)>, Reported> {
        let Some((elements, line)) = section.list(&keys::ADDRESSES)? else { return Ok(Vec::new()) };
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
/// router of the group (RFC 9568 5.2.9), unless `link_local_first` is false, and that an advert can carry all of them.
fn check_ipv6(section: &mut Section, vrid: Option<Vrid>, addresses: &[(Vip, usize)], link_local_first: bool) {
    let mut ipv6 = addresses.iter().filter_map(|(vip, line)| match vip.address {
        IpAddr::V6(address) => Some((address, *line)),
        IpAddr::V4(_) => None,
    });
    let Some((first, line)) = ipv6.next() else { return };
    if link_local_first && !first.is_unicast_link_local() {
        let vrid = vrid.map_or(1, Vrid::get);
        let message = format!(
            "\"{first}\" is the first IPv6 address, which must be link-local and the same on every router of the group \
             (RFC 9568 5.2.9); put one before it, such as \"fe80::{vrid:x}/64\", or set link_local_first = false \
             beside routers that do not demand it"
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
