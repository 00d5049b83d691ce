//! Builds the frames that a virtual router sends: adverts and announcements.

use std::io;
use std::net::IpAddr;

use xvrrp_common::abi;
use xvrrp_common::units::{Family, IfIndex, Interval, MacAddress, Priority, Version, Vrid};
use xvrrp_common::wire::vrrp::{self as wire, ChecksumForm, IpAddress};
use xvrrp_common::wire::{arp, icmpv6};
use xvrrp_net::InterfaceSender;

use super::config::{AnnouncedDevice, InstanceConfig};

/// One announcement for each virtual address, ready to be sent: gratuitous ARP or unsolicited Neighbor Advertisements
/// (RFC 9568 6.4.2).
#[derive(Debug)]
pub(super) struct Announcements {
    /// Those on the interface of the virtual router.
    own: AnnouncementFrames,
    sender: InterfaceSender,
    /// Those on other interfaces.
    devices: Vec<(IfIndex, AnnouncementFrames, InterfaceSender)>,
}

/// Announcements on one interface.
#[derive(Debug)]
pub(super) struct AnnouncementFrames {
    arp: Vec<[u8; 42]>,
    /// Sent after those of ARP.
    neighbor: Vec<[u8; icmpv6::FRAME]>,
}

impl Announcements {
    /// Builds the announcements of a virtual router, whose addresses are reached at this MAC on its own interface.
    pub(super) fn new(mac: MacAddress, config: &InstanceConfig) -> Self {
        let device = |device: &AnnouncedDevice| {
            let frames = AnnouncementFrames::new(device.mac, &device.addresses);
            (device.ifindex, frames, device.sender.clone())
        };
        Self {
            own: AnnouncementFrames::new(mac, &config.addresses),
            sender: config.sender.clone(),
            devices: config.devices.iter().map(device).collect(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.own.count() + self.devices.iter().map(|(_, frames, _)| frames.count()).sum::<usize>()
    }

    /// Sends those of a portion, and returns the first failure. On other interfaces there is no failure: one that is
    /// down gets its announcements when it is up again.
    ///
    /// Without `serves`, nothing is sent on other interfaces. On its own, the kernel half drops what must not be sent.
    pub(super) fn send(&self, portion: Portion, serves: bool) -> io::Result<()> {
        let (own, mut others) = portion.split(self.own.count());
        let outcome = self.own.send(own, &self.sender);
        for (_, frames, sender) in self.devices.iter().filter(|_| serves) {
            let (part, rest) = others.split(frames.count());
            let _ = frames.send(part, sender);
            others = rest;
        }
        outcome
    }
}

impl AnnouncementFrames {
    /// Builds the announcements of addresses that are reached at this MAC.
    pub(super) fn new(mac: MacAddress, addresses: &[IpAddr]) -> Self {
        let mut announcements = Self { arp: Vec::new(), neighbor: Vec::new() };
        for address in addresses {
            match address {
                IpAddr::V4(address) => announcements.arp.push(arp::gratuitous(mac, address.octets())),
                IpAddr::V6(address) => announcements.neighbor.extend(icmpv6::unsolicited(mac, address.octets())),
            }
        }
        announcements
    }

    fn count(&self) -> usize {
        self.arp.len() + self.neighbor.len()
    }

    /// Sends those of a portion, and returns the first failure.
    pub(super) fn send(&self, portion: Portion, sender: &InterfaceSender) -> io::Result<()> {
        let (arp, neighbor) = portion.split(self.arp.len());
        sender.send_all(arp.of(&self.arp)).and(sender.send_all(neighbor.of(&self.neighbor)))
    }
}

/// Consecutive announcements among those of one virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Portion {
    start: usize,
    count: usize,
}

impl Portion {
    /// `count` announcements after the first `start` ones.
    pub(super) fn new(start: usize, count: usize) -> Self {
        Self { start, count }
    }

    /// Returns the number of announcements.
    pub(super) fn count(self) -> usize {
        self.count
    }

    /// Returns the part among the first `at` announcements, and the part among those after them, counted from there.
    fn split(self, at: usize) -> (Self, Self) {
        let before = self.count.min(at.saturating_sub(self.start));
        (Self::new(self.start, before), Self::new(self.start.saturating_sub(at), self.count - before))
    }

