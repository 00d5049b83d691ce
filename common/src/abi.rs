//! The BPF maps that the kernel half and the agent share: names, keys, values, events and counters.
//!
//! Every type is `repr(C)` without padding, proved at compile time by zerocopy's derives and by the sizes at the
//! end of this file. Multi-byte integers are in host order unless a field says otherwise.
//!
//! | map | kind | key | value | written by |
//! |---|---|---|---|---|
//! | [`map::ROUTERS`] | hash | [`RouterKey`] | `u32`: the [`Router::slot`] | agent |
//! | [`map::VIPS`] | hash | [`VipKey`] | [`Checked`]: the [`Router::slot`] | agent |
//! | [`map::ALLOWED_SOURCES`] | hash | [`SourceKey`] | [`Checked`]: the least TTL or hop limit, 1 to 255 | agent |
//! | [`map::SLOTS`] | array, mmapable | [`Router::slot`] | [`SlotEntry`] | agent; the kernel half ends leases |
//! | [`map::HEARD`] | array, mmapable | [`Router::slot`] | [`Heard`] | kernel half |
//! | [`map::COUNTERS`] | per-CPU array | 0: no router of ours; else [`Router::slot`] + 1 | [`Counters`] | kernel half |
//! | [`map::EVENTS`] | ring buffer | | [`AdvertEvent`] | kernel half |
//! | [`map::SETTINGS`] | array of one, mmapable | 0 | [`Settings`] | agent; the kernel half ends the lease of all |
//! | [`map::STAMP`] | array of one | 0 | [`Stamp`] | agent |
//! | [`map::MONITOR`] | ring buffer | | [`Sighting`] | kernel half |
//! | [`map::MONITORED`] | array of one | 0 | [`Monitored`] | agent; the kernel half counts what is lost |
//!
//! The kernel does not overwrite an element of a hash map: an update links a new element and frees the old one, whose memory
//! the next update of any key reuses, while a program may still read it. So hash maps hold only what stays the
//! same for as long as the key is there, and each value lets its reader verify whose it is. Everything that changes stands
//! in arrays by slot, in words of eight bytes that are written and read whole.

mod counter;
mod slot;

use core::net::IpAddr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::units::Family;

pub use counter::{Counter, Counters, MAX_COUNTERS};
pub use slot::{Checked, Fixed, Lease, MacWord, SlotEntry, StateWord, digest};

/// The names of the maps in the BPF object.
pub mod map {
    /// The slot of each virtual router.
    pub const ROUTERS: &str = "ROUTERS";
    /// The slot of the virtual router that an address belongs to.
    pub const VIPS: &str = "VIPS";
    /// The sources whose adverts are accepted, where the configuration names any.
    pub const ALLOWED_SOURCES: &str = "ALLOWED_SOURCES";
    /// Role, flags, lease and MACs of each virtual router.
    pub const SLOTS: &str = "SLOTS";
    /// The stamps of each virtual router's adverts.
    pub const HEARD: &str = "HEARD";
    /// Counts by reason.
    pub const COUNTERS: &str = "COUNTERS";
    /// What the agent must learn at once.
    pub const EVENTS: &str = "EVENTS";
    /// What programs must know before they look for a virtual router.
    pub const SETTINGS: &str = "SETTINGS";
    /// Which agent made the maps.
    pub const STAMP: &str = "STAMP";
    /// Frames for `xvrrp monitor`.
    pub const MONITOR: &str = "MONITOR";
    /// Whether anybody watches.
    pub const MONITORED: &str = "MONITORED";

    /// All that outlive the agent.
    pub const PINNED: &[&str] = &[ROUTERS, VIPS, ALLOWED_SOURCES, SLOTS, HEARD, COUNTERS, EVENTS, SETTINGS, STAMP];
}

/// The names of the constants in the BPF object that the agent sets.
pub mod constant {
    /// `u32`: not zero if the kernel has `bpf_xdp_load_bytes` (Linux 5.18), without which no frame can be shown.
    pub const CAN_SHOW: &str = "CAN_SHOW";
}

