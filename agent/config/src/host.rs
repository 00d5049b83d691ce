//! Checks whether the host has what a configuration needs. The facts about the host are passed in as plain data.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use xvrrp_common::units::Family;

use super::error::{ConfigError, Problems};
use super::host_programs;
use super::keys::{self, Key};
use super::model::{Config, Origin, UnicastPeer, VirtualRouterConfig};
use super::quote::quote;

pub use super::host_programs::{HostLookup, disable};

/// An interface of the network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInterface {
    /// Name, as in a configuration.
    pub name: String,
    /// Whether it has Ethernet framing.
    pub ethernet: bool,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Kind of interface that accepts only frames to its own MAC, such as `a bridge`; `None` if it accepts others.
    pub takes_own_mac_only: Option<&'static str>,
    /// Addresses in the kernel's order, except those that a previous agent has left on the interface.
    pub addresses: Vec<IpAddr>,
}

/// Why a virtual router cannot take part in elections on its interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no such interface.
    Absent,
    /// The interface is the loopback interface.
    Loopback,
    /// The interface has no Ethernet framing.
    NoEthernet,
    /// The interface is of this kind, and does not accept frames to a virtual MAC.
    NoVirtualMac(&'static str),
    /// The interface lacks these addresses, which the owner has by definition (RFC 9568 5.2.4).
    NotOwned(Vec<IpAddr>),
    /// The interface has no address of this kind, from which adverts must be sent.
    NoAddress(Origin),
    /// The host has this address, and no other one is configured as that of another router.
    OwnPeer(IpAddr),
    /// The host does not have this address, which adverts are to be sent from, or has it as a virtual address.
    NoSource(IpAddr),
    /// There is no such interface, which is to have one of the addresses.
    NoDevice(String),
}

impl Obstacle {
    /// Returns whether only a change of the configuration helps, as long as the interface remains what it is. Otherwise
    /// the virtual router waits.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Loopback | Self::NoEthernet | Self::NoVirtualMac(_) | Self::OwnPeer(_))
    }

    /// Describes the obstacle in a few words, for the log and the status.
    pub fn reason(&self, interface: &str) -> String {
        match self {
            Self::Absent => format!("interface {interface} is not there"),
            Self::Loopback => format!("interface {interface} is a loopback interface"),
            Self::NoEthernet => format!("interface {interface} has no Ethernet framing"),
            Self::NoVirtualMac(kind) => {
                format!("interface {interface} is {kind}, and takes no frames to a virtual MAC")
            }
            Self::NotOwned(missing) => format!("interface {interface} does not have {}", enumerate(missing)),
            Self::NoAddress(Origin::Ipv4) => format!("interface {interface} has no IPv4 address of its own"),
            Self::NoAddress(Origin::LinkLocal) => format!("interface {interface} has no link-local address of its own"),
            Self::NoAddress(Origin::Ipv6) => {
                format!("interface {interface} has no IPv6 address of its own other than link-local")
            }
            Self::OwnPeer(own) => format!("{own} is this host's own address, and unicast_peers lists no other"),
            Self::NoSource(source) => format!("this host does not have {source}, which adverts are to be sent from"),
            Self::NoDevice(device) => {
                format!("interface {device}, which is to have one of its addresses, is not there")
            }
        }
    }

    /// Returns the line and the key that cause the obstacle, and a message about them.
    fn complaint(&self, router: &VirtualRouterConfig) -> (usize, Key, String) {
        let name = quote(&router.interface);
        let message = match self {
            Self::Absent => format!("there is no interface {name} yet"),
            Self::Loopback => format!("{name} is a loopback interface; expected an Ethernet interface"),
            Self::NoEthernet => format!("{name} has no Ethernet framing; expected an Ethernet interface"),
            Self::NoVirtualMac(kind) => {
                format!("{name} is {kind}, which takes no frames to a virtual MAC; set virtual_mac = false")
            }
            Self::NotOwned(missing) => {
                let message = format!(
                    "{name} does not have {}, but priority = 255 means that it does (RFC 9568 5.2.4); add the address \
                     to the interface, or lower the priority",
                    enumerate(missing)
                );
                return (router.lines.addresses, keys::ADDRESSES, message);
            }
            Self::NoAddress(Origin::Ipv4) => {
                format!("{name} has no IPv4 address of its own to send adverts from; add one to the interface")
            }
            Self::NoAddress(Origin::LinkLocal) => format!(
                "{name} has no link-local IPv6 address of its own to send adverts from (RFC 9568 5.1.2.1); set the \
                 interface up with net.ipv6.conf.*.disable_ipv6 = 0, or add such an address"
            ),
            Self::NoAddress(Origin::Ipv6) => format!(
                "{name} has no IPv6 address of its own, other than link-local ones, to send adverts to unicast_peers \
                 from; add one to the interface"
            ),
            Self::OwnPeer(own) => {
                let message = format!("{own} is this host's own address; list the other routers too");
                return (router.lines.unicast_peers, keys::UNICAST_PEERS, message);
            }
            Self::NoSource(source) => {
                let message = format!(
                    "this host does not have {source}, or has it only as a virtual address; add it to an interface, or \
                     remove it here"
                );
                return (router.lines.source_addresses, keys::SOURCE_ADDRESSES, message);
            }
            Self::NoDevice(device) => {
                let message = format!("there is no interface {} yet, which is to have an address", quote(device));
                return (router.lines.addresses, keys::ADDRESSES, message);
            }
        };
        (router.lines.interface, keys::INTERFACE, message)
    }
}

