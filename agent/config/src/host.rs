//! What a configuration needs of the host, checked against facts given as plain data.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;

use xvrrp_common::units::Family;

use super::error::{ConfigError, Problems};
use super::keys::{self, Key};
use super::section::quote;
use super::{CheckKind, Config, NotifyProgram, Origin, VirtualRouterConfig};

/// An interface of the network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInterface {
    /// The name that a configuration knows it by.
    pub name: String,
    /// Has Ethernet framing.
    pub ethernet: bool,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Why it cannot take frames to a virtual MAC, if it cannot: `a bridge` does not.
    pub takes_own_mac_only: Option<&'static str>,
    /// Addresses in the kernel's order, without those that an earlier run of the agent left behind.
    pub addresses: Vec<IpAddr>,
}

/// What keeps a virtual router from taking part on its interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no such interface.
    Absent,
    /// The interface is the loopback interface.
    Loopback,
    /// The interface has no Ethernet framing.
    NoEthernet,
    /// It is this, and takes no frames to a virtual MAC.
    NoVirtualMac(&'static str),
    /// It does not have these addresses, which the owner has by definition (RFC 9568 5.2.4).
    NotOwned(Vec<IpAddr>),
    /// It has no address of this kind to send adverts from.
    NoAddress(Origin),
    /// It has this address, which should be another router's.
    OwnPeer(IpAddr),
}

impl Obstacle {
    /// Returns whether only another configuration can help, while the interface is what it is; else the virtual router
    /// waits.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Loopback | Self::NoEthernet | Self::NoVirtualMac(_) | Self::OwnPeer(_))
    }

    /// In a few words, for the interface of this name.
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
            Self::OwnPeer(own) => format!("interface {interface} has {own}, which is in unicast_peers"),
        }
    }

    /// The key that is to blame, with its line, and what is wrong with it.
    fn complaint(&self, router: &VirtualRouterConfig) -> (usize, Key, String) {
        let name = quote(&router.interface);
        let message = match self {
            Self::Absent => format!("there is no {name} yet"),
            Self::Loopback => format!("{name} is a loopback interface; expected an Ethernet interface"),
            Self::NoEthernet => format!("{name} has no Ethernet framing; expected an Ethernet interface"),
            Self::NoVirtualMac(kind) => {
                format!("{name} is {kind}, which takes no frames to a virtual MAC; set virtual_mac = false")
            }
            Self::NotOwned(missing) => {
                let message = format!(
                    "{name} does not have {}, but priority = 255 means that it does (RFC 9568 5.2.4); add the address to \
                     the interface, or lower the priority",
                    enumerate(missing)
                );
                return (router.lines.addresses, keys::ADDRESSES, message);
            }
            Self::NoAddress(Origin::Ipv4) => {
                format!("{name} has no IPv4 address of its own to send adverts from; add one to the interface")
            }
            Self::NoAddress(Origin::LinkLocal) => format!(
                "{name} has no link-local IPv6 address of its own to send adverts from (RFC 9568 5.1.2.1); set the \
                 interface up, with net.ipv6.conf.*.disable_ipv6 = 0, or add one"
            ),
            Self::NoAddress(Origin::Ipv6) => format!(
                "{name} has no IPv6 address of its own, other than link-local, to send adverts to unicast_peers from; add \
                 one to the interface"
            ),
            Self::OwnPeer(own) => {
                let message = format!("{own} is this host's own address; list the other routers only");
                return (router.lines.unicast_peers, keys::UNICAST_PEERS, message);
            }
        };
        (router.lines.interface, keys::INTERFACE, message)
    }
}

/// The host's interfaces, as a configuration sees them.
#[derive(Debug)]
pub struct Survey<'a>(HashMap<&'a str, Facts<'a>>);

#[derive(Debug)]
struct Facts<'a> {
    interface: &'a HostInterface,
    /// Over IPv4, and over IPv6 the link-local one and the other one.
    primaries: [Option<IpAddr>; 3],
}

