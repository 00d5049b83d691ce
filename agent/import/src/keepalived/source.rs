//! Decides whether the source address of adverts that keepalived is given can be taken over.

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

/// Drops source addresses that xvrrp does not send from, and reports what differs. `runs_here` says whether the result
/// is used on this host at once: the check of the result then warns of an address that the host lacks.
pub(super) fn decide(instances: &mut [InstanceDirectives], runs_here: bool, report: &mut ImportReport) {
    let vips = instances.iter().flat_map(|instance| &instance.addresses).filter_map(AddressLine::parsed);
    let vips: HashSet<IpAddr> = vips.collect();
    let host = host_addresses();
    for instance in instances {
        let (Some((directive, source)), Some(interface)) = (&instance.source, &instance.interface) else { continue };
        let (address, interface) = (source.value, interface.value.as_str());
        let peers: Vec<IpAddr> = instance.peers.iter().map(|peer| peer.address).collect();
        let what = match find(&host, address, interface, &vips, &peers) {
            Found::Usable => continue,
            Found::Nowhere if runs_here => continue,
            Found::Nowhere if !peers.is_empty() => {
                let why = format!("this host does not have {address}; while it is missing, both wait in fault");
                report.note(&source.location, directive, why);
                continue;
            }
            Found::Nowhere => {
                let advice = format!(
                    "this host does not have {address}; while it is missing, the virtual router waits, where keepalived \
                     sends adverts all the same"
                );
                report.changed(&source.location, directive, advice);
                continue;
            }
            Found::NotOfHost => format!("{address} is not an address that other routers can reach"),
            Found::Virtual => format!("{address} is a virtual address"),
            Found::Elsewhere(other) => format!("{address} is link-local on {other}, and adverts leave by {interface}"),
            Found::WrongKind if is_link_local(&address) => {
                format!("{address} is link-local, and routers in unicast_peer that are not cannot answer it")
            }
            Found::WrongKind => {
                format!("{address} is not link-local, as the source over IPv6 must be (RFC 9568 5.1.2.1)")
            }
        };
        let advice = format!("{what}: adverts are sent from an address of {interface} that xvrrp chooses; correct it");
        report.changed(&source.location, directive, advice);
        instance.source = None;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Usable,
    /// The host does not have the address, at the moment.
    Nowhere,
    /// It is not a unicast address that other hosts can reach.
    NotOfHost,
    Virtual,
    /// Only this interface has the link-local address.
    Elsewhere(String),
    /// Over IPv6, the source is link-local exactly if the peers are, or if there are none.
    WrongKind,
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn find(host: &[(String, IpAddr)], source: IpAddr, interface: &str, vips: &HashSet<IpAddr>, peers: &[IpAddr]) -> Found {
    let expects_link_local = peers.iter().all(is_link_local);
    let mut holders = host.iter().filter(|(_, address)| *address == source).map(|(name, _)| name.as_str());
    match holders.clone().next() {
        _ if source.is_multicast() || source.is_unspecified() || source.is_loopback() => Found::NotOfHost,
        _ if vips.contains(&source) => Found::Virtual,
        _ if source.is_ipv6() && is_link_local(&source) != expects_link_local => Found::WrongKind,
        None => Found::Nowhere,
        Some(_) if holders.any(|name| name == interface) => Found::Usable,
        Some(_) if !is_link_local(&source) => Found::Usable,
        Some(other) => Found::Elsewhere(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_of_the_host_that_is_not_virtual_can_be_the_source() {
        let host = [("lo", "198.51.100.1"), ("eth0", "192.0.2.100"), ("eth0", "192.0.2.11"), ("eth1", "fe80::1")]
            .map(|(name, text)| (name.to_owned(), address(text)));
        let vips = HashSet::from([address("192.0.2.100")]);
        let found = |source| find(&host, address(source), "eth0", &vips, &[]);
        assert_eq!(found("192.0.2.11"), Found::Usable);
        assert_eq!(found("198.51.100.1"), Found::Usable);
        assert_eq!(found("192.0.2.100"), Found::Virtual);
        assert_eq!(found("192.0.2.13"), Found::Nowhere);
        assert_eq!(found("224.0.0.1"), Found::NotOfHost);
        assert_eq!(found("fe80::1"), Found::Elsewhere("eth1".to_owned()));
    }

    #[test]
    fn over_ipv6_the_source_is_link_local_unless_the_peers_are_not() {
        let host = [("eth0", "2001:db8::1"), ("eth0", "fe80::1")].map(|(name, text)| (name.to_owned(), address(text)));
        let found = |source, peers: &[&str]| {
            let peers: Vec<IpAddr> = peers.iter().map(|peer| address(peer)).collect();
            find(&host, address(source), "eth0", &HashSet::new(), &peers)
        };
        for peers in [&[][..], &["fe80::2"]] {
            assert_eq!(found("fe80::1", peers), Found::Usable);
            assert_eq!(found("2001:db8::1", peers), Found::WrongKind);
        }
        assert_eq!(found("2001:db8::1", &["2001:db8::2"]), Found::Usable);
        assert_eq!(found("fe80::1", &["2001:db8::2"]), Found::WrongKind);
    }
}
