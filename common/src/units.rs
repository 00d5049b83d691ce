//! The quantities of VRRP and the numbers of interfaces, each in a type of its own.
//!
//! Intervals are centiseconds (version 3) or seconds (version 2) on the wire and nanoseconds in memory. They are
//! converted here and nowhere else. All arithmetic is done in integers, and nothing is rounded to zero.

use core::net::IpAddr;
use core::{fmt, ops};

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const NANOS_PER_CENTISECOND: u64 = NANOS_PER_SECOND / 100;

/// Virtual Router Identifier, 1 to 255 (RFC 9568 5.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Vrid(u8);

impl Vrid {
    /// Makes a VRID. Returns `None` for 0, which no virtual router may use.
    pub const fn new(vrid: u8) -> Option<Self> {
        match vrid {
            0 => None,
            _ => Some(Self(vrid)),
        }
    }

    /// Returns the number, 1 to 255.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Vrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Priority of a VRRP router; higher values win (RFC 9568 5.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Priority(u8);

impl Priority {
    /// Priority that an Active router sends to give up its role (RFC 9568 5.2.4).
    pub const RELEASE: Self = Self(0);
    /// Priority of a Backup unless it is configured otherwise (RFC 9568 6.1).
    pub const DEFAULT: Self = Self(100);
    /// Priority of the address owner, whose interface addresses the virtual addresses are (RFC 9568 5.2.4).
    pub const OWNER: Self = Self(255);

    /// Makes a priority from the number in an advert or a configuration.
    pub const fn new(priority: u8) -> Self {
        Self(priority)
    }

    /// Returns the number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Returns whether this is the priority of the address owner, 255 (RFC 9568 5.2.4).
    pub const fn is_owner(self) -> bool {
        self.0 == Self::OWNER.0
    }

    /// Returns whether the sender gives up its role, with priority 0 (RFC 9568 5.2.4).
    pub const fn is_release(self) -> bool {
        self.0 == Self::RELEASE.0
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The two versions of the protocol that xvrrp speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// Version 2 (RFC 3768).
    V2 = 2,
    /// Version 3 (RFC 9568).
    V3 = 3,
}

impl Version {
    /// Returns the version with this number, if it is known.
    pub const fn from_wire(version: u8) -> Option<Self> {
        match version {
            2 => Some(Self::V2),
            3 => Some(Self::V3),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (*self as u8).fmt(f)
    }
}

/// Address family of a virtual router, with its `AF_` number. The same VRID in another family is another virtual router
/// (RFC 9568 1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[repr(u8)]
pub enum Family {
    /// IPv4, `AF_INET`.
    Ipv4 = 2,
    /// IPv6, `AF_INET6`.
    Ipv6 = 10,
}

impl Family {
    /// Returns the family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        })
    }
}

/// Number of an interface in its network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct IfIndex(u32);

impl IfIndex {
    /// Makes an index from the number that the kernel has given to the interface.
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// Returns the number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for IfIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A span of time in whole nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Interval(u64);

impl Interval {
    /// The interval of length zero.
    pub const ZERO: Self = Self(0);
    /// Shortest advertisement interval of version 3: one centisecond.
    pub const MIN_ADVERT: Self = Self::from_centiseconds(1);
    /// Longest advertisement interval of version 3: 12 bits of centiseconds (RFC 9568 5.2.7, conformance 25).
    pub const MAX_ADVERT: Self = Self::from_centiseconds(0xfff);
    /// Longest advertisement interval of version 2: 8 bits of seconds (RFC 3768 5.3.7).
    pub const MAX_ADVERT_V2: Self = Self::from_seconds(255);

    /// Makes an interval from a number of nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Makes an interval from a number of microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros * 1_000)
    }

    /// Makes an interval from a number of milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Makes an interval from a number of centiseconds, the unit of version 3 on the wire.
    pub const fn from_centiseconds(centiseconds: u16) -> Self {
        Self(centiseconds as u64 * NANOS_PER_CENTISECOND)
    }