/// The names of the programs in the BPF object.
pub mod program {
    /// The XDP program.
    pub const INGRESS: &str = "xvrrp_ingress";
    /// The TC program for frames that leave.
    pub const EGRESS: &str = "xvrrp_egress";
    /// The TC program for interfaces without a virtual router.
    pub const FENCE: &str = "xvrrp_fence";
}

/// [`RouterKey::family`] and [`VipKey::family`] of a virtual router over IPv4.
pub const FAMILY_IPV4: u8 = Family::Ipv4 as u8;
/// The same over IPv6.
pub const FAMILY_IPV6: u8 = Family::Ipv6 as u8;

/// An address of either family; IPv4 in the first four bytes, the rest zero. In network order.
pub type Address = [u8; 16];

/// An IPv4 address as the maps hold it.
pub const fn ipv4_address(octets: [u8; 4]) -> Address {
    let [a, b, c, d] = octets;
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// An address of either family as the maps hold it.
pub const fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(ip) => ipv4_address(ip.octets()),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// What the maps hold of a virtual router with this [`RouterKey::family`].
pub fn ip_address(family: u8, address: Address) -> IpAddr {
    let [a, b, c, d, ..] = address;
    if family == FAMILY_IPV6 { IpAddr::from(address) } else { IpAddr::from([a, b, c, d]) }
}

/// A virtual router: the same VRID on another interface, VLAN or address family is another one (RFC 9568 1.7, 5.2.3).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RouterKey {
    /// The interface that the frame arrives on.
    pub ifindex: u32,
    /// The VLAN identifier in the frame as the program sees it; 0 for none and for a priority tag.
    pub vlan: u16,
    /// A [`Family`].
    pub family: u8,
    /// 1 to 255.
    pub vrid: u8,
}

/// A virtual address on an interface.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct VipKey {
    /// The interface, by number; 0 in [`Self::anywhere`].
    pub ifindex: u32,
    /// The VLAN identifier; 0 for untagged frames.
    pub vlan: u16,
    /// A [`Family`].
    pub family: u8,
    /// Zero.
    pub reserved: u8,
    /// The virtual address.
    pub address: Address,
}

/// A source from which a virtual router with [`Router::RESTRICT_SOURCES`] takes adverts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SourceKey {
    /// The virtual router.
    pub router: RouterKey,
    /// The source's address.
    pub address: Address,
}

impl VipKey {
    /// Finds an address from any interface. An address that several virtual routers have, on different interfaces, has a key
    /// for each of them, with `nth` counting from 0 up to [`Self::MOST_SHARED`].
    pub const fn anywhere(family: u8, address: Address, nth: u16) -> Self {
        Self { ifindex: 0, vlan: nth, family, reserved: 0, address }
    }

    /// How many virtual routers with the same address are found from other interfaces.
    pub const MOST_SHARED: u16 = 8;
}

/// The key of a hash map: without padding, so that equal keys are equal bytes.
pub trait MapKey: IntoBytes {}

impl MapKey for RouterKey {}
impl MapKey for VipKey {}
impl MapKey for SourceKey {}

/// What the kernel half must know of a virtual router of ours. In the maps it is spread over [`SlotEntry`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Router {
    /// The primary address that our adverts leave from: an advert with this source is our own.
    pub primary: Address,
    /// Authentication data of version 2, zero-padded (RFC 2338 5.3.10).
    pub auth_data: [u8; 8],
    /// Our own advertisement interval in nanoseconds: version 2 discards any other (RFC 3768 7.1).
    pub advert_interval: u64,
    /// Index into [`map::SLOTS`] and [`map::HEARD`], and one less than the index into [`map::COUNTERS`].
    pub slot: u32,
    /// One of the `ROLE_` constants.
    pub role: u8,
    /// The `bool`s of a virtual router: the flags below, or-ed.
    pub flags: u8,
    /// Our priority in the election.
    pub priority: u8,
    /// 2 or 3.
    pub version: u8,
    /// One of the `CHECKSUM_` constants: which forms a version 3 advert may have.
    pub checksum: u8,
    /// Authentication type of version 2: 0 none, 1 simple password (RFC 2338 5.3.6).
    pub auth_type: u8,
    /// What ARP requests and Neighbor Solicitations for the virtual addresses are answered with: the virtual MAC, or the interface's.
    pub answer_mac: [u8; 6],
    /// The interface's own address, to which frames for the virtual MAC are rewritten.
    pub interface_mac: [u8; 6],
}

