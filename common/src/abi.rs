//! The BPF maps that the kernel half and the agent share: names, keys, values, events and counters.
//!
//! Every type is `repr(C)` without padding. zerocopy's derives and the assertions about sizes at the end of this file
//! prove that at compile time. Multi-byte integers are in host order unless a field says otherwise.
//!
//! | map | kind | key | value | written by |
//! |---|---|---|---|---|
//! | [`map::ROUTERS`] | hash | [`RouterKey`] | `u32`: the [`Router::slot`] | agent |
//! | [`map::VIPS`] | hash | [`VipKey`] | [`Checked`]: the [`Router::slot`] | agent |
//! | [`map::ALLOWED_SOURCES`] | hash | [`SourceKey`] | [`Checked`]: the minimum TTL or hop limit, 1 to 255 | agent |
//! | [`map::SLOTS`] | array, mmapable | [`Router::slot`] | [`SlotEntry`] | agent; the kernel half ends leases |
//! | [`map::HEARD`] | array, mmapable | [`Router::slot`] | [`Heard`] | kernel half |
//! | [`map::COUNTERS`] | per-CPU array | 0: no router of ours; else [`Router::slot`] + 1 | [`Counters`] | kernel half |
//! | [`map::EVENTS`] | ring buffer | | [`AdvertEvent`], [`ConflictEvent`] | kernel half |
//! | [`map::SETTINGS`] | array of one, mmapable | 0 | [`Settings`] | agent; the kernel half ends the lease of all |
//! | [`map::STAMP`] | array of one | 0 | [`Stamp`] | agent |
//! | [`map::MONITOR`] | ring buffer | | [`CapturedFrame`] | kernel half |
//! | [`map::MONITORED`] | array of one | 0 | [`Monitored`] | agent; the kernel half counts lost frames |
//!
//! The kernel does not overwrite an element of a hash map. An update links a new element and frees the old one, whose
//! memory the next update of any key reuses while a program may still be reading it. Therefore, the value of a key in a
//! hash map never changes, and a reader can verify that a value belongs to its key. Everything that changes is kept in
//! arrays that are indexed by slot, in words of eight bytes that are always written and read as a whole.

mod counter;
mod slot;

use core::net::IpAddr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::units::Family;

pub use counter::{Counter, Counters, MAX_COUNTERS};
pub use slot::{Checked, Fixed, Lease, MacWord, SlotEntry, StateWord, digest};

/// The names of the maps in the BPF object.
pub mod map {
    /// Slot of each virtual router.
    pub const ROUTERS: &str = "ROUTERS";
    /// Slot of the virtual router that an address belongs to.
    pub const VIPS: &str = "VIPS";
    /// Sources whose adverts are accepted, if the configuration names any.
    pub const ALLOWED_SOURCES: &str = "ALLOWED_SOURCES";
    /// Role, flags, lease and MACs of each virtual router.
    pub const SLOTS: &str = "SLOTS";
    /// Stamps of each virtual router's adverts.
    pub const HEARD: &str = "HEARD";
    /// Counters by reason.
    pub const COUNTERS: &str = "COUNTERS";
    /// Events that the agent must know of at once.
    pub const EVENTS: &str = "EVENTS";
    /// Settings that programs read before they look for a virtual router.
    pub const SETTINGS: &str = "SETTINGS";
    /// Identification of the agent that created the maps.
    pub const STAMP: &str = "STAMP";
    /// Frames for `xvrrp monitor`.
    pub const MONITOR: &str = "MONITOR";
    /// Whether anybody watches frames.
    pub const MONITORED: &str = "MONITORED";

    /// Maps that outlive the agent.
    pub const PINNED: &[&str] = &[ROUTERS, VIPS, ALLOWED_SOURCES, SLOTS, HEARD, COUNTERS, EVENTS, SETTINGS, STAMP];
}

/// The names of the constants in the BPF object that the agent sets.
pub mod constant {
    /// Constant of type `u32`: not zero if the kernel has `bpf_xdp_load_bytes` (Linux 5.18), without which no frame can
    /// be shown.
    pub const CAN_SHOW: &str = "CAN_SHOW";
}

/// The names of the programs in the BPF object.
pub mod program {
    /// The XDP program, for frames that arrive.
    pub const INGRESS: &str = "xvrrp_ingress";
    /// The TC program for frames that leave.
    pub const EGRESS: &str = "xvrrp_egress";
    /// The TC program for packets that arrive on interfaces without a virtual router.
    pub const FENCE: &str = "xvrrp_fence";
}

