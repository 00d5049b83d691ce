//! Warns about interfaces of the host that disturb a virtual router, although the configuration can be used. The facts
//! about the host are passed in as plain data.

use std::net::IpAddr;

use super::model::{Config, VirtualRouterConfig};
use super::quote::quote;

/// An interface of the network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surrounding {
    /// Name, as in a configuration.
    pub name: String,
    /// Addresses of the interface itself, with their prefix lengths.
    pub networks: Vec<(IpAddr, u8)>,
    /// Whether it answers ARP requests for the addresses of all interfaces (`arp_ignore` is 0).
    pub answers_for_all: bool,
    /// Names of the VLAN interfaces whose parent it is.
    pub vlans: Vec<String>,
    /// Whether its card strips VLAN tags before XDP sees the frame.
    pub strips_tags: bool,
}

/// Returns the warnings, as `FILE:LINE: ...`.
pub fn warnings(config: &Config, interfaces: &[Surrounding]) -> Vec<String> {
    let of_router = |router: &VirtualRouterConfig| {
        let own = interfaces.iter().find(|interface| interface.name == router.interface);
        let messages = own.map(|own| {
            let others = interfaces.iter().filter(|other| other.name != own.name);
            others.filter_map(|other| second_in_segment(own, other)).chain(stripped_tags(own)).collect::<Vec<_>>()
        });
        let name = quote(&router.name);
        let show = |message: String| {
            config.show(router.lines.interface, &format!("virtual_router {name}: interface: {message}"))
        };
        messages.unwrap_or_default().into_iter().map(show).collect::<Vec<_>>()
    };
    config.virtual_routers.iter().flat_map(of_router).collect()
}

/// Warns of another interface that answers ARP for the virtual addresses.
fn second_in_segment(own: &Surrounding, other: &Surrounding) -> Option<String> {
    let shared = other.networks.iter().any(|other| own.networks.iter().any(|own| overlap(*own, *other)));
    let name = &other.name;
    (shared && other.answers_for_all).then(|| {
        format!(
            "{} is in the same network as {}, and answers ARP for the virtual addresses with its own MAC while this \
             host is Active; run sysctl -w net.ipv4.conf.{name}.arp_ignore=1 net.ipv4.conf.{name}.arp_announce=2",
            quote(name),
            quote(&own.name)
        )
    })
}

/// Warns of a card that strips the tags of VLANs.
fn stripped_tags(own: &Surrounding) -> Option<String> {
    let vlan = own.vlans.first().filter(|_| own.strips_tags)?;
    let name = &own.name;
    Some(format!(
        "{} is the parent of {}, and its card strips the tag before XDP sees the frame, so that frames of the VLAN \
         look untagged; run ethtool -K {name} rxvlan off",
        quote(name),
        quote(vlan)
    ))
}

/// Returns whether one IPv4 network contains the other. Over IPv6, an interface does not answer for the addresses of
/// another one.
fn overlap(one: (IpAddr, u8), other: (IpAddr, u8)) -> bool {
    let ((IpAddr::V4(one), of_one), (IpAddr::V4(other), of_other)) = (one, other) else { return false };
    let shorter = u32::from(of_one.min(of_other));
    (one.to_bits() ^ other.to_bits()).checked_shr(32 - shorter).is_none_or(|differing| differing == 0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config() -> Config {
        let text =
            "[[virtual_router]]\nname = \"lan\"\ninterface = \"eth0\"\nvrid = 1\naddresses = [\"192.0.2.1/24\"]\n";
        crate::parse(Path::new("x.toml"), text).unwrap()
    }

    fn interface(name: &str, address: &str, prefix_length: u8) -> Surrounding {
        let networks = vec![(address.parse().unwrap(), prefix_length)];
        Surrounding { name: name.into(), networks, answers_for_all: true, ..Surrounding::default() }
    }

    #[test]
    fn another_interface_in_the_network_that_answers_arp_for_all_addresses_causes_a_warning() {
        let eth0 = interface("eth0", "192.0.2.2", 24);
        for (other, expected) in [
            (interface("eth1", "192.0.2.12", 24), true),
            (interface("eth1", "192.0.2.129", 25), true),
            (interface("eth1", "10.0.0.1", 0), true),
            (interface("eth1", "192.0.3.2", 24), false),
            (interface("eth1", "2001:db8::1", 64), false),
            (Surrounding { answers_for_all: false, ..interface("eth1", "192.0.2.12", 24) }, false),
        ] {
            let warnings = warnings(&config(), &[eth0.clone(), other.clone()]);
            assert_eq!(warnings.len(), usize::from(expected), "{other:?}: {warnings:?}");
            for warning in warnings {
                assert!(
                    warning.starts_with("x.toml:3: virtual_router \"lan\": interface: \"eth1\" is in the same network")
                );
                assert!(warning.contains("net.ipv4.conf.eth1.arp_ignore=1"), "{warning}");
            }
        }
    }

    #[test]
    fn a_parent_of_vlans_whose_card_strips_tags_causes_a_warning() {
        let eth0 = interface("eth0", "192.0.2.2", 24);
        let parent = Surrounding { vlans: vec!["eth0.7".into()], ..eth0.clone() };
        let stripping = Surrounding { strips_tags: true, ..parent.clone() };
        let elsewhere = Surrounding { name: "eth1".into(), networks: Vec::new(), ..stripping.clone() };
        for quiet in [vec![parent], vec![Surrounding { strips_tags: true, ..eth0.clone() }], vec![eth0, elsewhere]] {
            assert_eq!(warnings(&config(), &quiet), [""; 0]);
        }
        let warnings = warnings(&config(), &[stripping]);
        assert!(warnings.len() == 1 && warnings[0].ends_with("ethtool -K eth0 rxvlan off"), "{warnings:?}");
    }
}
