//! Derives from the configuration and the host's interfaces what each virtual router consists of. Changes nothing.

pub mod cause;
pub mod waits;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::net::IpAddr;
use std::sync::Arc;

use xvrrp_common::abi::{self, RouterKey, SourceKey, VipKey};
use xvrrp_common::units::{Family, IfIndex, Instant, MacAddress};
use xvrrp_common::wire::vrrp::HOP_LIMIT;
use xvrrp_config::host::{self, Obstacle};
use xvrrp_config::surroundings::Surrounding;
use xvrrp_config::{Checksum, Config, GroupIndex, UnicastPeer, Vip, VirtualRouterConfig};
use xvrrp_dataplane::Slot;
use xvrrp_net::{Interface, InterfaceAddress, InterfaceKind, MARKS_LAST, Placed};

use crate::addresses::{self, PlacedAddress, Placement, RestLeft};
use crate::identity::{Place, RouterIndex};
use crate::plan::cause::Cause;
use crate::tracking::{self, Verdict};

/// Plan of one virtual router: what the configuration says about one address family.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Place among all virtual routers of the configuration, including those that wait.
    pub place: Place,
    /// Number in the election.
    pub index: RouterIndex,
    pub family: Family,
    pub config: &'a VirtualRouterConfig,
    pub interface: &'a Interface,
    pub key: RouterKey,
    /// Slot in the maps. It equals `index` unless a predecessor had assigned another one.
    pub slot: Slot,
    /// End of the lease of a predecessor that was Active, if this agent is to resume the role.
    pub resume: Option<Instant>,
    /// True if the predecessor left the role to others, which this agent continues to do.
    pub stands_by: bool,
    /// True if the predecessor sent the plain form of the checksum ([`abi::Router::SENDS_PLAIN`]).
    pub sends_plain: bool,
    /// Verdict of the tracked checks to start with.
    pub verdict: Verdict,
    /// Source address of the adverts.
    pub primary: IpAddr,
    /// The other routers, if adverts are unicast.
    pub unicast_peers: Vec<UnicastPeer>,
    /// MAC address at which the virtual addresses are reached.
    pub mac: MacAddress,
    /// The other interfaces that have virtual addresses.
    pub devices: Vec<Device<'a>>,
}

/// Another interface than that of the virtual router, which has some of its addresses. It has them at its own MAC.
#[derive(Debug)]
pub struct Device<'a> {
    pub interface: &'a Interface,
    pub addresses: Vec<IpAddr>,
}

/// Virtual router that cannot take part in the current state of its interface. It is in fault, and only the management
/// side knows about it.
#[derive(Debug)]
pub struct Waiting<'a> {
    /// Place among all virtual routers of the configuration, as in [`Plan`].
    pub place: Place,
    pub family: Family,
    pub config: &'a VirtualRouterConfig,
    pub hindrance: Hindrance,
}

/// Why a virtual router waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// Its interface lacks something.
    Obstacle(Obstacle),
    /// Setting it up has failed with this message. Another attempt may succeed.
    Failed(String),
}

impl Hindrance {
    /// Describes why a virtual router on this interface waits.
    pub fn describe(&self, interface: &str) -> String {
        match self {
            Self::Obstacle(obstacle) => obstacle.reason(interface),
            Self::Failed(message) => message.clone(),
        }
    }
}

impl Waiting<'_> {
    /// Returns why it is in fault, for logs, status and notifications.
    pub fn cause(&self) -> Cause {
        Cause::Host(self.hindrance.describe(&self.config.interface))
    }
}

/// All virtual routers of a configuration.
#[derive(Debug)]
pub struct Plans<'a> {
    pub ready: Vec<Plan<'a>>,
    pub waiting: Vec<Waiting<'a>>,
    /// When the delay of takeovers after the start of the agent ends.
    pub delayed_until: Instant,
}

