//! What a configuration needs of the host, checked against facts given as plain data.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;

use xvrrp_common::units::Family;

use super::error::{ConfigError, Problems, Reported};
use super::keys::{self, Key};
use super::section::quote;
use super::{CheckKind, Config, NotifyProgram, VirtualRouterConfig};

/// An interface of the network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInterface {
    pub name: String,
    /// Has Ethernet framing.
    pub ethernet: bool,
    pub loopback: bool,
    /// Addresses in the kernel's order, without those that an earlier run of the agent left behind.
    pub addresses: Vec<IpAddr>,
}

/// Finds everything in the configuration that this host cannot do. `is_executable` says it of a path, `is_user` of a name.
pub fn check(
    config: &Config,
    interfaces: &[HostInterface],
    is_executable: impl Fn(&Path) -> bool,
    is_user: impl Fn(&str) -> bool,
) -> Result<(), ConfigError> {
    let facts: HashMap<&str, Facts> = interfaces
        .iter()
        .map(|interface| {
            let primaries = [Family::Ipv4, Family::Ipv6].map(|family| primary_address(config, interface, family));
            (interface.name.as_str(), Facts { interface, primaries })
        })
        .collect();
    let mut problems = Problems::default();
    let mut outcome = Ok(());
    for router in &config.virtual_routers {
        outcome = outcome.and(check_router(router, &facts, &mut problems));
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
/// except where we own that; over IPv6 the first such that is link-local (5.1.2.1, conformance 51, 52).
pub fn primary_address(config: &Config, interface: &HostInterface, family: Family) -> Option<IpAddr> {
    let borrowed: HashSet<IpAddr> = config
        .virtual_routers
        .iter()
        .filter(|router| router.interface == interface.name && !router.priority.is_owner())
        .flat_map(|router| router.addresses.iter().map(|vip| vip.address))
        .collect();
    let fits = |address: &IpAddr| match address {
        IpAddr::V4(_) => family == Family::Ipv4,
        IpAddr::V6(address) => family == Family::Ipv6 && address.is_unicast_link_local(),
    };
    interface.addresses.iter().copied().filter(fits).find(|address| !borrowed.contains(address))
}

struct Facts<'a> {
    interface: &'a HostInterface,
    /// Over IPv4 and over IPv6.
    primaries: [Option<IpAddr>; 2],
}

fn check_router(
    router: &VirtualRouterConfig,
    facts: &HashMap<&str, Facts>,
    problems: &mut Problems,
) -> Result<(), Reported> {
    let place = format!("virtual_router {}", quote(&router.name));
    let name = quote(&router.interface);
    let mut report =
        |line, key: Key, message: String| Err(problems.report(line, format!("{place}: {}: {message}", key.name)));

    let line = router.lines.interface;
    let Some(Facts { interface, primaries: [ipv4, ipv6] }) = facts.get(router.interface.as_str()) else {
        let mut names: Vec<&str> = facts.keys().copied().collect();
        names.sort_unstable();
        return report(line, keys::INTERFACE, format!("there is no {name}; this host has {}", enumerate(&names)));
    };
    if interface.loopback {
        let message = format!("{name} is a loopback interface; expected an Ethernet interface");
        return report(line, keys::INTERFACE, message);
    }
    if !interface.ethernet {
        let message = format!("{name} has no Ethernet framing; expected an Ethernet interface");
        return report(line, keys::INTERFACE, message);
    }
    if router.priority.is_owner() {
        let vips = router.addresses.iter().map(|vip| vip.address);
        let missing: Vec<_> = vips.filter(|address| !interface.addresses.contains(address)).collect();
        if !missing.is_empty() {
            let message = format!(
                "{name} does not have {}, but priority = 255 means that it does (RFC 9568 5.2.4); add the address to \
                 the interface, or lower the priority",
                enumerate(&missing)
            );
            return report(router.lines.addresses, keys::ADDRESSES, message);
        }
    }
    let missing = |family| match family {
        Family::Ipv4 if ipv4.is_none() => {
            Some("IPv4 address of its own to send adverts from; add one to the interface")
        }
        Family::Ipv6 if ipv6.is_none() => Some(
            "link-local IPv6 address of its own to send adverts from (RFC 9568 5.1.2.1); set the interface up, with \
             net.ipv6.conf.*.disable_ipv6 = 0, or add one",
        ),
        Family::Ipv4 | Family::Ipv6 => None,
    };
    if let Some(what) = router.families().find_map(missing) {
        return report(line, keys::INTERFACE, format!("{name} has no {what}"));
    }
    Ok(())
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
        HostInterface { name: "eth0".into(), ethernet: true, loopback: false, addresses }
    }

    #[test]
    fn adverts_leave_from_the_first_address_that_is_not_virtual() {
        // conformance 51
        let config = config(&router(1, 100, "192.0.2.1/24"));
        let interface = eth0(&[[192, 0, 2, 1], [192, 0, 2, 10], [192, 0, 2, 11]]);
        assert_eq!(primary_address(&config, &interface, Family::Ipv4), Some(IpAddr::from([192, 0, 2, 10])));
        assert_eq!(check(&config, &[interface], |_| true, |_| true), Ok(()));
    }

    #[test]
    fn the_owner_sends_from_the_address_that_it_owns() {
        // RFC 9568 1.7
        let config = config(&router(1, 255, "192.0.2.1/24"));
        let interface = eth0(&[[192, 0, 2, 1]]);
        assert_eq!(primary_address(&config, &interface, Family::Ipv4), Some(IpAddr::from([192, 0, 2, 1])));
        assert_eq!(check(&config, &[interface], |_| true, |_| true), Ok(()));
    }

    #[test]
    fn a_virtual_address_alone_is_no_address_to_send_from() {
        let config = config(&router(1, 100, "192.0.2.1/24"));
        assert!(check(&config, &[eth0(&[[192, 0, 2, 1]])], |_| true, |_| true).is_err());
    }

    #[test]
    fn adverts_over_ipv6_leave_from_the_first_link_local_address_that_is_not_virtual() {
        // RFC 9568 5.1.2.1 (conformance 52)
        let config = config(&router(1, 100, "fe80::1/64"));
        let mut interface = eth0(&[[192, 0, 2, 10]]);
        interface.addresses.extend(["2001:db8::10", "fe80::1"].map(|text| text.parse::<IpAddr>().unwrap()));
        assert_eq!(primary_address(&config, &interface, Family::Ipv6), None);
        assert!(check(&config, &[interface.clone()], |_| true, |_| true).is_err());
        let own = "fe80::10".parse().unwrap();
        interface.addresses.push(own);
        assert_eq!(primary_address(&config, &interface, Family::Ipv6), Some(own));
        assert_eq!(check(&config, &[interface], |_| true, |_| true), Ok(()));
    }

    #[test]
    fn every_virtual_router_is_checked() {
        let config = config(&(router(1, 100, "192.0.2.1/24") + &router(2, 100, "192.0.2.2/24")));
        let error = check(&config, &[], |_| true, |_| true).unwrap_err();
        assert_eq!(error.problems().len(), 2);
    }

    #[test]
    fn long_enumerations_are_cut() {
        let names: Vec<u32> = (1..=18).collect();
        assert!(enumerate(&names).ends_with("15, 16 and 2 more"));
        assert!(enumerate(names.get(..16).unwrap()).ends_with("15, 16"));
    }
}