/// Value of [`RouterKey::family`] and [`VipKey::family`] for a virtual router over IPv4.
pub const FAMILY_IPV4: u8 = Family::Ipv4 as u8;
/// Value of [`RouterKey::family`] and [`VipKey::family`] for a virtual router over IPv6.
pub const FAMILY_IPV6: u8 = Family::Ipv6 as u8;

/// An address of either family in network order. IPv4 takes the first four bytes, and the rest is zero.
pub type Address = [u8; 16];

/// Converts an IPv4 address to the form that the maps hold.
pub const fn ipv4_address(octets: [u8; 4]) -> Address {
    let [a, b, c, d] = octets;
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// Converts an address of either family to the form that the maps hold.
pub const fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(ip) => ipv4_address(ip.octets()),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Converts an address back from the form that the maps hold. `family` is a [`RouterKey::family`].
pub fn ip_address(family: u8, address: Address) -> IpAddr {
    let [a, b, c, d, ..] = address;
    if family == FAMILY_IPV6 { IpAddr::from(address) } else { IpAddr::from([a, b, c, d]) }
}

/// Key of a virtual router. The same VRID on another interface, VLAN or address family is another virtual router
/// (RFC 9568 1.7, 5.2.3).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RouterKey {
    /// Interface that the frame arrives on.
    pub ifindex: u32,
    /// VLAN identifier in the frame as the program sees it; 0 for an untagged frame and for a priority tag.
    pub vlan: u16,
    /// Number of a [`Family`].
    pub family: u8,
    /// VRID, 1 to 255.
    pub vrid: u8,
}

/// Key of a virtual address on an interface. The family is that of the address. The virtual router may be in the other
/// family, if its adverts do not list the address.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct VipKey {
    /// Index of the interface; 0 in [`Self::anywhere`].
    pub ifindex: u32,
    /// VLAN identifier, 0 for untagged frames; in [`Self::anywhere`], a count instead.
    pub vlan: u16,
    /// Number of a [`Family`].
    pub family: u8,
    /// Zero.
    pub reserved: u8,
    /// The virtual address.
    pub address: Address,
}

/// Key of a source from which a virtual router with [`Router::RESTRICT_SOURCES`] accepts adverts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SourceKey {
    /// The virtual router.
    pub router: RouterKey,
    /// Address of the source.
    pub address: Address,
}

impl VipKey {
    /// Makes a key that finds an address from any interface. An address that several virtual routers have, on different
    /// interfaces, has one key for each of them: `nth` counts them from 0 and is less than [`Self::MAX_SHARED`].
    pub const fn anywhere(family: u8, address: Address, nth: u16) -> Self {
        Self { ifindex: 0, vlan: nth, family, reserved: 0, address }
    }

    /// Number of virtual routers with the same address that are found from other interfaces.
    pub const MAX_SHARED: u16 = 8;
}

/// A key of a hash map. It has no padding, so equal keys consist of equal bytes.
pub trait MapKey: IntoBytes {}

impl MapKey for RouterKey {}
impl MapKey for VipKey {}
impl MapKey for SourceKey {}

/// A virtual router of ours, with everything that the kernel half has to know of it. In the maps, its fields are spread
/// over a [`SlotEntry`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Router {
    /// Primary address that our adverts are sent from. An advert with this source is our own.
    pub primary: Address,
    /// Authentication data of version 2, zero-padded (RFC 2338 5.3.10).
    pub auth_data: [u8; 8],
    /// Our own advertisement interval in nanoseconds. Version 2 discards adverts with any other (RFC 3768 7.1).
    pub advert_interval: u64,
    /// Index into [`map::SLOTS`] and [`map::HEARD`], and one less than the index into [`map::COUNTERS`].
    pub slot: u32,
    /// Role, one of the `ROLE_` constants.
    pub role: u8,
    /// Flags, combined with a bitwise or of the constants below.
    pub flags: u8,
    /// Our priority in the election.
    pub priority: u8,
    /// Version of the protocol, 2 or 3.
    pub version: u8,
    /// Forms of the checksum that a version 3 advert may have, one of the `CHECKSUM_` constants.
    pub checksum: u8,
    /// Authentication type of version 2: 0 for none, 1 for a simple password (RFC 2338 5.3.6).
    pub auth_type: u8,
    /// Number of the current term. Each change of role changes it, so that the first advert after the change differs
    /// from the one before ([`HeardAdvert::term`]) and is reported.
    pub term: u8,
    /// What is accepted in an advert although the RFC forbids it, combined with a bitwise or of the `TOLERATES_`
    /// constants below.
    pub tolerated: u8,
    /// MAC in answers to ARP requests and Neighbor Solicitations for the virtual addresses: the virtual MAC or the
    /// interface's own.
    pub answer_mac: [u8; 6],
    /// MAC of the interface. The destination of frames to the virtual MAC is rewritten to it.
    pub interface_mac: [u8; 6],
}