impl<'a> Plans<'a> {
    /// Plans all virtual routers. Those that cannot take part with these interfaces wait.
    pub fn new(config: &'a Config, interfaces: &'a [Interface]) -> Self {
        let facts: Vec<_> = interfaces.iter().map(|interface| facts(config, interface)).collect();
        let survey = host::Survey::new(config, &facts);
        let by_name: BTreeMap<&str, &Interface> =
            interfaces.iter().map(|interface| (interface.name.as_str(), interface)).collect();
        let families =
            config.virtual_routers.iter().flat_map(|router| router.families().map(move |family| (router, family)));
        let mut plans = Self { ready: Vec::new(), waiting: Vec::new(), delayed_until: Instant::default() };
        for (place, (router, family)) in families.enumerate() {
            let place = Place::new(place);
            let primary = survey.primary(router, family);
            match primary.and_then(|primary| {
                by_name.get(router.interface.as_str()).map(|&it| (it, primary)).ok_or(Obstacle::Absent)
            }) {
                Ok((interface, primary)) => {
                    let index = RouterIndex::new(plans.ready.len());
                    let devices = devices(router, family, &by_name);
                    let unicast_peers = survey.peers(router, family).collect();
                    let plan = Plan::new(place, index, router, family, interface, primary);
                    plans.ready.push(Plan { unicast_peers, devices, ..plan });
                }
                Err(obstacle) => {
                    let hindrance = Hindrance::Obstacle(obstacle);
                    plans.waiting.push(Waiting { place, family, config: router, hindrance });
                }
            }
        }
        plans
    }
}

impl<'a> Plans<'a> {
    /// Calls `equip` for each virtual router that is ready and returns the results. A virtual router for which this
    /// fails waits, with the error as the reason.
    pub fn equip<T, E: Error>(&mut self, mut equip: impl FnMut(&Plan<'a>) -> Result<T, E>) -> Vec<T> {
        let mut equipment = Vec::with_capacity(self.ready.len());
        for mut plan in std::mem::take(&mut self.ready) {
            match equip(&plan) {
                Ok(equipped) => {
                    equipment.push(equipped);
                    plan.index = RouterIndex::new(self.ready.len());
                    self.ready.push(plan);
                }
                Err(error) => {
                    let Plan { place, family, config, .. } = plan;
                    let hindrance = Hindrance::Failed(error.to_string());
                    self.waiting.push(Waiting { place, family, config, hindrance });
                }
            }
        }
        equipment
    }

    /// Returns the places and configurations of all virtual routers: first of those that take part, then of those that
    /// wait.
    pub fn all(&self) -> impl Iterator<Item = (Place, &'a VirtualRouterConfig)> {
        let ready = self.ready.iter().map(|plan| (plan.place, plan.config));
        ready.chain(self.waiting.iter().map(|waiting| (waiting.place, waiting.config)))
    }

    /// Returns the configurations of the virtual routers that take part, in the order of their numbers.
    pub fn taking_part(&self) -> impl Iterator<Item = &'a VirtualRouterConfig> {
        self.ready.iter().map(|plan| plan.config)
    }

    /// Returns the plan of the virtual router with this number in the election.
    pub fn get(&self, router: RouterIndex) -> Option<&Plan<'a>> {
        self.ready.get(router.get())
    }

    /// Returns the indices of the interfaces that have a virtual router.
    pub fn ifindices(&self) -> BTreeSet<IfIndex> {
        self.ready.iter().map(|plan| plan.interface.ifindex).collect()
    }

    /// Returns the interfaces that have a virtual router, each of them once.
    pub fn interfaces(&self) -> impl Iterator<Item = &'a Interface> {
        let by_index: BTreeMap<IfIndex, &'a Interface> =
            self.ready.iter().map(|plan| (plan.interface.ifindex, plan.interface)).collect();
        by_index.into_values()
    }

    /// Returns, for each virtual router, the numbers of all others that change role together with it: the families of
    /// the same name and the members of its sync group.
    pub fn partners(&self) -> Vec<Arc<[RouterIndex]>> {
        let mut by_name = BTreeMap::<&str, Vec<RouterIndex>>::new();
        let mut by_group = BTreeMap::<GroupIndex, Vec<RouterIndex>>::new();
        for plan in &self.ready {
            by_name.entry(&plan.config.name).or_default().push(plan.index);
            if let Some(group) = plan.config.sync_group {
                by_group.entry(group).or_default().push(plan.index);
            }
        }
        let partners = |plan: &Plan<'_>| {
            let same_name = by_name.get(plan.config.name.as_str()).into_iter().flatten();
            let same_group = plan.config.sync_group.and_then(|group| by_group.get(&group)).into_iter().flatten();
            let all: BTreeSet<RouterIndex> = same_name.chain(same_group).copied().collect();
            all.into_iter().filter(|index| *index != plan.index).collect()
        };
        self.ready.iter().map(partners).collect()
    }

    /// Returns whether a member of its sync group waits. Families of one name without a sync group do not need each
    /// other.
    pub fn lacks_partner(&self, plan: &Plan<'_>) -> bool {
        let group = plan.config.sync_group;
        group.is_some() && self.waiting.iter().any(|waiting| waiting.config.sync_group == group)
    }
}

