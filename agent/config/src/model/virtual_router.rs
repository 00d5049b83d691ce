//! Virtual routers.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use xvrrp_common::units::{Family, Interval, Priority, Version, Vrid};
use xvrrp_common::wire::vrrp::IpAddress;

use super::check::Tracked;
use super::notify::{NotifyConfig, Occasion};
use super::routing::{RoutingConfig, StaticAddress};
use crate::address::Vip;
use crate::index::GroupIndex;

/// `[[virtual_router]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualRouterConfig {
    /// Unique; 1 to 64 characters from `A-Z a-z 0-9 . _ -`. Required.
    pub name: String,
    /// 1 to 15 bytes. Required.
    pub interface: String,
    /// 1 to 255, unique on the interface for each address family (RFC 9568 5.2.3). Required.
    pub vrid: Vrid,
    /// 2 (RFC 3768) or 3 (RFC 9568). Default: 3.
    pub version: Version,
    /// 1 to 255; 255 is the address owner (RFC 9568 5.2.4). Default: 100 (RFC 9568 6.1).
    pub priority: Priority,
    /// Version 3: 10 ms to 40.95 s in steps of 10 ms (RFC 9568 5.2.7); version 2: 1 s to 255 s in steps of 1 s
    /// (RFC 3768 5.3.7). Default: [`Self::DEFAULT_ADVERT_INTERVAL`].
    pub advert_interval: Interval,
    /// At most [`Self::MAX_ADDRESSES`] different addresses, in the order in which adverts list them. At most
    /// [`Self::MAX_IPV6_ADDRESSES`] of them are IPv6, and the first of these is link-local (RFC 9568 5.2.9) unless
    /// [`Self::link_local_first`] is false. Addresses of both families make two virtual routers, which change role
    /// together. Default: none.
    pub addresses: Vec<Vip>,
    /// At most [`Self::MAX_UNADVERTISED`] more addresses, which adverts do not list. Default: none.
    pub unadvertised: Vec<Vip>,
    /// Family of the adverts if they list no address. Default: IPv6 if other routers are listed and all of them are
    /// IPv6, otherwise IPv4.
    pub family: Family,
    /// Whether the first IPv6 address in an advert is link-local, in those that are sent and in those that are accepted
    /// (RFC 9568 5.2.9). Default: true.
    pub link_local_first: bool,
    /// Those of all these addresses that were given with options of ip(8), which may include another interface.
    /// Default: none.
    pub address_options: Vec<StaticAddress>,
    /// `Preempt_Mode` (RFC 9568 6.1); always true for the owner. Default: true.
    pub preempt: bool,
    /// How long a Backup that hears a lower priority waits before it preempts: 0 to 1000 s. Default: 0.
    pub preempt_delay: Interval,
    /// Whether the loss of the interface's carrier is a fault. Default: true.
    pub carrier_fault: bool,
    /// What may differ from the RFC in an election.
    pub election: ElectionRules,
    /// `Accept_Mode` (RFC 9568 6.1). Default: true, where the RFC has false.
    pub accept: bool,
    /// Whether this host serves only while its own adverts are being sent. Default: true.
    pub lease: bool,
    /// Whether the addresses use the virtual router MAC address (RFC 9568 7.3). Default: true.
    pub virtual_mac: bool,
    /// Form of the checksum of version 3 that is accepted and sent (RFC 9568 5.2.8, RFC 5798 5.2.8). Default: auto.
    pub checksum: Checksum,
    /// Addresses of this host that adverts are sent from, at most one of each family, none of them virtual. Over IPv6
    /// it is link-local, unless adverts go to peers that are not on the link. Default: the primary address of the
    /// interface.
    pub source_addresses: Vec<IpAddr>,
    /// Only adverts from these sources are accepted, unless the list is empty. A list that is not empty has at least
    /// one source of each address family of this virtual router; its IPv6 sources are link-local. Default: empty.
    pub allowed_sources: Vec<IpAddr>,
    /// Unless the list is empty, adverts are sent to these routers by unicast, and only adverts from them are accepted.
    /// A list that is not empty has at least one peer of each address family of this virtual router, and excludes
    /// [`Self::allowed_sources`]. Default: empty.
    pub unicast_peers: Vec<UnicastPeer>,
    /// Version 2 only: authentication type 1 (RFC 2338 5.3.6). Default: none.
    pub password: Option<Password>,
    /// How many times each gratuitous ARP or unsolicited Neighbor Advertisement is sent after a takeover: 1 to 60.
    /// Default: [`Self::DEFAULT_ANNOUNCE_COUNT`].
    pub announce_count: u8,
    /// Time between two of these announcements: 10 ms to 60 s. Default: [`Self::DEFAULT_ANNOUNCE_INTERVAL`].
    pub announce_interval: Interval,
    /// Time after which an Active router announces its addresses once more, again and again: 1 s to 24 h; 0 means
    /// never. Default: 0.
    pub announce_refresh: Interval,
    /// Routes and rules that are on the host while it is Active. Default: none.
    pub routing: Arc<RoutingConfig>,
    /// Checks that may change the priority or cause a fault, including those that its sync group tracks. Default: none.
    pub track: Vec<Tracked>,
    /// The sync group that it is a member of. Default: none.
    pub sync_group: Option<GroupIndex>,
    /// Programs that are run, and services that are started and stopped, when its state changes. Default: none.
    pub notify: NotifyConfig,
    /// Whether a change of the priority is written to [`NotifyFifo`](super::NotifyFifo)s. Default: false.
    pub notify_priority_changes: bool,
    /// Changes of state that mail is sent for. Default: all of them if there is a `[mail]`, otherwise none.
    pub mail: Vec<Occasion>,
    /// Lines of the file.
    pub lines: VirtualRouterLines,
}