/// The interfaces of the host, with the addresses that adverts are sent from.
#[derive(Debug)]
pub struct Survey<'a>(HashMap<&'a str, Facts<'a>>);

#[derive(Debug)]
struct Facts<'a> {
    interface: &'a HostInterface,
    /// Primary addresses: the IPv4 one, the link-local IPv6 one, and the other IPv6 one.
    primaries: [Option<IpAddr>; 3],
    /// The virtual addresses that it has, or is to have.
    virtual_addresses: HashSet<IpAddr>,
}

impl<'a> Survey<'a> {
    /// Chooses the primary addresses of the interfaces for this configuration.
    pub fn new(config: &Config, interfaces: &'a [HostInterface]) -> Self {
        let facts = |interface: &'a HostInterface| {
            let origins = [Origin::Ipv4, Origin::LinkLocal, Origin::Ipv6];
            let virtual_addresses = virtual_addresses(config, interface);
            let primaries = origins.map(|origin| primary_address(&virtual_addresses, interface, origin));
            (interface.name.as_str(), Facts { interface, primaries, virtual_addresses })
        };
        Self(interfaces.iter().map(facts).collect())
    }

    /// Returns the address that a virtual router sends its adverts of this family from.
    ///
    /// # Errors
    /// The virtual router cannot take part in elections, for the reason that the error names.
    pub fn primary(&self, router: &VirtualRouterConfig, family: Family) -> Result<IpAddr, Obstacle> {
        let Facts { interface, primaries: [ipv4, link_local, ipv6], .. } =
            self.0.get(router.interface.as_str()).ok_or(Obstacle::Absent)?;
        if interface.loopback {
            return Err(Obstacle::Loopback);
        }
        if !interface.ethernet {
            return Err(Obstacle::NoEthernet);
        }
        if let Some(kind) = interface.takes_own_mac_only.filter(|_| router.virtual_mac) {
            return Err(Obstacle::NoVirtualMac(kind));
        }
        let elsewhere = router.elsewhere();
        if let Some(device) = elsewhere.values().find(|device| !self.0.contains_key(*device)) {
            return Err(Obstacle::NoDevice((*device).to_owned()));
        }
        if router.priority.is_owner() {
            let is_missing = |address: &IpAddr| {
                let holder = elsewhere.get(address).and_then(|device| self.0.get(device));
                !holder.map_or(*interface, |holder| holder.interface).addresses.contains(address)
            };
            let missing: Vec<_> = router.all_addresses().map(|vip| vip.address).filter(is_missing).collect();
            if !missing.is_empty() {
                return Err(Obstacle::NotOwned(missing));
            }
        }
        if let (Some(own), None) = (router.peers_of(family).next(), self.peers(router, family).next()) {
            return Err(Obstacle::OwnPeer(own.address));
        }
        let origin = router.origin(family);
        if let Some(source) = router.source_of(family) {
            let has = |facts: &&Facts<'_>| {
                let is_there = facts.interface.addresses.contains(&source);
                let is_own = !facts.virtual_addresses.contains(&source);
                is_there && is_own && (origin != Origin::LinkLocal || facts.interface.name == interface.name)
            };
            return self.0.values().find(has).map(|_| source).ok_or(Obstacle::NoSource(source));
        }
        let primary = match origin {
            Origin::Ipv4 => ipv4,
            Origin::LinkLocal => link_local,
            Origin::Ipv6 => ipv6,
        };
        primary.ok_or(Obstacle::NoAddress(origin))
    }

    /// Returns the unicast peers of one family, apart from this host itself: all routers may have the same list.
    pub fn peers(&self, router: &VirtualRouterConfig, family: Family) -> impl Iterator<Item = UnicastPeer> {
        let is_own = |address: &IpAddr| self.0.values().any(|facts| facts.interface.addresses.contains(address));
        router.peers_of(family).filter(move |peer| !is_own(&peer.address))
    }

    /// Returns the obstacles of all families of a virtual router, each once.
    fn obstacles(&self, router: &VirtualRouterConfig) -> Vec<Obstacle> {
        let mut obstacles: Vec<_> = router.families().filter_map(|family| self.primary(router, family).err()).collect();
        obstacles.dedup();
        obstacles
    }

    /// Returns a warning for each obstacle that a virtual router will wait for, as `FILE:LINE: ...`.
    pub fn warnings(&self, config: &Config) -> Vec<String> {
        let waiting = config.virtual_routers.iter().flat_map(|router| {
            self.obstacles(router).into_iter().filter(|it| !it.is_final()).map(move |obstacle| (router, obstacle))
        });
        let warning = |(router, obstacle): (&VirtualRouterConfig, Obstacle)| {
            let (line, key, mut message) = obstacle.complaint(router);
            if obstacle == Obstacle::Absent {
                let mut names: Vec<&str> = self.0.keys().copied().collect();
                names.sort_unstable();
                message = format!("{message}; the interfaces of this host are {}", enumerate(&names));
            }
            let (name, key) = (quote(&router.name), key.name);
            let message =
                format!("virtual_router {name}: {key}: {message}; until then, the virtual router waits in fault");
            config.show(line, &message)
        };
        waiting.map(warning).collect()
    }
}