impl Router {
    /// Neither Active nor Backup: nothing is answered or learned.
    pub const ROLE_INITIALIZE: u8 = 0;
    /// RFC 9568 6.4.2.
    pub const ROLE_BACKUP: u8 = 1;
    /// RFC 9568 6.4.3.
    pub const ROLE_ACTIVE: u8 = 2;

    /// The virtual addresses live on the virtual MAC, not on the interface's own.
    pub const VIRTUAL_MAC: u8 = 1 << 0;
    /// Packets addressed to a virtual address are for this host (`Accept_Mode`, RFC 9568 6.1).
    pub const ACCEPT: u8 = 1 << 1;
    /// An advert of a lower priority than ours does not restart the Active_Down_Timer (RFC 9568 6.4.2).
    pub const PREEMPT: u8 = 1 << 2;
    /// Only adverts from [`map::ALLOWED_SOURCES`] are heard.
    pub const RESTRICT_SOURCES: u8 = 1 << 3;
    /// Adverts are heard if they are addressed to [`Self::primary`], and not if they are addressed to the group. Comes with
    /// [`Self::RESTRICT_SOURCES`].
    pub const UNICAST: u8 = 1 << 4;
    /// For the agent's successor: the role is left to others ("standing by"). The kernel half ignores it.
    pub const STANDS_BY: u8 = 1 << 5;
    /// For the agent's successor: with [`Self::CHECKSUM_AUTO`], adverts are sent in the plain form, as the router did that
    /// was Active before. The kernel half ignores it.
    pub const SENDS_PLAIN: u8 = 1 << 6;
    /// The role was given up, and the addresses may still be on this host: what is for them must not be served by any way.
    pub const RETIRES: u8 = 1 << 7;

    /// Version 3 over IPv4 with either form of the checksum.
    pub const CHECKSUM_AUTO: u8 = 0;
    /// Only with the pseudo-header (RFC 5798 5.2.8).
    pub const CHECKSUM_PSEUDO_HEADER: u8 = 1;
    /// Only over the message itself (RFC 9568 5.2.8).
    pub const CHECKSUM_PLAIN: u8 = 2;
}

/// A valid advert, as the kernel half heard it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HeardAdvert {
    /// When it arrived, on the boot-time clock in nanoseconds.
    pub received_at: u64,
    /// Its advertisement interval in nanoseconds.
    pub interval: u64,
    /// Its IP source address.
    pub source: Address,
    /// The folded ones' complement sum of its addresses, in network order: equal lists have equal sums.
    pub address_sum: u16,
    /// How many addresses it lists.
    pub address_count: u8,
    /// Its sender's priority; 0 gives up the role.
    pub priority: u8,
    /// 2 or 3.
    pub version: u8,
    /// [`Router::CHECKSUM_PSEUDO_HEADER`] or [`Router::CHECKSUM_PLAIN`] (version 2: always plain).
    pub checksum: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

/// What the kernel half has heard for a virtual router.
///
/// It is written while the agent reads, so the agent reads until it finds the same twice. Should it still see a new stamp with
/// the interval of the advert before, the timer that was started with it is corrected when the entry is read again, which always
/// happens before the timer may fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Heard {
    /// When the last advert arrived that restarts a Backup's Active_Down_Timer (RFC 9568 6.4.2); 0: never.
    pub restarted_at: u64,
    /// The interval which that advert carried, in nanoseconds: a Backup's new Active_Adver_Interval.
    pub restart_interval: u64,
    /// The last valid advert of any priority.
    pub latest: HeardAdvert,
    /// The kernel half's own: when the last [`ConflictEvent`] was told.
    pub claim_told_at: u64,
}