/// Returns the other interfaces that have addresses of this family.
fn devices<'a>(
    config: &VirtualRouterConfig,
    family: Family,
    by_name: &BTreeMap<&str, &'a Interface>,
) -> Vec<Device<'a>> {
    let elsewhere = config.elsewhere();
    let mut devices = BTreeMap::<&str, Device<'a>>::new();
    for vip in config.addresses_of(family) {
        let Some(interface) = elsewhere.get(&vip.address).and_then(|name| by_name.get(name)) else { continue };
        let device = devices.entry(&interface.name).or_insert(Device { interface, addresses: Vec::new() });
        device.addresses.push(vip.address);
    }
    devices.into_values().collect()
}

/// Returns the configuration of the state machine.
pub fn machine(config: &VirtualRouterConfig, primary: IpAddr) -> xvrrp_vrrp::RouterConfig {
    xvrrp_vrrp::RouterConfig {
        vrid: config.vrid,
        version: config.version,
        priority: config.priority,
        advert_interval: config.advert_interval,
        preempt: config.preempt,
        preempt_delay: config.preempt_delay,
        lease: config.lease,
        primary,
        announce_count: config.announce_count,
        announce_interval: config.announce_interval,
        announce_refresh: config.announce_refresh,
        down_timer_adverts: config.election.down_timer_adverts,
        answers_lower: config.election.answer_lower_priority,
        answers_higher: config.election.answer_higher_priority,
        delayed_until: Instant::default(),
    }
}

/// Returns the addresses that belong to the host: all but the virtual ones that an agent has installed or left.
fn own_addresses<'a>(config: &'a Config, interface: &'a Interface) -> impl Iterator<Item = &'a InterfaceAddress> {
    let is_static = |address: &InterfaceAddress| {
        let statics = config.agent.statics.addresses.iter();
        statics.map(|it| &it.value).any(|it| it.address == address.address && it.interface == interface.name)
    };
    interface.addresses.iter().filter(move |address| !address.ours || is_static(address))
}

/// Returns the static addresses that are on an interface now.
pub fn present_statics(config: &Config, interfaces: &[Interface]) -> BTreeSet<(IfIndex, IpAddr)> {
    let statics = config.agent.statics.addresses.iter().map(|it| &it.value);
    let present = statics.filter_map(|wanted| {
        let interface = interfaces.iter().find(|it| it.name == wanted.interface)?;
        let is_there = interface.addresses.iter().any(|it| it.address == wanted.address);
        is_there.then_some((interface.ifindex, wanted.address))
    });
    present.collect()
}

/// Returns the facts about an interface that the check of the configuration needs.
pub fn facts(config: &Config, interface: &Interface) -> host::HostInterface {
    let own = own_addresses(config, interface);
    host::HostInterface {
        name: interface.name.clone(),
        ethernet: interface.ethernet,
        loopback: interface.loopback,
        takes_own_mac_only: match interface.kind {
            InterfaceKind::Ordinary => None,
            InterfaceKind::Bridge => Some("a bridge"),
            InterfaceKind::Macvlan => Some("a macvlan in another mode than passthru"),
        },
        addresses: own.map(|address| address.address).collect(),
    }
}

/// Returns the facts about interfaces that the warnings need.
pub fn surroundings(config: &Config, interfaces: &[Interface]) -> Vec<Surrounding> {
    let arp_ignore = |interface: &str| -> u8 {
        let value = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{interface}/arp_ignore"));
        value.ok().and_then(|value| value.trim().parse().ok()).unwrap_or_default()
    };
    let all = arp_ignore("all");
    let surrounding = |interface: &Interface| {
        let own = own_addresses(config, interface);
        let vlans = interfaces.iter().filter(|vlan| vlan.vlan_of == Some(interface.ifindex));
        Surrounding {
            name: interface.name.clone(),
            networks: own.map(|address| (address.address, address.prefix_length)).collect(),
            answers_for_all: all.max(arp_ignore(&interface.name)) == 0 && !interface.loopback && !interface.port,
            vlans: vlans.map(|vlan| vlan.name.clone()).collect(),
            strips_tags: xvrrp_dataplane::strips_vlan_tags(&interface.name),
        }
    };
    interfaces.iter().map(surrounding).collect()
}