/// Checks that this host has the users and programs that a configuration needs, and interfaces that can be used.
///
/// # Errors
/// Something is missing on this host. The error lists everything that needs a change of the configuration.
pub fn check(config: &Config, survey: &Survey<'_>, lookup: &impl HostLookup) -> Result<(), ConfigError> {
    let mut problems = Problems::default();
    let mut outcome = Ok(());
    for router in &config.virtual_routers {
        for obstacle in survey.obstacles(router).into_iter().filter(Obstacle::is_final) {
            let (line, key, message) = obstacle.complaint(router);
            let place = format!("virtual_router {}: {}", quote(&router.name), key.name);
            outcome = Err(problems.report(line, format!("{place}: {message}")));
        }
    }
    let outcome = outcome.and(host_programs::check(config, lookup, &mut problems));
    problems.conclude_check(config, outcome)
}

/// Returns the address that adverts on this interface are sent from (RFC 9568 1.7). RFC 9568 7.2 (conformance 51, 52):
/// "Set the source IPv4 address to the interface's primary IPv4 address", "Set the source IPv6 address to the
/// interface's link-local IPv6 address".
///
/// This is the first address of its kind that is not a virtual address, unless this host owns that one. For IPv6 it is
/// link-local (5.1.2.1), except for unicast peers that are not on the link: their adverts are sent from the oldest
/// address that is not link-local.
fn primary_address(borrowed: &HashSet<IpAddr>, interface: &HostInterface, origin: Origin) -> Option<IpAddr> {
    let fits = |address: &IpAddr| match address {
        IpAddr::V4(_) => origin == Origin::Ipv4,
        IpAddr::V6(address) if address.is_unicast_link_local() => origin == Origin::LinkLocal,
        IpAddr::V6(_) => origin == Origin::Ipv6,
    };
    let mut own = interface.addresses.iter().copied().filter(|it| fits(it) && !borrowed.contains(it));
    match origin {
        Origin::Ipv4 | Origin::LinkLocal => own.next(),
        // The kernel lists the newest address first. It may be a temporary one (RFC 8981), which peers cannot list.
        Origin::Ipv6 => own.next_back(),
    }
}