impl Router {
    /// Role Initialize (RFC 9568 6.4.1): nothing is answered or learned.
    pub const ROLE_INITIALIZE: u8 = 0;
    /// Role Backup (RFC 9568 6.4.2).
    pub const ROLE_BACKUP: u8 = 1;
    /// Role Active (RFC 9568 6.4.3).
    pub const ROLE_ACTIVE: u8 = 2;

    /// Flag: the virtual addresses use the virtual MAC, not the interface's own.
    pub const VIRTUAL_MAC: u8 = 1 << 0;
    /// Flag: this host accepts packets to a virtual address (`Accept_Mode`, RFC 9568 6.1).
    pub const ACCEPT: u8 = 1 << 1;
    /// Flag: an advert with a lower priority than ours does not restart the Active_Down_Timer (`Preempt_Mode`, RFC 9568
    /// 6.4.2).
    pub const PREEMPT: u8 = 1 << 2;
    /// Flag: only adverts from [`map::ALLOWED_SOURCES`] are accepted.
    pub const RESTRICT_SOURCES: u8 = 1 << 3;
    /// Flag: adverts are accepted if they are addressed to [`Self::primary`], and discarded if they are addressed to
    /// the group. Always set together with [`Self::RESTRICT_SOURCES`].
    pub const UNICAST: u8 = 1 << 4;
    /// Flag for the agent's successor: the role is left to other routers ("standing by"). The kernel half ignores it.
    pub const STANDS_BY: u8 = 1 << 5;
    /// Flag for the agent's successor: with [`Self::CHECKSUM_AUTO`], adverts are sent in the plain form, as the
    /// previous Active router sent them. The kernel half ignores it.
    pub const SENDS_PLAIN: u8 = 1 << 6;
    /// Flag: the agent has given up the role, and the addresses may still be on this host. Packets to them must not be
    /// served on any path.
    pub const RETIRES: u8 = 1 << 7;

    /// Accepts adverts without addresses (RFC 9568 5.2.5), because this virtual router has none itself.
    pub const TOLERATES_NO_ADDRESS: u8 = 1 << 0;
    /// Accepts adverts whose first IPv6 address is not link-local (RFC 9568 5.2.9).
    pub const TOLERATES_ANY_FIRST: u8 = 1 << 1;

    /// Accepts either form of the checksum in version 3 over IPv4.
    pub const CHECKSUM_AUTO: u8 = 0;
    /// Accepts only the form with the pseudo-header (RFC 5798 5.2.8).
    pub const CHECKSUM_PSEUDO_HEADER: u8 = 1;
    /// Accepts only the form that covers the message alone (RFC 9568 5.2.8).
    pub const CHECKSUM_PLAIN: u8 = 2;
}

/// A valid advert that the kernel half has received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HeardAdvert {
    /// Time of arrival, on the boot-time clock in nanoseconds.
    pub received_at: u64,
    /// Advertisement interval in nanoseconds.
    pub interval: u64,
    /// IP source address.
    pub source: Address,
    /// Folded ones' complement sum of the addresses, in network order. Equal lists have equal sums.
    pub address_sum: u16,
    /// Number of addresses in the advert.
    pub address_count: u8,
    /// Priority of the sender; 0 gives up the role.
    pub priority: u8,
    /// Version of the protocol, 2 or 3.
    pub version: u8,
    /// Form of the checksum: [`Router::CHECKSUM_PSEUDO_HEADER`] or [`Router::CHECKSUM_PLAIN`] (always plain in version
    /// 2).
    pub checksum: u8,
    /// Value of [`Router::term`] when it arrived.
    pub term: u8,
    /// Zero.
    pub reserved: u8,
}

/// Adverts that the kernel half has received for a virtual router.
///
/// The kernel half writes this while the agent reads it, so the agent reads until it finds the same content twice. If
/// it still sees a new stamp with the interval of the previous advert, the timer that it starts is corrected when it
/// reads the entry again. It always does so before the timer may fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Heard {
    /// Time of arrival of the last advert that restarts a Backup's Active_Down_Timer (RFC 9568 6.4.2); 0 if there was
    /// none.
    pub restarted_at: u64,
    /// Interval in that advert, in nanoseconds: the Backup's new Active_Adver_Interval.
    pub restart_interval: u64,
    /// Last valid advert of any priority.
    pub latest: HeardAdvert,
    /// Time at which the last [`ConflictEvent`] was reported. Only the kernel half uses it.
    pub claim_reported_at: u64,
}

