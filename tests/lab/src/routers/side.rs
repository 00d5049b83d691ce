//! One more interface of a host with a virtual router of its own. Changes of it must not affect other virtual routers.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::{Namespace, VirtualRouter};

/// The primary addresses. The interface has one of them at a time.
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 200, 0, 1), Ipv4Addr::new(10, 201, 0, 1)];

/// The interface. Its other end is on the same host.
#[derive(Debug)]
pub struct Side {
    present: usize,
}

impl Side {
    /// The interface of its virtual router.
    pub const INTERFACE: &str = "side0";
    /// The other end, where its adverts arrive.
    pub const OTHER_END: &str = "side1";
    /// The name of its virtual router.
    pub const NAME: &str = "side";

    /// Creates both ends on the host.
    pub fn new(host: &Namespace) -> Result<Self> {
        let (near, far) = (Self::INTERFACE, Self::OTHER_END);
        host.sh(&format!(
            "ip link add {near} type veth peer name {far} && ip addr add {}/24 dev {near} && ip link set {far} up && ip \
             link set {near} up",
            ADDRESSES[0]
        ))?;
        Ok(Self { present: 0 })
    }

    /// Returns the configuration of its virtual router.
    pub fn virtual_router() -> VirtualRouter {
        VirtualRouter::lan(200)
            .with("name", &format!("{:?}", Self::NAME))
            .with("interface", &format!("{:?}", Self::INTERFACE))
            .with("vrid", "200")
            .with("addresses", "[\"10.202.0.1/32\"]")
    }

    /// Returns its primary address.
    pub const fn address(&self) -> Ipv4Addr {
        ADDRESSES[self.present]
    }

    /// Replaces its primary address. The new address is added before the old one is removed.
    pub fn change(&mut self, host: &Namespace) -> Result<()> {
        let [old, new] = [ADDRESSES[self.present], ADDRESSES[1 - self.present]];
        self.present = 1 - self.present;
        let add_and_delete = format!(
            "ip addr add {new}/24 dev {interface} && ip addr del {old}/24 dev {interface}",
            interface = Self::INTERFACE
        );
        host.sh(&add_and_delete).map(drop)
    }
}
