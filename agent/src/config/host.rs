//! What a configuration needs of the host, checked against facts given as plain data.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::path::Path;

use super::error::{ConfigError, Problems, Reported};
use super::keys::{self, Key};
use super::section::quote;
use super::{Config, VirtualRouterConfig};

/// An interface of the network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInterface {
    pub name: String,
    /// Has Ethernet framing.
    pub ethernet: bool,
    pub loopback: bool,
    /// IPv4 addresses in the kernel's order, without those that an earlier run of the agent left behind.
    pub addresses: Vec<Ipv4Addr>,
}

/// Finds everything in the configuration that this host cannot do. `is_executable` says it of a path.
pub fn check(
    config: &Config,
    interfaces: &[HostInterface],
    is_executable: impl Fn(&Path) -> bool,
) -> Result<(), ConfigError> {
    let facts: HashMap<&str, Facts> = interfaces
        .iter()
        .map(|interface| {
            let primary = primary_address(config, interface);
            (interface.name.as_str(), Facts { interface, primary })
        })
        .collect();
    let mut problems = Problems::default();
    let mut outcome = Ok(());
    for router in &config.virtual_routers {
        outcome = outcome.and(check_router(router, &facts, &mut problems));
        if let Some(program) = router.notify.as_deref().filter(|program| !is_executable(program)) {
            let place = format!("virtual_router {}: {}", quote(&router.name), keys::NOTIFY.name);
            let program = quote(&program.to_string_lossy());
            let message = format!("{place}: {program} is no program that can be run; give the path of one");
            outcome = Err(problems.report(router.lines.notify, message));
        }
    }
    problems.conclude(&config.file, outcome)
}

/// The address that adverts on this interface leave from (RFC 9568 1.7): the first that is not a virtual address,
/// except where we own that.
pub fn primary_address(config: &Config, interface: &HostInterface) -> Option<Ipv4Addr> {
    let borrowed: HashSet<Ipv4Addr> = config
        .virtual_routers
        .iter()
        .filter(|router| router.interface == interface.name && !router.priority.is_owner())
        .flat_map(|router| router.addresses.iter().map(|vip| vip.address))
        .collect();
    interface.addresses.iter().copied().find(|address| !borrowed.contains(address))
}

struct Facts<'a> {
    interface: &'a HostInterface,
    primary: Option<Ipv4Addr>,
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
    let Some(Facts { interface, primary }) = facts.get(router.interface.as_str()) else {
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
    if primary.is_none() {
        let message = format!("{name} has no IPv4 address of its own to send adverts from; add one to the interface");
        return report(line, keys::INTERFACE, message);
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
        let addresses = addresses.iter().map(|octets| Ipv4Addr::from(*octets)).collect();
        HostInterface { name: "eth0".into(), ethernet: true, loopback: false, addresses }
    }

    #[test]
    fn adverts_leave_from_the_first_address_that_is_not_virtual() {
        let config = config(&router(1, 100, "192.0.2.1/24"));
        let interface = eth0(&[[192, 0, 2, 1], [192, 0, 2, 10], [192, 0, 2, 11]]);
        assert_eq!(primary_address(&config, &interface), Some(Ipv4Addr::new(192, 0, 2, 10)));
        assert_eq!(check(&config, &[interface], |_| true), Ok(()));
    }

    #[test]
    fn the_owner_sends_from_the_address_that_it_owns() {
        // RFC 9568 1.7
        let config = config(&router(1, 255, "192.0.2.1/24"));
        let interface = eth0(&[[192, 0, 2, 1]]);
        assert_eq!(primary_address(&config, &interface), Some(Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(check(&config, &[interface], |_| true), Ok(()));
    }

    #[test]
    fn a_virtual_address_alone_is_no_address_to_send_from() {
        let config = config(&router(1, 100, "192.0.2.1/24"));
        assert!(check(&config, &[eth0(&[[192, 0, 2, 1]])], |_| true).is_err());
    }

    #[test]
    fn every_virtual_router_is_checked() {
        let config = config(&(router(1, 100, "192.0.2.1/24") + &router(2, 100, "192.0.2.2/24")));
        let error = check(&config, &[], |_| true).unwrap_err();
        assert_eq!(error.problems().len(), 2);
    }

    #[test]
    fn long_enumerations_are_cut() {
        let names: Vec<u32> = (1..=18).collect();
        assert!(enumerate(&names).ends_with("15, 16 and 2 more"));
        assert!(enumerate(names.get(..16).unwrap()).ends_with("15, 16"));
    }
}
