//! Compares the source address of adverts that keepalived is given with the one that xvrrp uses by default: the first
//! address of the interface that is not virtual.

use std::collections::HashSet;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

use super::super::report::ImportReport;
use super::address::AddressLine;
use super::instance::InstanceDirectives;

/// Addresses of the host that the import runs on, with their interfaces, in the order of the kernel.
fn host_addresses() -> Vec<(String, IpAddr)> {
    let address = |entry: nix::ifaddrs::InterfaceAddress| {
        let storage = entry.address?;
        let address = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
            (Some(ipv4), _) => IpAddr::V4(ipv4.ip()),
            (None, Some(ipv6)) => IpAddr::V6(ipv6.ip()),
            (None, None) => return None,
        };
        Some((entry.interface_name, address))
    };
    getifaddrs().map(|entries| entries.filter_map(address).collect()).unwrap_or_default()
}

/// Decides what becomes of the source address of each virtual router, and reports it.
pub(super) fn choose(instances: &mut [InstanceDirectives], report: &mut ImportReport) {
    let vips = instances.iter().flat_map(|instance| &instance.addresses).filter_map(AddressLine::parsed);
    let vips: HashSet<IpAddr> = vips.collect();
    for instance in instances {
        let (Some((directive, source)), Some(interface)) = (&instance.source, &instance.interface) else { continue };
        let interface = interface.value.as_str();
        let unicast = !instance.peers.is_empty();
        match used(&host_addresses(), source.value, interface, &vips, unicast) {
            Use::Same => {
                let why = format!("adverts are sent from it anyway, because it is the first address of {interface}");
                report.note(&source.location, directive, why);
            }
            Use::Chosen => instance.chosen_source = Some(source.clone()),
            Use::Unusable => {
                let advice = format!(
                    "adverts over IPv6 on the link are sent from the link-local address of {interface} (RFC 9568 \
                     5.1.2.1)"
                );
                report.changed(&source.location, directive, advice);
            }
            Use::Unknown => {
                let advice = format!(
                    "adverts are sent from the first address of {interface} that is not virtual, because this host \
                     does not have {}; where it has the address, adverts are sent from that",
                    source.value
                );
                report.changed(&source.location, directive, advice);
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Use {
    /// xvrrp sends from the address anyway.
    Same,
    /// xvrrp sends from the address if it is told to.
    Chosen,
    /// xvrrp cannot send from the address.
    Unusable,
    /// The host does not have the address.
    Unknown,
}

fn used(host: &[(String, IpAddr)], source: IpAddr, interface: &str, vips: &HashSet<IpAddr>, unicast: bool) -> Use {
    if !host.iter().any(|(_, address)| *address == source) || vips.contains(&source) {
        return Use::Unknown;
    }
    // Over IPv6, adverts come from the link-local address, unless they go to peers that are farther away.
    let link_local = |address: &IpAddr| matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    let fits = |address: &IpAddr| {
        let near = link_local(address) || (unicast && !link_local(&source));
        address.is_ipv6() == source.is_ipv6() && !vips.contains(address) && (source.is_ipv4() || near)
    };
    let first = host.iter().filter(|(name, _)| name == interface).map(|(_, address)| *address).find(fits);
    match first {
        Some(first) if first == source => Use::Same,
        _ if link_local(&source) || source.is_ipv6() && !unicast => Use::Unusable,
        _ => Use::Chosen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_source_is_compared_with_the_first_address_that_is_not_virtual() {
        let host = [("lo", "127.0.0.1"), ("eth0", "192.0.2.100"), ("eth0", "192.0.2.11"), ("eth0", "192.0.2.12")]
            .map(|(name, text)| (name.to_owned(), address(text)));
        let vips = HashSet::from([address("192.0.2.100")]);
        let found = |source| used(&host, address(source), "eth0", &vips, false);
        assert_eq!(found("192.0.2.11"), Use::Same);
        assert_eq!(found("192.0.2.12"), Use::Chosen);
        assert_eq!(found("127.0.0.1"), Use::Chosen);
        assert_eq!(found("192.0.2.13"), Use::Unknown);
        assert_eq!(found("192.0.2.100"), Use::Unknown);
        assert_eq!(used(&host, address("192.0.2.11"), "eth1", &vips, false), Use::Chosen);
    }

    #[test]
    fn over_ipv6_the_link_local_address_is_the_first_unless_peers_are_farther_away() {
        let host = [("eth0", "2001:db8::1"), ("eth0", "fe80::1")].map(|(name, text)| (name.to_owned(), address(text)));
        let found = |source, unicast| used(&host, address(source), "eth0", &HashSet::new(), unicast);
        assert_eq!(found("fe80::1", false), Use::Same);
        assert_eq!(found("fe80::1", true), Use::Same);
        assert_eq!(found("2001:db8::1", true), Use::Same);
        assert_eq!(found("2001:db8::1", false), Use::Unusable);
    }
}