impl<'a> Survey<'a> {
    /// Looks at everything that a configuration needs of a host's interfaces.
    pub fn new(config: &Config, interfaces: &'a [HostInterface]) -> Self {
        let facts = |interface: &'a HostInterface| {
            let origins = [Origin::Ipv4, Origin::LinkLocal, Origin::Ipv6];
            let primaries = origins.map(|origin| primary_address(config, interface, origin));
            (interface.name.as_str(), Facts { interface, primaries })
        };
        Self(interfaces.iter().map(facts).collect())
    }

    /// The address that a virtual router sends its adverts of a family from, or why it has none.
    ///
    /// # Errors
    ///
    /// Fails with what keeps the virtual router from taking part.
    pub fn primary(&self, router: &VirtualRouterConfig, family: Family) -> Result<IpAddr, Obstacle> {
        let Facts { interface, primaries: [ipv4, link_local, ipv6] } =
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
        if router.priority.is_owner() {
            let vips = router.addresses.iter().map(|vip| vip.address);
            let missing: Vec<_> = vips.filter(|address| !interface.addresses.contains(address)).collect();
            if !missing.is_empty() {
                return Err(Obstacle::NotOwned(missing));
            }
        }
        if let Some(own) = router.peers_of(family).find(|peer| interface.addresses.contains(&peer.address)) {
            return Err(Obstacle::OwnPeer(own.address));
        }
        let origin = router.origin(family);
        let primary = match origin {
            Origin::Ipv4 => ipv4,
            Origin::LinkLocal => link_local,
            Origin::Ipv6 => ipv6,
        };
        primary.ok_or(Obstacle::NoAddress(origin))
    }

    /// What stands in a virtual router's way, each thing once.
    fn obstacles(&self, router: &VirtualRouterConfig) -> Vec<Obstacle> {
        let mut obstacles: Vec<_> = router.families().filter_map(|family| self.primary(router, family).err()).collect();
        obstacles.dedup();
        obstacles
    }

    /// Which virtual routers will wait, and for what, as `FILE:LINE: ...`.
    pub fn warnings(&self, config: &Config) -> Vec<String> {
        let waiting = config.virtual_routers.iter().flat_map(|router| {
            self.obstacles(router).into_iter().filter(|it| !it.is_final()).map(move |obstacle| (router, obstacle))
        });
        let warning = |(router, obstacle): (&VirtualRouterConfig, Obstacle)| {
            let (line, key, mut message) = obstacle.complaint(router);
            if obstacle == Obstacle::Absent {
                let mut names: Vec<&str> = self.0.keys().copied().collect();
                names.sort_unstable();
                message = format!("{message}, this host has {}", enumerate(&names));
            }
            let (file, name) = (config.file.display(), quote(&router.name));
            format!("{file}:{line}: virtual_router {name}: {}: {message}; it waits in fault until then", key.name)
        };
        waiting.map(warning).collect()
    }
}

/// Finds everything in the configuration that this host cannot do. `is_executable` says it of a path, `is_user` of a name.
///
/// # Errors
///
/// Fails with everything that only another configuration can mend.
pub fn check(
    config: &Config,
    survey: &Survey<'_>,
    is_executable: impl Fn(&Path) -> bool,
    is_user: impl Fn(&str) -> bool,
) -> Result<(), ConfigError> {
    let mut problems = Problems::default();
    let mut outcome = Ok(());
    for router in &config.virtual_routers {
        for obstacle in survey.obstacles(router).into_iter().filter(Obstacle::is_final) {
            let (line, key, message) = obstacle.complaint(router);
            let place = format!("virtual_router {}: {}", quote(&router.name), key.name);
            outcome = Err(problems.report(line, format!("{place}: {message}")));
        }
        for NotifyProgram { on, path, line } in router.notify.programs.iter().filter(|it| !is_executable(&it.path)) {
            let place = format!("virtual_router {}: {}", quote(&router.name), on.key().name);
            let message = format!("{place}: {}", no_program(&path.to_string_lossy()));
            outcome = Err(problems.report(*line, message));
        }
    }
    for check in &config.checks {
        let CheckKind::Script { command, user } = &check.kind else { continue };
        let mut report = |key: Key, message: String| {
            let place = format!("check {}: {}", quote(&check.name), key.name);
            outcome = Err(problems.report(check.lines.1, format!("{place}: {message}")));
        };
        if let Some(program) = command.first().filter(|program| !is_executable(Path::new(program))) {
            report(keys::SCRIPT, no_program(program));
        }
        if let Some(user) = user.as_deref().filter(|user| !is_user(user)) {
            report(keys::USER, format!("this host has no user {}; give the name of one", quote(user)));
        }
    }
    problems.conclude(&config.file, outcome)
}