impl VirtualRouterConfig {
    /// The default of `advert_interval` (RFC 9568 6.1).
    pub const DEFAULT_ADVERT_INTERVAL: Interval = Interval::from_seconds(1);
    /// The default of `announce_count`.
    pub const DEFAULT_ANNOUNCE_COUNT: u8 = 3;
    /// The default of `announce_interval`.
    pub const DEFAULT_ANNOUNCE_INTERVAL: Interval = Interval::from_seconds(1);
    /// Maximum number of addresses: the count in an advert has 8 bits (RFC 9568 5.2.5).
    pub const MAX_ADDRESSES: usize = 255;
    /// Maximum number of addresses that adverts do not list.
    pub const MAX_UNADVERTISED: usize = 4096;
    /// Maximum number of IPv6 addresses: as many as fit in an advert that is not fragmented.
    pub const MAX_IPV6_ADDRESSES: usize = <[u8; 16]>::MAX_ADDRESSES;
    /// Maximum number of elements of `allowed_sources`.
    pub const MAX_ALLOWED_SOURCES: usize = 255;
    /// Maximum number of elements of `unicast_peers`.
    pub const MAX_UNICAST_PEERS: usize = 255;

    /// Returns the address families in which there are adverts: those of the addresses that they list, or
    /// [`Self::family`]. Each is a virtual router of its own (RFC 9568 1.7).
    pub fn families(&self) -> impl Iterator<Item = Family> {
        [Family::Ipv4, Family::Ipv6].into_iter().filter(|family| self.advertises_in(*family))
    }

    fn advertises_in(&self, family: Family) -> bool {
        let listed = self.addresses.iter().any(|vip| vip.family() == family);
        listed || self.addresses.is_empty() && family == self.family
    }

    /// Returns the kind of address that adverts of this family are sent from.
    ///
    /// A peer that is not on the link cannot be reached from a link-local address.
    pub fn origin(&self, family: Family) -> Origin {
        let routed = |peer: &UnicastPeer| matches!(peer.address, IpAddr::V6(peer) if !peer.is_unicast_link_local());
        match family {
            Family::Ipv4 => Origin::Ipv4,
            Family::Ipv6 if self.unicast_peers.iter().any(routed) => Origin::Ipv6,
            Family::Ipv6 => Origin::LinkLocal,
        }
    }

