//! From a configuration and the host's interfaces to what each virtual router consists of. Touches nothing.

use std::net::IpAddr;

use xvrrp_common::abi::{self, RouterKey, SourceKey, VipKey};
use xvrrp_common::units::{Family, Instant, MacAddress};

use crate::addresses::Placement;
use crate::config::{Checksum, Config, Vip, VirtualRouterConfig, host};
use crate::net::{Interface, MARKS_LAST};
use crate::{notify, vrrp};

/// One virtual router, thought out: what the configuration says of one family of addresses.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Its place among all of them, and its number in the election.
    pub index: usize,
    pub family: Family,
    pub config: &'a VirtualRouterConfig,
    pub interface: &'a Interface,
    pub key: RouterKey,
    /// In the maps: its place among all of them, unless a predecessor gave it another.
    pub slot: u32,
    /// The predecessor was Active, and this is the end of its lease.
    pub resume: Option<Instant>,
    /// Source of our adverts.
    pub primary: IpAddr,
    /// The MAC that the virtual addresses are reached at.
    pub mac: MacAddress,
}

/// All virtual routers of a configuration that was checked against these interfaces.
pub fn plans<'a>(config: &'a Config, interfaces: &'a [Interface]) -> Vec<Plan<'a>> {
    let families =
        config.virtual_routers.iter().flat_map(|router| router.families().map(move |family| (router, family)));
    let placed = families.filter_map(|(router, family)| {
        let interface = interfaces.iter().find(|interface| interface.name == router.interface)?;
        Some((router, family, interface, host::primary_address(config, &facts(interface), family)?))
    });
    placed
        .enumerate()
        .map(|(index, (router, family, interface, primary))| Plan::new(index, router, family, interface, primary))
        .collect()
}

/// The place of the other family of the same name, with which a virtual router changes role.
pub fn partner(plans: &[Plan<'_>], plan: &Plan<'_>) -> Option<usize> {
    let other = |other: &&Plan<'_>| other.config.name == plan.config.name && other.family != plan.family;
    plans.iter().find(other).map(|other| other.index)
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
    fn new(
        index: usize,
        config: &'a VirtualRouterConfig,
        family: Family,
        interface: &'a Interface,
        primary: IpAddr,
    ) -> Self {
        Self {
            index,
            family,
            config,
            interface,
            slot: u32::try_from(index).expect("a configuration has at most 4080 virtual routers of each family"),
            resume: None,
            key: RouterKey { ifindex: interface.ifindex, vlan: 0, family: family as u8, vrid: config.vrid.get() },
            primary,
            mac: if config.virtual_mac { MacAddress::of_virtual_router(family, config.vrid) } else { interface.mac },
        }
    }

    /// What the kernel half gets to know, with no role unless it is to be kept.
    pub fn kernel(&self) -> abi::Router {
        let config = self.config;
        let flag = |set, flag| if set { flag } else { 0 };
        abi::Router {
            primary: abi::address(self.primary),
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

    /// The virtual addresses.
    pub fn addresses(&self) -> impl Iterator<Item = Vip> {
        self.config.addresses_of(self.family)
    }

    pub fn vips(&self) -> impl Iterator<Item = VipKey> {
        let RouterKey { ifindex, vlan, family, .. } = self.key;
        let key = move |vip: Vip| VipKey { ifindex, vlan, family, reserved: 0, address: abi::address(vip.address) };
        self.addresses().map(key)
    }

    pub fn allowed_sources(&self) -> impl Iterator<Item = SourceKey> {
        let (router, family) = (self.key, self.family);
        let sources = self.config.allowed_sources.iter().filter(move |source| Family::of(**source) == family);
        sources.map(move |source| SourceKey { router, address: abi::address(*source) })
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
            primary: self.primary,
            announce_count: self.config.announce_count,
            announce_interval: self.config.announce_interval,
        }
    }

    /// Accept_Mode; the owner always accepts (RFC 9568 6.1, 6.4.3, conformance 42).
    fn accepts(&self) -> bool {
        self.config.accept || self.config.priority.is_owner()
    }

    /// Of the first family only: both change role together.
    pub fn audience(&self) -> Option<notify::Audience> {
        (self.config.families().next() == Some(self.family)).then(|| notify::Audience {
            kind: "INSTANCE",
            name: self.config.name.clone(),
            environment: vec![
                ("XVRRP_VIRTUAL_ROUTER", self.config.name.clone()),
                ("XVRRP_VRID", self.config.vrid.get().to_string()),
                ("XVRRP_INTERFACE", self.config.interface.clone()),
            ],
            notify: self.config.notify.clone(),
        })
    }

    /// With `accept = false` the addresses stay off the interface: the kernel half answers for them, and nothing
    /// on this host may take packets for them.
    pub fn placement(&self) -> Placement {
        let addresses = self.addresses().map(|vip| (vip.address, vip.prefix_length));
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
