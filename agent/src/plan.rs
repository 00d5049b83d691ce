//! From a configuration and the host's interfaces to what each virtual router consists of. Touches nothing.

use std::net::{IpAddr, Ipv4Addr};

use xvrrp_common::abi::{self, FAMILY_IPV4, RouterKey, SourceKey, VipKey, ipv4_address};
use xvrrp_common::units::{Instant, MacAddress};

use crate::addresses::Placement;
use crate::config::{Checksum, Config, VirtualRouterConfig, host};
use crate::net::{Interface, MARKS_LAST};
use crate::{notify, vrrp};

/// One virtual router, thought out.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Its place in the configuration, and its number in the election.
    pub index: usize,
    pub config: &'a VirtualRouterConfig,
    pub interface: &'a Interface,
    pub key: RouterKey,
    /// In the maps: its place in the configuration, unless a predecessor gave it another.
    pub slot: u32,
    /// The predecessor was Active, and this is the end of its lease.
    pub resume: Option<Instant>,
    /// Source of our adverts.
    pub primary: Ipv4Addr,
    /// The MAC that the virtual addresses are reached at.
    pub mac: MacAddress,
}

/// All virtual routers of a configuration that was checked against these interfaces.
pub fn plans<'a>(config: &'a Config, interfaces: &'a [Interface]) -> Vec<Plan<'a>> {
    let plan = |(index, router): (usize, &'a VirtualRouterConfig)| {
        let interface = interfaces.iter().find(|interface| interface.name == router.interface)?;
        let primary = host::primary_address(config, &facts(interface))?;
        Some(Plan::new(index, router, interface, primary))
    };
    config.virtual_routers.iter().enumerate().filter_map(plan).collect()
}

/// What the configuration's check asks of an interface.
pub fn facts(interface: &Interface) -> host::HostInterface {
    // An address that a crashed agent left is no address of the host's.
    let own = interface.addresses.iter().filter(|address| !address.ours);
    host::HostInterface {
        name: interface.name.clone(),
        ethernet: interface.ethernet,
        loopback: interface.loopback,
        addresses: own.map(|address| address.address).collect(),
    }
}

impl<'a> Plan<'a> {
    fn new(index: usize, config: &'a VirtualRouterConfig, interface: &'a Interface, primary: Ipv4Addr) -> Self {
        Self {
            index,
            config,
            interface,
            slot: u32::try_from(index).expect("a configuration has at most 4080 virtual routers"),
            resume: None,
            key: RouterKey { ifindex: interface.ifindex, vlan: 0, family: FAMILY_IPV4, vrid: config.vrid.get() },
            primary,
            mac: if config.virtual_mac { MacAddress::virtual_ipv4(config.vrid) } else { interface.mac },
        }
    }

    /// What the kernel half gets to know, with no role unless it is to be kept.
    pub fn kernel(&self) -> abi::Router {
        let config = self.config;
        let flag = |set, flag| if set { flag } else { 0 };
        abi::Router {
            primary: ipv4_address(self.primary.octets()),
            auth_data: config.password.map_or([0; 8], |password| password.0),
            advert_interval: config.advert_interval.as_nanos(),
            slot: self.slot,
            role: if self.resume.is_some() { abi::Router::ROLE_ACTIVE } else { abi::Router::ROLE_INITIALIZE },
            flags: flag(config.virtual_mac, abi::Router::VIRTUAL_MAC)
                | flag(self.accepts(), abi::Router::ACCEPT)
                | flag(config.preempt, abi::Router::PREEMPT)
                | flag(!config.allowed_sources.is_empty(), abi::Router::RESTRICT_SOURCES),
            priority: config.priority.get(),
            version: config.version as u8,
            checksum: match config.checksum {
                Checksum::Auto => abi::Router::CHECKSUM_AUTO,
                Checksum::PseudoHeader => abi::Router::CHECKSUM_PSEUDO_HEADER,
                Checksum::Plain => abi::Router::CHECKSUM_PLAIN,
            },
            auth_type: u8::from(config.password.is_some()),
            answer_mac: self.mac.0,
            interface_mac: self.interface.mac.0,
            reserved: [0; 2],
        }
    }

    pub fn vips(&self) -> impl Iterator<Item = VipKey> {
        let RouterKey { ifindex, vlan, family, .. } = self.key;
        self.config.addresses.iter().map(move |vip| VipKey {
            ifindex,
            vlan,
            family,
            reserved: 0,
            address: ipv4_address(vip.address.octets()),
        })
    }

    pub fn allowed_sources(&self) -> impl Iterator<Item = SourceKey> {
        let router = self.key;
        self.config
            .allowed_sources
            .iter()
            .map(move |source| SourceKey { router, address: ipv4_address(source.octets()) })
    }

    pub fn machine(&self) -> vrrp::Config {
        vrrp::Config {
            vrid: self.config.vrid,
            version: self.config.version,
            priority: self.config.priority,
            advert_interval: self.config.advert_interval,
            preempt: self.config.preempt,
            preempt_delay: self.config.preempt_delay,
            lease: self.config.lease,
            primary: IpAddr::V4(self.primary),
            announce_count: self.config.announce_count,
            announce_interval: self.config.announce_interval,
        }
    }

    /// Accept_Mode; the owner always accepts (RFC 9568 6.1, 6.4.3).
    fn accepts(&self) -> bool {
        self.config.accept || self.config.priority.is_owner()
    }

    pub fn notify_program(&self) -> Option<notify::Program> {
        Some(notify::Program {
            path: self.config.notify.clone()?,
            name: self.config.name.clone(),
            vrid: self.config.vrid.get(),
            interface: self.config.interface.clone(),
            priority: self.config.priority.get(),
        })
    }

    /// With `accept = false` the addresses stay off the interface: the kernel half answers ARP for them, and nothing
    /// on this host may take packets for them.
    pub fn placement(&self) -> Placement {
        let addresses = self.config.addresses.iter().map(|vip| (vip.address, vip.prefix_length));
        let addresses: Vec<_> = if self.accepts() { addresses.collect() } else { Vec::new() };
        let left =
            self.interface.addresses.iter().filter(|found| (found.ours || !*MARKS_LAST) && self.resume.is_some());
        let left = left.map(|found| (found.address, found.prefix_length)).filter(|found| addresses.contains(found));
        Placement {
            name: self.config.name.clone(),
            interface: self.interface.name.clone(),
            ifindex: self.interface.ifindex,
            installed: left.collect(),
            addresses,
        }
    }
}