/// Sent when an advert changes something, or when our role makes every advert matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AdvertEvent {
    /// The virtual router that the advert is for.
    pub router: RouterKey,
    /// Its slot.
    pub slot: u32,
    /// Zero.
    pub reserved: u32,
    /// What the advert says.
    pub advert: HeardAdvert,
}

/// Sent when another host claims a virtual address while we are Active, at most once in [`ConflictEvent::PAUSE`] for each virtual
/// router. In the ring buffer it differs from an [`AdvertEvent`] by its length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConflictEvent {
    /// The virtual address.
    pub address: Address,
    /// The slot of the virtual router that has the address.
    pub slot: u32,
    /// Where the claimant says that it is.
    pub mac: [u8; 6],
    /// Zero.
    pub reserved: [u8; 6],
}

impl ConflictEvent {
    /// In nanoseconds: 100 ms.
    pub const PAUSE: u64 = 100_000_000;
}

/// Whether anybody watches frames, and how many were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Monitored {
    /// Not zero while somebody watches.
    pub wanted: u32,
    /// Always 0.
    pub reserved: u32,
    /// How many frames there was no room for, since then.
    pub lost: u64,
}

/// An advert, or ARP or Neighbor Discovery that names a virtual address, as it arrived, for who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sighting {
    /// On the boot-time clock in nanoseconds.
    pub at: u64,
    /// The interface that it arrived on.
    pub ifindex: u32,
    /// What was made of it: a [`Counter`].
    pub counter: u32,
    /// How many bytes it has, and how many of them are in `bytes`.
    pub length: u32,
    /// How many of them were captured.
    pub captured: u32,
    /// Those bytes, from the first on.
    pub bytes: [u8; Self::MOST_CAPTURED as usize],
}

impl Sighting {
    /// [`Self::captured`] at most.
    pub const MOST_CAPTURED: u32 = 512;

    /// The frame, or its beginning.
    pub fn frame(&self) -> &[u8] {
        self.bytes.get(..self.captured as usize).unwrap_or(&self.bytes)
    }
}

/// Which agent made the maps, so that a later one knows whether it can use them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Stamp {
    /// [`LAYOUT`]; 0 in maps that are not complete yet.
    pub layout: u32,
    /// The agent's version, zero-padded: for the log.
    pub version: [u8; 28],
}

/// The form and meaning of all the maps in this file. Any change that a program of the version before would not
/// understand makes it another number. Stamp and number themselves never change their place.
pub const LAYOUT: u32 = 3;

/// What the kernel half must know before it looks for a virtual router. The agent writes each field whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Settings {
    /// Not zero if some virtual router has no [`Router::VIRTUAL_MAC`]: then every IP packet's destination is looked
    /// up. Zero spares ordinary traffic the look-up.
    pub look_up_destinations: u32,
    /// How long the kernel's tick is, in nanoseconds; not zero.
    pub tick: u32,
    /// The lease of all: no lease of an Active virtual router ends before it. [`Lease::ENDED`] while the agent changes any of
    /// them, and from the moment at which the kernel half ends one; [`Lease::UNLIMITED`] while none is Active. As long as
    /// it runs, no address of ours has to be looked up for the fence.
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
    assert!(size_of::<Sighting>() == 536);
    assert!(size_of::<Stamp>() == 32);
    assert!(Counter::ALL.len() <= MAX_COUNTERS);
};

#[cfg(feature = "user")]
mod pod {
    use super::{AdvertEvent, Checked, Counters, Heard, Monitored, RouterKey, Settings, SourceKey, Stamp, VipKey};

    // SAFETY: all of these are `repr(C)`, free of padding and valid for every bit pattern: zerocopy's `FromBytes`
    // and `IntoBytes`, derived above, prove both at compile time.
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
