//! What the agent installs on the host for a virtual router.

use std::sync::Arc;

use xvrrp_common::units::{IfIndex, MacAddress};
use xvrrp_config::RoutingConfig;
use xvrrp_net::{HostAddress, Placed};

use super::tolerance::RestLeft;

/// What one virtual router needs on the host, and where.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Name of the virtual router, for the log.
    pub name: String,
    /// Name of its interface.
    pub interface: String,
    /// Its interface, whose unicast filter has to admit the virtual MAC.
    pub ifindex: IfIndex,
    /// Addresses, in the order in which they are installed.
    pub addresses: Vec<PlacedAddress>,
    /// MAC address that the card's unicast filter has to admit, whatever the role.
    pub virtual_mac: Option<MacAddress>,
    /// Routes and rules that it wants while it is Active.
    pub routing: Arc<RoutingConfig>,
    /// Rest that this process had begun before a reload.
    pub rest: RestLeft,
}

impl Placement {
    /// Returns whether a predecessor has installed one of the addresses.
    pub fn has_installed(&self) -> bool {
        self.addresses.iter().any(|address| address.installed)
    }
}

/// A virtual address, with its place on the host.
#[derive(Clone, Debug)]
pub struct PlacedAddress {
    /// Interface that it is installed on, the address, and its prefix length.
    pub placed: Placed,
    /// Name of the interface.
    pub interface: Arc<str>,
    /// Its options, if it has any.
    pub options: Option<HostAddress>,
    /// Whether it is put back when something else removes it.
    pub kept: bool,
    /// Whether a predecessor has installed it, so that it stays for now.
    pub installed: bool,
}