impl<'a> Plan<'a> {
    fn new(
        place: Place,
        index: RouterIndex,
        config: &'a VirtualRouterConfig,
        family: Family,
        interface: &'a Interface,
        primary: IpAddr,
    ) -> Self {
        let slot = u32::try_from(index.get()).expect("a configuration has at most 4080 virtual routers of each family");
        let (ifindex, vrid) = (interface.ifindex.get(), config.vrid.get());
        Self {
            place,
            index,
            family,
            config,
            interface,
            slot: Slot::new(slot),
            resume: None,
            stands_by: false,
            sends_plain: false,
            verdict: tracking::initial(config, &[]),
            key: RouterKey { ifindex, vlan: 0, family: family as u8, vrid },
            primary,
            unicast_peers: Vec::new(),
            mac: if config.virtual_mac { MacAddress::of_virtual_router(family, config.vrid) } else { interface.mac },
            devices: Vec::new(),
        }
    }

    /// Returns the entry for the kernel half. It has the role Initialize, unless the role of a predecessor is resumed.
    pub fn kernel(&self) -> abi::Router {
        let config = self.config;
        let flag = |set, flag| if set { flag } else { 0 };
        abi::Router {
            primary: abi::address(self.primary),
            auth_data: config.password.map_or([0; 8], |password| password.0),
            advert_interval: config.advert_interval.as_nanos(),
            slot: self.slot.get(),
            role: if self.resume.is_some() { abi::Router::ROLE_ACTIVE } else { abi::Router::ROLE_INITIALIZE },
            flags: flag(config.virtual_mac, abi::Router::VIRTUAL_MAC)
                | flag(self.accepts(), abi::Router::ACCEPT)
                | flag(config.preempt, abi::Router::PREEMPT)
                // Unless the role is resumed, addresses that a predecessor may have left here are fenced off.
                | flag(self.resume.is_none(), abi::Router::RETIRES)
                | flag(self.stands_by, abi::Router::STANDS_BY)
                | flag(self.sends_plain && config.checksum == Checksum::Auto, abi::Router::SENDS_PLAIN)
                | flag(self.allowed_sources().next().is_some(), abi::Router::RESTRICT_SOURCES)
                | flag(!config.unicast_peers.is_empty(), abi::Router::UNICAST),
            priority: self.verdict.priority.get(),
            version: config.version as u8,
            checksum: match config.checksum {
                Checksum::Auto => abi::Router::CHECKSUM_AUTO,
                Checksum::PseudoHeader => abi::Router::CHECKSUM_PSEUDO_HEADER,
                Checksum::Plain => abi::Router::CHECKSUM_PLAIN,
            },
            auth_type: u8::from(config.password.is_some()),
            term: 0,
            tolerated: flag(config.advertised_of(self.family).next().is_none(), abi::Router::TOLERATES_NO_ADDRESS)
                | flag(!config.link_local_first, abi::Router::TOLERATES_ANY_FIRST),
            answer_mac: self.mac.0,
            interface_mac: self.interface.mac.0,
        }
    }

    /// Returns the virtual addresses.
    pub fn addresses(&self) -> impl Iterator<Item = Vip> {
        self.config.addresses_of(self.family)
    }

    /// Returns the addresses on the interface of the virtual router.
    pub fn addresses_here(&self) -> impl Iterator<Item = IpAddr> {
        let elsewhere: BTreeSet<IpAddr> = self.devices.iter().flat_map(|device| &device.addresses).copied().collect();
        self.addresses().map(|vip| vip.address).filter(move |address| !elsewhere.contains(address))
    }