    /// Makes an interval from a number of seconds, the unit of version 2 on the wire.
    pub const fn from_seconds(seconds: u8) -> Self {
        Self(seconds as u64 * NANOS_PER_SECOND)
    }

    /// Returns the interval in nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the interval in centiseconds, the unit of version 3 on the wire. Returns `None` unless 12 bits can hold
    /// it exactly.
    pub const fn to_centiseconds(self) -> Option<u16> {
        if !self.0.is_multiple_of(NANOS_PER_CENTISECOND) || self.0 > Self::MAX_ADVERT.0 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 0xfff, checked above")]
        Some((self.0 / NANOS_PER_CENTISECOND) as u16)
    }

    /// Returns the interval in seconds, the unit of version 2 on the wire. Returns `None` unless 8 bits can hold it
    /// exactly.
    pub const fn to_seconds(self) -> Option<u8> {
        if !self.0.is_multiple_of(NANOS_PER_SECOND) || self.0 > Self::MAX_ADVERT_V2.0 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 255, checked above")]
        Some((self.0 / NANOS_PER_SECOND) as u8)
    }

    /// Computes `Skew_Time` of version 3 for this Active_Adver_Interval, by the formula of RFC 9568 6.1:
    /// `((256 - Priority) * Active_Adver_Interval) / 256` (conformance 19, 22). The result is not rounded at 10 ms.
    pub const fn skew(self, priority: Priority) -> Self {
        Self((256 - priority.get() as u64) * self.0 / 256)
    }

    /// Computes `Skew_Time` of version 2, which does not depend on the interval, by the formula of RFC 3768 6.1:
    /// `(256 - Priority) / 256` seconds (conformance 20).
    pub const fn skew_v2(priority: Priority) -> Self {
        Self::from_seconds(1).skew(priority)
    }

    /// Multiplies the interval. Returns the longest possible interval instead of overflowing.
    pub const fn saturating_mul(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }

    /// Subtracts another interval. Returns zero instead of underflowing.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl ops::Add for Interval {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl From<Interval> for core::time::Duration {
    fn from(interval: Interval) -> Self {
        Self::from_nanos(interval.0)
    }
}

/// Prints the interval as [`Duration`](core::time::Duration) does, with as many decimals as it needs: `100ms`,
/// `6.09375ms`.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&core::time::Duration::from(*self), f)
    }
}

/// A reading of the boot-time clock (`CLOCK_BOOTTIME`) in nanoseconds. This is the one clock that the kernel half
/// (`bpf_ktime_get_boot_ns`) and the agent share. It also advances while the machine is suspended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
#[repr(transparent)]
pub struct Instant(u64);

impl Instant {
    /// Makes an instant from the number of nanoseconds since boot.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the time that has passed since `earlier`; zero if this is not later.
    pub const fn since(self, earlier: Self) -> Interval {
        Interval(self.0.saturating_sub(earlier.0))
    }
}

impl ops::Add<Interval> for Instant {
    type Output = Self;

    fn add(self, interval: Interval) -> Self {
        Self(self.0.saturating_add(interval.0))
    }
}

impl ops::Sub<Interval> for Instant {
    type Output = Self;

    fn sub(self, interval: Interval) -> Self {
        Self(self.0.saturating_sub(interval.0))
    }
}