    /// Returns the address that adverts of this family are sent from, if the configuration says one.
    pub fn source_of(&self, family: Family) -> Option<IpAddr> {
        self.source_addresses.iter().copied().find(|source| Family::of(*source) == family)
    }

    /// Returns the unicast peers of one family.
    pub fn peers_of(&self, family: Family) -> impl Iterator<Item = UnicastPeer> {
        self.unicast_peers.iter().copied().filter(move |peer| Family::of(peer.address) == family)
    }

    /// Returns all addresses: first those that adverts list, and then the others.
    pub fn all_addresses(&self) -> impl Iterator<Item = Vip> {
        self.addresses.iter().chain(&self.unadvertised).copied()
    }

    /// Returns the addresses that move with the role in one of [`Self::families`], in the same order. If there is only
    /// one, these are all addresses, whatever their family.
    pub fn addresses_of(&self, family: Family) -> impl Iterator<Item = Vip> {
        let all = self.families().all(|it| it == family);
        self.all_addresses().filter(move |vip| all || vip.family() == family)
    }

    /// Returns the addresses that are on other interfaces, with the names of these.
    pub fn elsewhere(&self) -> BTreeMap<IpAddr, &str> {
        let given = self.address_options.iter().map(|it| (it.address, it.interface.as_str()));
        given.filter(|(_, interface)| *interface != self.interface).collect()
    }

    /// Returns the addresses of one family that adverts list, in their order.
    pub fn advertised_of(&self, family: Family) -> impl Iterator<Item = Vip> {
        self.addresses.iter().copied().filter(move |vip| vip.family() == family)
    }
}

/// What may differ from the RFC in an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElectionRules {
    /// How many intervals of the Active router, besides Skew_Time, make Active_Down_Interval: 2 to 100. Default: 3
    /// (RFC 9568 6.1).
    pub down_timer_adverts: u8,
    /// Whether an Active router answers an advert of a lower priority at once (RFC 9568 6.4.3). Default: true.
    pub answer_lower_priority: bool,
    /// Whether an Active router sends one more advert before it steps down for a better one. Default: false, as in RFC
    /// 9568 6.4.3.
    pub answer_higher_priority: bool,
}

/// Another router, to which adverts are sent by unicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnicastPeer {
    /// Its address. The IPv6 addresses of all peers are link-local, or none is.
    pub address: IpAddr,
    /// Lowest TTL or hop limit of its adverts that is accepted: 1 to 255. Default: 255, which no routed packet has
    /// (RFC 9568 5.1.1.3).
    pub min_ttl: u8,
}

/// Kind of interface address that adverts are sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The primary IPv4 address of the interface.
    Ipv4,
    /// A link-local IPv6 address (RFC 9568 5.1.2.1).
    LinkLocal,
    /// An IPv6 address that is not link-local, which routers forward packets to.
    Ipv6,
}

/// Lines of the file that describe a virtual router, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualRouterLines {
    /// Line of `[[virtual_router]]`.
    pub header: usize,
    /// Line of `interface`.
    pub interface: usize,
    /// Line of `addresses`.
    pub addresses: usize,
    /// Line of `unicast_peers`, or of the header if there is no such key.
    pub unicast_peers: usize,
    /// Line of `source_addresses`, or of the header if there is no such key.
    pub source_addresses: usize,
}

/// Form of the checksum of version 3 over IPv4, for which RFC 9568 and RFC 5798 5.2.8 differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Accepts both forms. Sends the form with the pseudo-header, unless a peer is heard to use the other one.
    Auto,
    /// Covers the pseudo-header and the message (RFC 5798).
    PseudoHeader,
    /// Covers only the message (RFC 9568).
    Plain,
}

/// Simple password of version 2, padded with zeros (RFC 2338 5.3.10).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password(pub [u8; 8]);

/// Hides the password, which would end up in logs.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}