    /// Returns the other interfaces that have addresses and whose neighbors learn their MAC from announcements.
    pub fn announced_devices(&self) -> impl Iterator<Item = &Device<'a>> {
        self.devices.iter().filter(|device| device.interface.ethernet && !device.interface.loopback)
    }

    /// Returns the keys of the virtual addresses in the maps, each with the interface that has the address.
    pub fn vips(&self) -> impl Iterator<Item = VipKey> {
        let RouterKey { ifindex, vlan, .. } = self.key;
        let key = |ifindex, vlan, address| {
            let family = Family::of(address) as u8;
            VipKey { ifindex, vlan, family, reserved: 0, address: abi::address(address) }
        };
        let here = self.addresses_here().map(move |address| key(ifindex, vlan, address));
        let elsewhere = self.devices.iter().flat_map(move |Device { interface, addresses }| {
            addresses.iter().map(move |address| key(interface.ifindex.get(), 0, *address))
        });
        here.chain(elsewhere)
    }

    /// Returns the sources whose adverts are accepted, with the minimum TTL or hop limit of each. The unicast peers are
    /// among them. If there are none, adverts from any source are accepted.
    pub fn allowed_sources(&self) -> impl Iterator<Item = (SourceKey, u8)> {
        let (router, family) = (self.key, self.family);
        let sources = self.config.allowed_sources.iter().filter(move |source| Family::of(**source) == family);
        let sources = sources.map(|source| (*source, HOP_LIMIT));
        let peers = self.unicast_peers.iter().map(|peer| (peer.address, peer.min_ttl));
        sources.chain(peers).map(move |(source, ttl)| (SourceKey { router, address: abi::address(source) }, ttl))
    }

    /// Returns the configuration of the state machine.
    pub fn machine(&self) -> xvrrp_vrrp::RouterConfig {
        xvrrp_vrrp::RouterConfig { priority: self.verdict.priority, ..machine(self.config, self.primary) }
    }

    /// Returns Accept_Mode. The address owner always accepts. RFC 9568 6.4.3 (conformance 42): "if it is the IPvX
    /// address owner or if Accept_Mode is True".
    fn accepts(&self) -> bool {
        self.config.accept || self.config.priority.is_owner()
    }

    /// Returns where the addresses are to be installed.
    ///
    /// Nothing is installed for an address owner: the addresses belong to its host anyway, and without them it would
    /// not be the owner. With `accept = false` the addresses stay off the interface, because nothing on this host may
    /// accept packets for them. The kernel half answers for them.
    pub fn placement(&self) -> Placement {
        let installs = self.config.accept && !self.config.priority.is_owner();
        Placement {
            name: self.config.name.clone(),
            interface: self.interface.name.clone(),
            ifindex: self.interface.ifindex,
            addresses: if installs { self.placed_addresses() } else { Vec::new() },
            virtual_mac: self.config.virtual_mac.then_some(self.mac),
            routing: Arc::clone(&self.config.routing),
            rest: RestLeft::default(),
        }
    }

    fn placed_addresses(&self) -> Vec<PlacedAddress> {
        let each = |device: &Device<'a>| {
            let interface = device.interface;
            device.addresses.iter().map(move |address| (*address, interface)).collect::<Vec<_>>()
        };
        let elsewhere: BTreeMap<IpAddr, &Interface> = self.devices.iter().flat_map(each).collect();
        let given = self.config.address_options.iter().map(|options| (options.address, options));
        let given: BTreeMap<_, _> = given.collect();
        let interfaces = std::iter::once(self.interface).chain(self.devices.iter().map(|device| device.interface));
        let left = interfaces.filter(|_| self.resume.is_some()).flat_map(|interface| {
            let ours = interface.addresses.iter().filter(|found| found.ours || !*MARKS_LAST);
            ours.map(|found| (interface.ifindex, found.address, found.prefix_length))
        });
        let left: BTreeSet<Placed> = left.collect();
        let address = |vip: Vip| {
            let interface = elsewhere.get(&vip.address).copied().unwrap_or(self.interface);
            let (ifindex, options) = (interface.ifindex, given.get(&vip.address));
            let placed = (ifindex, vip.address, vip.prefix_length);
            PlacedAddress {
                placed,
                interface: interface.name.as_str().into(),
                options: options.map(|options| addresses::host_address(options, ifindex)),
                kept: options.is_none_or(|options| options.kept),
                installed: left.contains(&placed),
            }
        };
        self.addresses().map(address).collect()
    }
}