/// A MAC address, in the order of its bytes in a frame.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Broadcast address, of all hosts on a segment.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// Destination of adverts over IPv4: the Ethernet form of 224.0.0.18 (RFC 1112 6.4).
    pub const VRRP_IPV4_MULTICAST: Self = Self([0x01, 0x00, 0x5e, 0x00, 0x00, 0x12]);
    /// Destination of adverts over IPv6: the Ethernet form of ff02::12 (RFC 2464 7).
    pub const VRRP_IPV6_MULTICAST: Self = Self([0x33, 0x33, 0x00, 0x00, 0x00, 0x12]);
    /// Address of all IPv6 hosts on a link: the Ethernet form of ff02::1 (RFC 2464 7).
    pub const ALL_NODES: Self = Self([0x33, 0x33, 0x00, 0x00, 0x00, 0x01]);

    /// Returns the virtual router MAC address over IPv4, 00-00-5E-00-01-{VRID} (RFC 9568 7.3).
    pub const fn virtual_ipv4(vrid: Vrid) -> Self {
        Self([0x00, 0x00, 0x5e, 0x00, 0x01, vrid.get()])
    }

    /// Returns the virtual router MAC address over IPv6, 00-00-5E-00-02-{VRID} (RFC 9568 7.3).
    pub const fn virtual_ipv6(vrid: Vrid) -> Self {
        Self([0x00, 0x00, 0x5e, 0x00, 0x02, vrid.get()])
    }

    /// Returns the virtual router MAC address in a family.
    pub const fn of_virtual_router(family: Family, vrid: Vrid) -> Self {
        match family {
            Family::Ipv4 => Self::virtual_ipv4(vrid),
            Family::Ipv6 => Self::virtual_ipv6(vrid),
        }
    }

    /// Returns the virtual router to which this MAC address belongs, or `None` if it is not a virtual router MAC
    /// address.
    pub const fn virtual_router(self) -> Option<(Family, Vrid)> {
        let (family, vrid) = match self.0 {
            [0x00, 0x00, 0x5e, 0x00, 0x01, vrid] => (Family::Ipv4, vrid),
            [0x00, 0x00, 0x5e, 0x00, 0x02, vrid] => (Family::Ipv6, vrid),
            _ => return None,
        };
        match Vrid::new(vrid) {
            Some(vrid) => Some((family, vrid)),
            None => None,
        }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew_of_version_3_is_a_share_of_the_interval() {
        // RFC 9568 6.1
        let second = Interval::from_seconds(1);
        assert_eq!(second.skew(Priority::new(100)), Interval::from_nanos(609_375_000));
        assert_eq!(second.skew(Priority::new(254)), Interval::from_nanos(7_812_500));
    }

    #[test]
    fn skew_is_not_rounded_away_at_10_ms_adverts() {
        let skew = Interval::from_centiseconds(1).skew(Priority::new(100));
        assert_eq!(skew, Interval::from_nanos(6_093_750));
        assert!(Interval::from_centiseconds(1).skew(Priority::OWNER) > Interval::ZERO);
    }

    #[test]
    fn skew_of_version_2_does_not_depend_on_the_interval() {
        // RFC 3768 6.1
        assert_eq!(Interval::skew_v2(Priority::new(100)), Interval::from_nanos(609_375_000));
    }

    #[test]
    fn only_whole_values_in_range_have_a_form_on_the_wire() {
        assert_eq!(Interval::from_millis(100).to_centiseconds(), Some(10));
        assert_eq!(Interval::from_millis(15).to_centiseconds(), None);
        assert_eq!(Interval::from_centiseconds(0xfff).to_centiseconds(), Some(0xfff));
        assert_eq!(Interval::from_millis(40_960).to_centiseconds(), None);
        assert_eq!(Interval::from_seconds(255).to_seconds(), Some(255));
        assert_eq!(Interval::from_millis(1_500).to_seconds(), None);
        assert_eq!(Interval::from_millis(256_000).to_seconds(), None);
    }

    #[test]
    fn virtual_mac_carries_the_vrid() {
        // RFC 9568 7.3
        let vrid = Vrid::new(51).unwrap();
        for (family, octet) in [(Family::Ipv4, 1), (Family::Ipv6, 2)] {
            let mac = MacAddress::of_virtual_router(family, vrid);
            assert_eq!(mac.0, [0x00, 0x00, 0x5e, 0x00, octet, 51]);
            assert_eq!(mac.virtual_router(), Some((family, vrid)));
            assert_eq!(MacAddress([0, 0, 0x5e, 0, octet, 0]).virtual_router(), None);
        }
        assert_eq!(MacAddress([0, 0, 0x5e, 0, 3, 51]).virtual_router(), None);
    }
}
