//! The virtual routers that receive the frames. Each setting that the XDP program looks at is on in one and off in
//! another.

use anyhow::Result;
use xvrrp_common::abi::{Address, Lease, Router, RouterKey};
use xvrrp_common::units::{Family, MacAddress, Version, Vrid};
use xvrrp_common::wire::vrrp::{IpAddress, Tolerance};

use xvrrp_lab::kernel_half::{IFINDEX, KernelHalf, router};

/// A virtual router as both halves know it. Its slot is its index in [`Network::routers`].
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub key: RouterKey,
    pub router: Router,
    pub address: Address,
    /// An address of the other family that it has too.
    pub other: Option<Address>,
    /// If it is restricted to one source: that source and its minimum TTL.
    pub allowed: Option<(Address, u8)>,
    /// Whether its lease runs during the whole test.
    pub lease: bool,
}

#[derive(Debug)]
pub struct Network {
    pub routers: Vec<Member>,
}

/// The addresses of one family.
pub trait Sender: IpAddress {
    /// A source that no virtual router is restricted to.
    const PEER: Self;
    /// The primary address of all virtual routers.
    const PRIMARY: Self;
    /// The source that restricted virtual routers accept.
    const ALLOWED: Self;

    /// Returns the virtual address of all virtual routers with this VRID.
    fn virtual_address(vrid: u8) -> Self;
}

impl Sender for [u8; 4] {
    const PEER: Self = [192, 0, 2, 2];
    const PRIMARY: Self = [192, 0, 2, 3];
    const ALLOWED: Self = [192, 0, 2, 4];

    fn virtual_address(vrid: u8) -> Self {
        [198, 51, 100, vrid]
    }
}

impl Sender for [u8; 16] {
    const PEER: Self = link_local(2);
    const PRIMARY: Self = link_local(3);
    const ALLOWED: Self = link_local(4);

    fn virtual_address(vrid: u8) -> Self {
        [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, vrid]
    }
}

pub const fn link_local(last: u8) -> [u8; 16] {
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

pub const PASSWORD: [u8; 8] = *b"secret\0\0";
pub const INTERFACE_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 3]);

impl Default for Network {
    fn default() -> Self {
        let v2 = |role| Router { version: Version::V2 as u8, ..router(role) };
        let (backup, active, none) = (Router::ROLE_BACKUP, Router::ROLE_ACTIVE, Router::ROLE_INITIALIZE);
        let restricted = Router { flags: Router::VIRTUAL_MAC | Router::RESTRICT_SOURCES, ..router(active) };
        let unicast = Router { flags: Router::UNICAST | restricted.flags, ..router(backup) };
        let bare = Router { flags: 0, ..router(active) };
        let tolerant =
            |router| Router { tolerated: Router::TOLERATES_NO_ADDRESS | Router::TOLERATES_ANY_FIRST, ..router };
        let (v4, v6) = (Family::Ipv4, Family::Ipv6);
        let routers = [
            (v4, 51, 0, router(backup)),
            (v4, 52, 0, tolerant(v2(active))),
            (v4, 53, 0, Router { auth_type: 1, auth_data: PASSWORD, ..v2(none) }),
            (v4, 54, 0, Router { checksum: Router::CHECKSUM_PLAIN, ..restricted }),
            (v4, 51, 7, Router { checksum: Router::CHECKSUM_PSEUDO_HEADER, ..bare }),
            (v4, WITHOUT_LEASE, 0, router(active)),
            (v4, OF_BOTH, 0, tolerant(Router { flags: Router::ACCEPT, ..router(backup) })),
            (v6, 51, 0, router(backup)),
            (v6, 52, 0, tolerant(router(active))),
            (v6, 54, 0, restricted),
            (v6, 51, 7, bare),
            (v6, WITHOUT_LEASE, 0, router(active)),
            (v4, UNICAST, 0, unicast),
            (v6, UNICAST, 0, unicast),
            (v6, OTHER_OF_BOTH, 0, router(active)),
        ];
        Self { routers: (0..).zip(routers).map(|(slot, router)| Member::new(slot, router)).collect() }
    }
}

/// The VRID of the virtual router whose lease has ended.
const WITHOUT_LEASE: u8 = 55;
/// The VRIDs of the virtual routers that have an address of the other family: one over IPv4, and one over IPv6.
const OF_BOTH: u8 = 56;
const OTHER_OF_BOTH: u8 = 57;
/// The VRID of the virtual routers with a unicast peer, which is behind a router.
pub const UNICAST: u8 = 58;