fn no_program(path: &str) -> String {
    format!("{} is no program that can be run; give the path of one", quote(path))
}

/// The address that adverts on this interface leave from (RFC 9568 1.7): the first that is not a virtual address,
/// except where we own that; over IPv6 the first such that is link-local (5.1.2.1, conformance 51, 52), or, for unicast
/// peers elsewhere, the oldest that is not.
fn primary_address(config: &Config, interface: &HostInterface, origin: Origin) -> Option<IpAddr> {
    let borrowed: HashSet<IpAddr> = config
        .virtual_routers
        .iter()
        .filter(|router| router.interface == interface.name && !router.priority.is_owner())
        .flat_map(|router| router.addresses.iter().map(|vip| vip.address))
        .collect();
    let fits = |address: &IpAddr| match address {
        IpAddr::V4(_) => origin == Origin::Ipv4,
        IpAddr::V6(address) if address.is_unicast_link_local() => origin == Origin::LinkLocal,
        IpAddr::V6(_) => origin == Origin::Ipv6,
    };
    let mut own = interface.addresses.iter().copied().filter(|it| fits(it) && !borrowed.contains(it));
    match origin {
        Origin::Ipv4 | Origin::LinkLocal => own.next(),
        // The kernel has the newest one first: it may be a temporary one (RFC 8981), which no peer can have listed.
        Origin::Ipv6 => own.next_back(),
    }
}

/// As many names as a message lists.
const MAX_NAMES: usize = 16;

/// `a, b, c and 5 more`
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

    fn config(routers: &str) -> Config {
        super::super::parse(Path::new("x.toml"), routers).unwrap()
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
        assert_eq!(primary_address(&config, &interface, Origin::Ipv4), Some(IpAddr::from([192, 0, 2, 10])));
        assert_eq!(Survey::new(&config, &[interface]).warnings(&config), [""; 0]);
    }

    #[test]
    fn the_owner_sends_from_the_address_that_it_owns() {
        // RFC 9568 1.7
        let config = config(&router(1, 255, "192.0.2.1/24"));
        let interface = eth0(&[[192, 0, 2, 1]]);
        assert_eq!(primary_address(&config, &interface, Origin::Ipv4), Some(IpAddr::from([192, 0, 2, 1])));
        assert_eq!(Survey::new(&config, &[interface]).warnings(&config), [""; 0]);
    }

    #[test]
    fn a_virtual_address_alone_is_no_address_to_send_from() {
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
        assert_eq!(primary_address(&config, &interface, Origin::LinkLocal), None);
        assert_eq!(Survey::new(&config, &[interface.clone()]).warnings(&config).len(), 1);
        let own = "fe80::10".parse().unwrap();
        interface.addresses.push(own);
        assert_eq!(primary_address(&config, &interface, Origin::LinkLocal), Some(own));
        assert_eq!(Survey::new(&config, &[interface]).warnings(&config), [""; 0]);
    }

    #[test]
    fn adverts_to_ipv6_peers_elsewhere_leave_from_the_oldest_address_that_is_not_virtual() {
        let config = config(&router(1, 100, "fe80::1/64\", \"2001:db8::1/64"));
        let mut interface = eth0(&[]);
        // The kernel has the newest one first.
        let addresses = ["2001:db8::abcd", "2001:db8::10", "2001:db8::1", "fe80::10"];
        interface.addresses.extend(addresses.map(|text| text.parse::<IpAddr>().unwrap()));
        let own = "2001:db8::10".parse().unwrap();
        assert_eq!(primary_address(&config, &interface, Origin::Ipv6), Some(own));
    }

    #[test]
    fn every_virtual_router_is_checked() {
        let config = config(&(router(1, 100, "192.0.2.1/24") + &router(2, 100, "192.0.2.2/24")));
        assert_eq!(Survey::new(&config, &[]).warnings(&config).len(), 2);
        let loopback = HostInterface { loopback: true, ..eth0(&[]) };
        let error = check(&config, &Survey::new(&config, &[loopback]), |_| true, |_| true).unwrap_err();
        assert_eq!(error.problems().len(), 2);
    }

    #[test]
    fn long_enumerations_are_cut() {
        let names: Vec<u32> = (1..=18).collect();
        assert!(enumerate(&names).ends_with("15, 16 and 2 more"));
        assert!(enumerate(names.get(..16).unwrap()).ends_with("15, 16"));
    }
}