    /// Returns the frames of this portion, or as many of them as there are.
    fn of<T>(self, frames: &[T]) -> &[T] {
        let rest = frames.get(self.start..).unwrap_or_default();
        rest.get(..self.count).unwrap_or(rest)
    }
}

/// The content of a virtual router's adverts, and their destinations.
#[derive(Debug)]
pub struct Advertised<'a> {
    pub mac: MacAddress,
    pub primary: IpAddr,
    pub version: Version,
    pub vrid: Vrid,
    pub interval: Interval,
    pub password: Option<[u8; 8]>,
    pub addresses: &'a [IpAddr],
    /// Unicast peers; without any, adverts go to the multicast group.
    pub peers: Vec<IpAddr>,
}

impl Advertised<'_> {
    /// Builds the advert with this priority: one frame for the multicast group, or a packet for each unicast peer.
    ///
    /// # Errors
    /// An advert cannot carry what the configuration says.
    pub fn advert(&self, priority: Priority, checksum: ChecksumForm) -> io::Result<Vec<Vec<u8>>> {
        match Family::of(self.primary) {
            Family::Ipv4 => self.advert_of::<[u8; 4]>(priority, checksum),
            Family::Ipv6 => self.advert_of::<[u8; 16]>(priority, checksum),
        }
    }

    fn advert_of<A: IpAddress>(&self, priority: Priority, checksum: ChecksumForm) -> io::Result<Vec<Vec<u8>>> {
        let addresses = narrow(self.addresses);
        let advert = wire::AdvertFrame::<A> {
            source_mac: self.mac,
            source: A::narrow(abi::address(self.primary)),
            version: self.version,
            vrid: self.vrid,
            priority,
            interval: self.interval,
            addresses: &addresses,
            pseudo_header_checksum: checksum == ChecksumForm::PseudoHeader,
            password: self.password,
        };
        // Copied without the unused rest of the buffer, because there can be thousands of adverts.
        let emitted = |emit: &dyn Fn(&mut [u8]) -> Option<usize>| {
            let mut buffer = [0; wire::MAX_FRAME];
            let length = emit(&mut buffer).ok_or(io::ErrorKind::InvalidInput)?;
            let emitted = buffer.get(..length).ok_or(io::ErrorKind::InvalidInput)?;
            Ok(emitted.to_vec())
        };
        if self.peers.is_empty() {
            return Ok(vec![emitted(&|buffer| advert.emit(buffer))?]);
        }
        let destinations = self.peers.iter().map(|peer| A::narrow(abi::address(*peer)));
        destinations.map(|destination| emitted(&|buffer| advert.emit_packet(destination, buffer))).collect()
    }
}

/// Computes [`wire::address_sum`] of addresses of one family.
pub(super) fn address_sum(addresses: &[IpAddr]) -> u16 {
    match addresses.first() {
        Some(IpAddr::V6(_)) => wire::address_sum::<[u8; 16]>(&narrow(addresses)),
        _ => wire::address_sum::<[u8; 4]>(&narrow(addresses)),
    }
}

fn narrow<A: IpAddress>(addresses: &[IpAddr]) -> Vec<A> {
    addresses.iter().map(|address| A::narrow(abi::address(*address))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portion_is_split_into_the_parts_before_and_after_a_place() {
        let parts = |start, count| {
            let (before, after) = Portion::new(start, count).split(3);
            let frames: Vec<usize> = (0..8).collect();
            let (arp, neighbor) = frames.split_at(3);
            [before.of(arp), after.of(neighbor)].concat()
        };
        for (start, count) in [(0, 8), (0, 2), (0, 3), (2, 4), (3, 5), (5, 2), (4, 0)] {
            assert_eq!(parts(start, count), (start..start + count).collect::<Vec<_>>(), "{count} from {start}");
        }
    }

    #[test]
    fn addresses_of_both_families_are_announced_at_one_mac() {
        let mac = MacAddress([0, 0, 0x5e, 0, 1, 51]);
        let addresses = ["2001:db8::1", "192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let announcements = AnnouncementFrames::new(mac, &addresses);
        assert_eq!((announcements.count(), announcements.arp.len(), announcements.neighbor.len()), (3, 2, 1));
        let sources = announcements.arp.iter().map(|frame| &frame[6..12]);
        assert!(sources.chain(announcements.neighbor.iter().map(|frame| &frame[6..12])).all(|source| source == mac.0));
    }
}
