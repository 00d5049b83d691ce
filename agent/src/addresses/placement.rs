//! What the agent installs on the host for a virtual router.

use std::net::IpAddr;

use xvrrp_common::units::{IfIndex, MacAddress};

use super::tolerance::RestLeft;

/// What one virtual router needs on the host, and where.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Name of the virtual router, for the log.
    pub name: String,
    /// Name of the interface, for the log.
    pub interface: String,
    /// Interface that the addresses are installed on.
    pub ifindex: IfIndex,
    /// Addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Those addresses that a predecessor has installed and that stay for now.
    pub installed: Vec<(IpAddr, u8)>,
    /// MAC address that the card's unicast filter has to admit, whatever the role.
    pub virtual_mac: Option<MacAddress>,
    /// Rest that this process had begun before a reload.
    pub rest: RestLeft,
}
