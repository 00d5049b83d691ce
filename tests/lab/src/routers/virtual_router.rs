//! Configuration of the agents in the lab.

use std::collections::BTreeMap;
use std::fmt;

use crate::{INTERFACE, LINK_LOCAL_VIP, VIP, VIP_IPV6};

/// A `[[virtual_router]]` table: keys with values in TOML.
#[derive(Clone, Debug)]
pub struct VirtualRouter(BTreeMap<&'static str, String>);

impl VirtualRouter {
    /// Returns the virtual router `lan`: the lab's address, VRID 51, version 3, an advert every 100 ms.
    pub fn lan(priority: u8) -> Self {
        Self(BTreeMap::new())
            .with("name", "\"lan\"")
            .with("interface", &format!("{INTERFACE:?}"))
            .with("vrid", "51")
            .with("priority", &priority.to_string())
            .with("advert_interval", "\"100ms\"")
            .with("addresses", &format!("[\"{VIP}/24\"]"))
    }

    /// Returns the virtual router `lan` with adverts every second. Its lease is long enough for an agent to start again
    /// within it on a busy machine.
    pub fn unhurried_lan(priority: u8) -> Self {
        Self::lan(priority).with("advert_interval", "\"1s\"")
    }

    /// Returns the virtual router `lan` over IPv6.
    pub fn lan_ipv6(priority: u8) -> Self {
        Self::lan(priority).with("addresses", &format!("[\"{LINK_LOCAL_VIP}/64\", \"{VIP_IPV6}/64\"]"))
    }

    /// Returns the virtual router `lan` with the addresses of both families.
    pub fn lan_of_both(priority: u8) -> Self {
        let addresses = format!("[\"{VIP}/24\", \"{LINK_LOCAL_VIP}/64\", \"{VIP_IPV6}/64\"]");
        Self::lan(priority).with("addresses", &addresses)
    }

    /// Sets a key or replaces its value. The value is TOML, so strings have quotes.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: &str) -> Self {
        self.0.insert(key, value.to_owned());
        self
    }
}

impl fmt::Display for VirtualRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[[virtual_router]]")?;
        self.0.iter().try_for_each(|(key, value)| writeln!(f, "{key} = {value}"))
    }
}