impl Member {
    fn new(slot: u32, (family, vrid, vlan, router): (Family, u8, u16, Router)) -> Self {
        let virtual_mac = MacAddress::of_virtual_router(family, Vrid::new(vrid).expect("not zero"));
        let answer_mac = if router.flags & Router::VIRTUAL_MAC == 0 { INTERFACE_MAC } else { virtual_mac };
        let (primary, address, allowed) = match family {
            Family::Ipv4 => addresses::<[u8; 4]>(vrid),
            Family::Ipv6 => addresses::<[u8; 16]>(vrid),
        };
        let other = match vrid {
            OF_BOTH => Some(<[u8; 16]>::virtual_address(vrid).widen()),
            OTHER_OF_BOTH => Some(<[u8; 4]>::virtual_address(vrid).widen()),
            _ => None,
        };
        Self {
            key: RouterKey { ifindex: IFINDEX, vlan, family: family as u8, vrid },
            router: Router { slot, primary, answer_mac: answer_mac.0, interface_mac: INTERFACE_MAC.0, ..router },
            address,
            other,
            allowed: (router.flags & Router::RESTRICT_SOURCES != 0)
                .then_some((allowed, if vrid == UNICAST { 254 } else { 255 })),
            lease: vrid != WITHOUT_LEASE,
        }
    }
}

/// Returns the primary, the virtual and the allowed address.
fn addresses<A: Sender>(vrid: u8) -> (Address, Address, Address) {
    (A::PRIMARY.widen(), A::virtual_address(vrid).widen(), A::ALLOWED.widen())
}

impl Network {
    /// Loads the kernel half with these virtual routers.
    pub fn load(&self) -> Result<KernelHalf> {
        let mut kernel = KernelHalf::with_room(u32::try_from(2 * self.routers.len())?)?;
        for member in &self.routers {
            kernel.add(member.key, member.router, member.address)?;
            if let Some(other) = member.other {
                kernel.add_of_other_family(member.key, member.router.slot, other)?;
            }
            if let Some((source, min_ttl)) = member.allowed {
                kernel.allow_source(member.key, source, min_ttl)?;
            }
            kernel.set_lease(member.router.slot, if member.lease { Lease::UNLIMITED } else { Lease::ENDED });
        }
        Ok(kernel)
    }

    pub(super) fn router(&self, family: Family, vrid: u8, vlan: u16) -> Option<&Member> {
        let key = RouterKey { ifindex: IFINDEX, vlan, family: family as u8, vrid };
        self.routers.iter().find(|member| member.key == key)
    }

    pub(super) fn router_of_vip<A: IpAddress>(&self, address: A, vlan: u16) -> Option<&Member> {
        self.routers.iter().filter(|member| member.has_address(address)).find(|member| member.key.vlan == vlan)
    }
}

impl Member {
    pub(super) fn has(&self, flag: u8) -> bool {
        self.router.flags & flag != 0
    }

    pub(super) fn has_address<A: IpAddress>(&self, address: A) -> bool {
        let of_family = if self.key.family == A::FAMILY as u8 { Some(self.address) } else { self.other };
        of_family == Some(address.widen())
    }

    pub(super) fn tolerance(&self) -> Tolerance {
        let tolerates = |what| self.router.tolerated & what != 0;
        Tolerance {
            no_address: tolerates(Router::TOLERATES_NO_ADDRESS),
            any_first: tolerates(Router::TOLERATES_ANY_FIRST),
        }
    }

    /// Whether it is Active and its lease runs.
    pub(super) fn serves(&self) -> bool {
        self.router.role == Router::ROLE_ACTIVE && self.lease
    }

    /// Whether it is Active although its lease has ended.
    pub(super) fn is_past_lease(&self) -> bool {
        self.router.role == Router::ROLE_ACTIVE && !self.lease
    }

    /// Whether this MAC shows that another host claims its address. A Backup without a virtual MAC cannot know, because
    /// it does not know the MAC of the Active router.
    pub(super) fn conflicts(&self, mac: MacAddress) -> bool {
        let knows = self.router.role == Router::ROLE_ACTIVE || self.has(Router::VIRTUAL_MAC);
        knows && mac.0 != self.router.answer_mac
    }

    /// Returns the index of its counters.
    pub(super) fn index(&self) -> u32 {
        self.router.slot + 1
    }
}
