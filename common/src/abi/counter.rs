//! The kernel half's counters.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::wire::vrrp::Discard;

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Counter of the kernel half, and index into [`Counters`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(usize)]
        pub enum Counter {
            $($(#[$doc])* $variant,)*
        }

        impl Counter {
            /// All counters, in the order of their indices.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the name in `xvrrp status`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

// New counters are added at the end, so that the others keep their indices in the maps of a previous agent.
counters! {
    /// Valid adverts.
    AdvertAccepted = "advert_accepted",
    /// Valid adverts with priority 0. They are counted as accepted too.
    AdvertRelease = "advert_release",
    /// Fragments of IP packets with protocol 112. No VRRP router sends any.
    AdvertFragment = "advert_fragment",
    /// Adverts whose TTL or hop limit is not 255 (RFC 9568 5.1.1.3, 5.1.2.3), or is below the minimum of a unicast
    /// peer.
    AdvertTimeToLive = "advert_time_to_live",
    /// Adverts of another version than the virtual router's (RFC 9568 7.1).
    AdvertVersion = "advert_version",
    /// VRRP packets that are not an ADVERTISEMENT (RFC 9568 5.2.2).
    AdvertType = "advert_type",
    /// Adverts whose IP header is inconsistent or has a wrong checksum. They are never attributed to a virtual router.
    AdvertIpHeader = "advert_ip_header",
    /// Adverts that are shorter or longer than their address count says (RFC 9568 7.1).
    AdvertLength = "advert_length",
    /// Adverts whose checksum is valid in no accepted form (RFC 9568 5.2.8).
    AdvertChecksum = "advert_checksum",
    /// Adverts with a VRID that is not configured on the interface (RFC 9568 7.1). They are passed on, because another
    /// VRRP daemon may use the interface.
    AdvertUnknownVrid = "advert_unknown_vrid",
    /// Adverts with advertisement interval 0 (RFC 9568 erratum 8301).
    AdvertIntervalZero = "advert_interval_zero",
    /// Adverts of version 2 with an interval other than ours (RFC 3768 7.1).
    AdvertIntervalMismatch = "advert_interval_mismatch",
    /// Adverts without an address (RFC 9568 5.2.5).
    AdvertNoAddress = "advert_no_address",
    /// Adverts of version 2 with another authentication type or password (RFC 2338 7.1).
    AdvertAuthentication = "advert_authentication",
    /// Adverts from our own primary address.
    AdvertOwnSource = "advert_own_source",
    /// Adverts from a source that is not allowed.
    AdvertForbiddenSource = "advert_forbidden_source",
    /// Events that the agent was not notified of because the ring buffer was full. The agent also reads the map, so it
    /// notices the advert later.
    EventLost = "event_lost",
    /// ARP requests for a virtual address that were answered.
    ArpAnswered = "arp_answered",
    /// ARP requests for a virtual address that were dropped because this host is not Active (RFC 9568 6.4.2) or its
    /// lease has ended.
    ArpSuppressed = "arp_suppressed",
    /// ARP packets in which another host claims a virtual address with a MAC that is not the virtual one; without a
    /// virtual MAC, with a MAC that is not ours while this host is Active.
    ArpConflict = "arp_rival_claim",
    /// Frames to the virtual MAC that were admitted.
    VirtualMacAdmitted = "virtual_mac_admitted",
    /// Frames to the virtual MAC that were dropped because this host is not Active (RFC 9568 6.4.2) or its lease has
    /// ended.
    VirtualMacDropped = "virtual_mac_dropped",
    /// Packets to a virtual address that were dropped because `accept` is off (RFC 9568 6.4.3); without a virtual MAC,
    /// also because this host is not Active or its lease has ended.
    NotAccepted = "not_accepted",
    /// ARP packets of this host for a virtual address whose sender was set to the virtual MAC.
    EgressArpRewritten = "egress_arp_rewritten",
    /// ARP packets of this host for a virtual address that were dropped because this host is not Active or its lease
    /// has ended.
    EgressArpDropped = "egress_arp_dropped",
    /// Look-ups that found a slot beyond the end of the maps. That is a bug in the agent, and the kernel half logs it.
    MissingSlot = "missing_slot",
    /// Adverts over IPv6 whose first address is not link-local (RFC 9568 5.2.9, erratum 8300).
    AdvertFirstAddress = "advert_first_address",
    /// Neighbor Solicitations for a virtual address that were answered.
    NdAnswered = "nd_answered",
    /// Neighbor Solicitations for a virtual address that were dropped because this host is not Active (RFC 9568 6.4.2)
    /// or its lease has ended.
    NdSuppressed = "nd_suppressed",
    /// Neighbor Discovery messages in which another host claims a virtual address, as in [`Self::ArpConflict`].
    NdConflict = "nd_rival_claim",
    /// Neighbor Discovery messages of this host for a virtual address whose link-layer address was set to the virtual
    /// MAC.
    EgressNdRewritten = "egress_nd_rewritten",
    /// Neighbor Discovery messages of this host for a virtual address that were dropped because this host is not Active
    /// or its lease has ended.
    EgressNdDropped = "egress_nd_dropped",
    /// Adverts to the group although the virtual router has unicast peers.
    AdvertMulticast = "advert_multicast",
    /// Packets to a virtual address, and ARP requests and Neighbor Solicitations for one, that arrived on another
    /// interface or at the interface's own MAC, and were dropped because this host must not serve the address: its
    /// lease has ended while it is Active, or it has just given up the role.
    Fenced = "fenced",
}

macro_rules! discards {
    ($($discard:ident => $counter:ident,)*) => {
        impl Counter {
            /// Reasons for which adverts are discarded.
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

// RFC 9568 7.1: "If any one of the above checks fails, the receiver MUST discard the packet" (conformance 11).
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

/// Counts of one CPU for a virtual router, or for frames that belong to none; indexed by [`Counter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counters(pub [u64; MAX_COUNTERS]);

/// Number of counters that there is room for. Some are spare, so that a new counter does not change the layout.
pub const MAX_COUNTERS: usize = 40;

impl Default for Counters {
    fn default() -> Self {
        Self([0; MAX_COUNTERS])
    }
}
