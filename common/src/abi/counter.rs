//! What the kernel half counts.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::wire::vrrp::Discard;

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What the kernel half counts, by reason; the index into [`Counters`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(usize)]
        pub enum Counter {
            $($(#[$doc])* $variant,)*
        }

        impl Counter {
            /// All of them, in the order of their indices.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in `xvrrp status`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

// New ones come last: the maps of a predecessor have the others where they always were.
counters! {
    /// Valid adverts.
    AdvertAccepted = "advert_accepted",
    /// Valid adverts with priority 0; counted as accepted too.
    AdvertRelease = "advert_release",
    /// A fragment of an IP packet with protocol 112: no VRRP router sends one.
    AdvertFragment = "advert_fragment",
    /// TTL or hop limit other than 255 (RFC 9568 5.1.1.3, 5.1.2.3), or below what a unicast peer may have.
    AdvertTimeToLive = "advert_time_to_live",
    /// Not the version that the virtual router is configured for (RFC 9568 7.1).
    AdvertVersion = "advert_version",
    /// Not an ADVERTISEMENT (RFC 9568 5.2.2).
    AdvertType = "advert_type",
    /// An IP header that contradicts itself or has a wrong checksum: never attributed to a virtual router.
    AdvertIpHeader = "advert_ip_header",
    /// Shorter or longer than its address count says (RFC 9568 7.1).
    AdvertLength = "advert_length",
    /// No form of the checksum that is accepted fits (RFC 9568 5.2.8).
    AdvertChecksum = "advert_checksum",
    /// A VRID that is not configured on the interface (RFC 9568 7.1); passed on, another daemon may live there.
    AdvertUnknownVrid = "advert_unknown_vrid",
    /// Advertisement interval 0 (RFC 9568 erratum 8301).
    AdvertIntervalZero = "advert_interval_zero",
    /// Version 2: an interval other than ours (RFC 3768 7.1).
    AdvertIntervalMismatch = "advert_interval_mismatch",
    /// No address at all (RFC 9568 5.2.5).
    AdvertNoAddress = "advert_no_address",
    /// Version 2: another authentication type or password (RFC 2338 7.1).
    AdvertAuthentication = "advert_authentication",
    /// From our own primary address.
    AdvertOwnSource = "advert_own_source",
    /// From a source that is not among the allowed ones.
    AdvertForbiddenSource = "advert_forbidden_source",
    /// Change not told to the agent, because the ring buffer was full; the agent reads the map anyway.
    EventLost = "event_lost",
    /// ARP requests for a virtual address, answered.
    ArpAnswered = "arp_answered",
    /// ARP requests for a virtual address, dropped because we are not Active (RFC 9568 6.4.2) or our lease has ended.
    ArpSuppressed = "arp_suppressed",
    /// ARP packets in which another host claims a virtual address with a MAC that is not the virtual one, or, without
    /// a virtual MAC, that is not ours while we are Active.
    ArpConflict = "arp_rival_claim",
    /// Frames to the virtual MAC, let in.
    VirtualMacAdmitted = "virtual_mac_admitted",
    /// Frames to the virtual MAC, dropped because we are not Active (RFC 9568 6.4.2) or our lease has ended.
    VirtualMacDropped = "virtual_mac_dropped",
    /// Packets addressed to a virtual address, dropped because `accept` is off (RFC 9568 6.4.3), or, without a virtual
    /// MAC, because we are not Active or our lease has ended.
    NotAccepted = "not_accepted",
    /// ARP packets of this host that named a virtual address: sender set to the virtual MAC.
    EgressArpRewritten = "egress_arp_rewritten",
    /// ARP packets of this host that named a virtual address, dropped because we are not Active or our lease has ended.
    EgressArpDropped = "egress_arp_dropped",
    /// A virtual router has a slot beyond the maps' ends: a fault of the agent, logged by the kernel half.
    MissingSlot = "missing_slot",
    /// Over IPv6: the first address is not link-local (RFC 9568 5.2.9, erratum 8300).
    AdvertFirstAddress = "advert_first_address",
    /// Neighbor Solicitations for a virtual address, answered.
    NdAnswered = "nd_answered",
    /// Neighbor Solicitations for a virtual address, dropped because we are not Active (RFC 9568 6.4.2) or our lease has
    /// ended.
    NdSuppressed = "nd_suppressed",
    /// Neighbor Discovery in which another host claims a virtual address, as in [`Self::ArpConflict`].
    NdConflict = "nd_rival_claim",
    /// Neighbor Discovery of this host that named a virtual address: link-layer address set to the virtual MAC.
    EgressNdRewritten = "egress_nd_rewritten",
    /// Neighbor Discovery of this host that named a virtual address, dropped because we are not Active or our lease has
    /// ended.
    EgressNdDropped = "egress_nd_dropped",
    /// To the group, although the virtual router has unicast peers.
    AdvertMulticast = "advert_multicast",
    /// Packets to a virtual address, and ARP requests and Neighbor Solicitations for one, that came by another way than the
    /// virtual router's own (another interface, or the interface's own MAC) while we were Active and our lease had ended:
    /// dropped.
    Fenced = "fenced",
}

macro_rules! discards {
    ($($discard:ident => $counter:ident,)*) => {
        impl Counter {
            /// The reasons for which adverts are discarded.
            pub const DISCARDS: &'static [Self] = &[$(Self::$counter,)*];
        }

        impl From<Discard> for Counter {
            #[inline(always)]
            fn from(discard: Discard) -> Self {
                match discard {
                    $(Discard::$discard => Self::$counter,)*
                }
            }
        }
    };
}

// RFC 9568 7.1: "the receiver MUST discard the packet" (conformance 11).
discards! {
    Fragment => AdvertFragment,
    TimeToLive => AdvertTimeToLive,
    Version => AdvertVersion,
    Type => AdvertType,
    Length => AdvertLength,
    Checksum => AdvertChecksum,
    IntervalZero => AdvertIntervalZero,
    IntervalMismatch => AdvertIntervalMismatch,
    NoAddress => AdvertNoAddress,
    Authentication => AdvertAuthentication,
    FirstAddress => AdvertFirstAddress,
    OwnSource => AdvertOwnSource,
    ForbiddenSource => AdvertForbiddenSource,
    Multicast => AdvertMulticast,
}

/// One CPU's counts for a virtual router, or for what belongs to none; indexed by [`Counter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counters(pub [u64; MAX_COUNTERS]);

/// With room to spare, so that a new counter does not change the layout.
pub const MAX_COUNTERS: usize = 40;

impl Default for Counters {
    fn default() -> Self {
        Self([0; MAX_COUNTERS])
    }
}