/// Notification of an advert. Sent for every advert while this host is Active, otherwise when an advert changes
/// something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AdvertEvent {
    /// Virtual router that the advert is for.
    pub router: RouterKey,
    /// Slot of the virtual router.
    pub slot: u32,
    /// Zero.
    pub reserved: u32,
    /// The advert.
    pub advert: HeardAdvert,
}

/// Notification that another host claims a virtual address while this host is Active, sent at most once in
/// [`ConflictEvent::PAUSE`] for each virtual router. In the ring buffer it differs from an [`AdvertEvent`] by its
/// length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConflictEvent {
    /// The virtual address.
    pub address: Address,
    /// Slot of the virtual router that has the address.
    pub slot: u32,
    /// MAC that the other host claims the address has.
    pub mac: [u8; 6],
    /// Zero.
    pub reserved: [u8; 6],
}

impl ConflictEvent {
    /// Shortest time between two claims that are reported, in nanoseconds: 100 ms.
    pub const PAUSE: u64 = 100_000_000;
}

/// State of the monitor: whether anybody watches frames, and how many were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Monitored {
    /// Not zero while somebody watches.
    pub wanted: u32,
    /// Zero.
    pub reserved: u32,
    /// Number of frames that the ring buffer has had no room for since somebody began to watch.
    pub lost: u64,
}

/// A frame as it arrived, for `xvrrp monitor`: an advert, or ARP or Neighbor Discovery that names a virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CapturedFrame {
    /// Time of the capture, on the boot-time clock in nanoseconds.
    pub at: u64,
    /// Interface that the frame arrived on.
    pub ifindex: u32,
    /// Number of the [`Counter`] that the frame was counted under.
    pub counter: u32,
    /// Length of the frame in bytes.
    pub length: u32,
    /// Number of bytes that were captured.
    pub captured: u32,
    /// The captured bytes, from the first one of the frame.
    pub bytes: [u8; Self::MAX_CAPTURED as usize],
}

impl CapturedFrame {
    /// Largest possible [`Self::captured`].
    pub const MAX_CAPTURED: u32 = 512;

    /// Returns the frame, or its beginning.
    pub fn frame(&self) -> &[u8] {
        self.bytes.get(..self.captured as usize).unwrap_or(&self.bytes)
    }
}

/// Identification of the agent that created the maps, so that a later agent knows whether it can use them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Stamp {
    /// Value of [`LAYOUT`]; 0 in maps that are not complete yet.
    pub layout: u32,
    /// Version of the agent, zero-padded, for the log.
    pub version: [u8; 28],
}

/// Version of the layout and meaning of all maps in this file. It is incremented by any change that the previous
/// version of the programs would not understand. The stamp and the position of this number in it never change.
pub const LAYOUT: u32 = 4;

/// Settings that the kernel half reads before it looks for a virtual router. The agent writes each field as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Settings {
    /// Not zero if some virtual router has no [`Router::VIRTUAL_MAC`]. Then the destination of every IP packet is
    /// looked up; otherwise, ordinary traffic is spared the look-up.
    pub look_up_destinations: u32,
    /// Length of the kernel's tick in nanoseconds; not zero.
    pub tick: u32,
    /// Lease of all: no lease of an Active virtual router ends before it. It is [`Lease::ENDED`] while the agent
    /// changes any of them and after the kernel half has ended one, and [`Lease::UNLIMITED`] while no virtual router is
    /// Active. As long as it runs, the fence need not look up any address.
    pub all: Lease,
}

const _: () = {
    assert!(size_of::<RouterKey>() == 8);
    assert!(size_of::<VipKey>() == 24);
    assert!(size_of::<SourceKey>() == 24);
    assert!(size_of::<HeardAdvert>() == 40);
    assert!(size_of::<Heard>() == 64);
    assert!(size_of::<AdvertEvent>() == 56);
    assert!(size_of::<ConflictEvent>() == 32);
    assert!(size_of::<Settings>() == 32);
    assert!(size_of::<Monitored>() == 16);
    assert!(size_of::<CapturedFrame>() == 536);
    assert!(size_of::<Stamp>() == 32);
    assert!(Counter::ALL.len() <= MAX_COUNTERS);
};

#[cfg(feature = "user")]
mod pod {
    use super::{AdvertEvent, Checked, Counters, Heard, Monitored, RouterKey, Settings, SourceKey, Stamp, VipKey};

    // SAFETY: all of these types are `repr(C)`, free of padding and valid for every bit pattern. zerocopy's `FromBytes`
    // and `IntoBytes`, derived above, prove that at compile time.
    unsafe impl aya::Pod for RouterKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for VipKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for SourceKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Checked {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Heard {}
    // SAFETY: as above.
    unsafe impl aya::Pod for AdvertEvent {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Counters {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Settings {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Monitored {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Stamp {}
}