/// Returns the virtual addresses that an interface may have, unless this host owns them.
fn virtual_addresses(config: &Config, interface: &HostInterface) -> HashSet<IpAddr> {
    let routers = config.virtual_routers.iter().filter(|router| !router.priority.is_owner());
    let addresses = routers.flat_map(|router| {
        let elsewhere = router.elsewhere();
        let is_here = move |address: &IpAddr| {
            elsewhere.get(address).copied().unwrap_or(router.interface.as_str()) == interface.name
        };
        router.all_addresses().map(|vip| vip.address).filter(is_here)
    });
    addresses.collect()
}

/// Maximum number of names that a message lists.
const MAX_NAMES: usize = 16;

/// Joins names for a message: `a, b, c and 5 more`.
fn enumerate<T: ToString>(names: &[T]) -> String {
    let shown: Vec<String> = names.iter().take(MAX_NAMES).map(T::to_string).collect();
    match names.len().checked_sub(MAX_NAMES) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{NotifyFifo, ScriptUser};

    /// A host that lacks nothing.
    struct Complete;

    impl HostLookup for Complete {
        fn is_executable(&self, _: &Path) -> bool {
            true
        }

        fn has_user(&self, _: &ScriptUser) -> bool {
            true
        }

        fn is_root(&self, _: Option<&ScriptUser>) -> bool {
            true
        }

        fn becomes_root(&self, _: &Path) -> bool {
            false
        }

        fn fault_of_fifo(&self, _: &NotifyFifo) -> Option<String> {
            None
        }

        fn replaceable(&self, _: &Path) -> Option<String> {
            None
        }
    }

    fn config(routers: &str) -> Config {
        crate::parse(Path::new("x.toml"), routers).unwrap()
    }

    fn router(vrid: u8, priority: u8, address: &str) -> String {
        format!(
            "[[virtual_router]]\nname = \"r{vrid}\"\ninterface = \"eth0\"\nvrid = {vrid}\npriority = {priority}\n\
             addresses = [\"{address}\"]\n"
        )
    }

    fn eth0(addresses: &[[u8; 4]]) -> HostInterface {
        let addresses = addresses.iter().map(|octets| IpAddr::from(*octets)).collect();
        HostInterface { name: "eth0".into(), ethernet: true, loopback: false, takes_own_mac_only: None, addresses }
    }

    #[test]
    fn adverts_leave_from_the_first_address_that_is_not_virtual() {
        // conformance 51
        let config = config(&router(1, 100, "192.0.2.1/24"));
        let interface = eth0(&[[192, 0, 2, 1], [192, 0, 2, 10], [192, 0, 2, 11]]);
        assert_eq!(
            primary_address(&virtual_addresses(&config, &interface), &interface, Origin::Ipv4),
            Some(IpAddr::from([192, 0, 2, 10]))
        );
        assert_eq!(Survey::new(&config, &[interface]).warnings(&config), [""; 0]);
    }

    #[test]
    fn the_owner_sends_adverts_from_the_address_that_it_owns() {
        // RFC 9568 1.7
        let config = config(&router(1, 255, "192.0.2.1/24"));
        let interface = eth0(&[[192, 0, 2, 1]]);
        assert_eq!(
            primary_address(&virtual_addresses(&config, &interface), &interface, Origin::Ipv4),
            Some(IpAddr::from([192, 0, 2, 1]))
        );
        assert_eq!(Survey::new(&config, &[interface]).warnings(&config), [""; 0]);
    }

    #[test]
    fn adverts_cannot_be_sent_from_a_virtual_address() {
        let config = config(&router(1, 100, "192.0.2.1/24"));
        let interfaces = [eth0(&[[192, 0, 2, 1]])];
        let survey = Survey::new(&config, &interfaces);
        let router = config.virtual_routers.first().unwrap();
        assert_eq!(survey.primary(router, Family::Ipv4), Err(Obstacle::NoAddress(Origin::Ipv4)));
    }

    #[test]
    fn adverts_over_ipv6_leave_from_the_first_link_local_address_that_is_not_virtual() {
        // RFC 9568 5.1.2.1 (conformance 52)
        let config = config(&router(1, 100, "fe80::1/64"));
        let mut interface = eth0(&[[192, 0, 2, 10]]);
        interface.addresses.extend(["2001:db8::10", "fe80::1"].map(|text| text.parse::<IpAddr>().unwrap()));
        assert_eq!(primary_address(&virtual_addresses(&config, &interface), &interface, Origin::LinkLocal), None);
        assert_eq!(Survey::new(&config, &[interface.clone()]).warnings(&config).len(), 1);
        let own = "fe80::10".parse().unwrap();
        interface.addresses.push(own);
        assert_eq!(primary_address(&virtual_addresses(&config, &interface), &interface, Origin::LinkLocal), Some(own));
        assert_eq!(Survey::new(&config, &[interface]).warnings(&config), [""; 0]);
    }

    #[test]
    fn adverts_to_routed_ipv6_peers_leave_from_the_oldest_address_that_is_not_virtual() {
        let config = config(&router(1, 100, "fe80::1/64\", \"2001:db8::1/64"));
        let mut interface = eth0(&[]);
        // The kernel lists the newest address first.
        let addresses = ["2001:db8::abcd", "2001:db8::10", "2001:db8::1", "fe80::10"];
        interface.addresses.extend(addresses.map(|text| text.parse::<IpAddr>().unwrap()));
        let own = "2001:db8::10".parse().unwrap();
        assert_eq!(primary_address(&virtual_addresses(&config, &interface), &interface, Origin::Ipv6), Some(own));
    }

    #[test]
    fn the_host_itself_may_be_in_a_list_of_peers_that_is_the_same_on_all_routers() {
        let peers = |list: &str| config(&format!("{}unicast_peers = {list}\n", router(1, 100, "192.0.2.1/24")));
        let interfaces = [eth0(&[[192, 0, 2, 10], [192, 0, 2, 11]])];
        let [own, other] = [10, 12].map(|host| IpAddr::from([192, 0, 2, host]));
        let config = peers("[\"192.0.2.10\", \"192.0.2.12\"]");
        let survey = Survey::new(&config, &interfaces);
        let router = &config.virtual_routers[0];
        assert_eq!(survey.primary(router, Family::Ipv4), Ok(own));
        let found: Vec<IpAddr> = survey.peers(router, Family::Ipv4).map(|peer| peer.address).collect();
        assert_eq!(found, [other]);
        let config = peers("[\"192.0.2.10\", \"192.0.2.11\"]");
        let survey = Survey::new(&config, &interfaces);
        let alone = survey.primary(&config.virtual_routers[0], Family::Ipv4);
        assert_eq!(alone, Err(Obstacle::OwnPeer(own)));
    }

    #[test]
    fn adverts_leave_from_the_source_address_if_the_host_has_it_and_it_is_not_virtual() {
        let source = |text: &str| format!("{}source_addresses = [\"{text}\"]\n", router(1, 100, "192.0.2.1/24"));
        let eth1 = HostInterface { name: "eth1".into(), ..eth0(&[[198, 51, 100, 7]]) };
        let interfaces = [eth0(&[[192, 0, 2, 10], [192, 0, 2, 11], [192, 0, 2, 1]]), eth1];
        let chosen = |text: &str| {
            let config = config(&source(text));
            Survey::new(&config, &interfaces).primary(&config.virtual_routers[0], Family::Ipv4)
        };
        for own in ["192.0.2.11", "198.51.100.7"] {
            assert_eq!(chosen(own), Ok(own.parse().unwrap()));
        }
        for other in ["192.0.2.12", "192.0.2.1"] {
            assert_eq!(chosen(other), Err(Obstacle::NoSource(other.parse().unwrap())));
        }
    }

    #[test]
    fn every_virtual_router_is_checked() {
        let config = config(&(router(1, 100, "192.0.2.1/24") + &router(2, 100, "192.0.2.2/24")));
        assert_eq!(Survey::new(&config, &[]).warnings(&config).len(), 2);
        let loopback = HostInterface { loopback: true, ..eth0(&[]) };
        let error = check(&config, &Survey::new(&config, &[loopback]), &Complete).unwrap_err();
        assert_eq!(error.problems().len(), 2);
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let names: Vec<u32> = (1..=18).collect();
        assert!(enumerate(&names).ends_with("15, 16 and 2 more"));
        assert!(enumerate(names.get(..16).unwrap()).ends_with("15, 16"));
    }
}
