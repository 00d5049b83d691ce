//! Determines in user space, with the decoders of `common::wire`, what the XDP program must do with a frame.

use xvrrp_common::abi::{self, Counter, Router};
use xvrrp_common::units::{Interval, MacAddress, Version};
use xvrrp_common::wire::arp::{self, Arp, OPERATION_REQUEST};
use xvrrp_common::wire::icmpv6::{self, Advertisement, Kind, Neighbor};
use xvrrp_common::wire::vrrp::{self, Authentication, Carrier, ChecksumForm, Checksums, Discard, IpAddress, Policy};
use xvrrp_common::wire::{Truncated, ethernet, ipv4, ipv6};

use super::network::{Member, Network};
use crate::kernel_half::fixture::NO_ROUTER;
use xvrrp_lab::kernel_half::Verdict;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub frame: Vec<u8>,
    /// Sorted by index and counter.
    pub counted: Vec<(u32, Counter)>,
    /// The slot of the virtual router that accepted the advert, and the advert that is recorded there, without the
    /// time.
    pub heard: Option<(u32, abi::HeardAdvert)>,
}

impl Network {
    /// Returns what must result from a frame.
    pub fn judge(&self, frame: &[u8]) -> Judgement {
        let mut judgement =
            Judgement { verdict: Verdict::Pass, frame: frame.to_vec(), counted: Vec::new(), heard: None };
        // Frames that are cut off pass.
        let _ = self.ingress(frame, &mut judgement);
        judgement.counted.sort_unstable();
        judgement
    }

    fn ingress(&self, frame: &[u8], judgement: &mut Judgement) -> Result<(), Truncated> {
        let destination = ethernet::destination(frame)?;
        let header = ethernet::Header::decode(frame)?;
        // The virtual router whose virtual MAC let the frame in.
        let mut admitted = None;
        if let Some((family, vrid)) = destination.virtual_router() {
            let member = self.router(family, vrid.get(), header.vlan).filter(|member| member.has(Router::VIRTUAL_MAC));
            let Some(member) = member.filter(|_| !ethernet::is_tag(header.ether_type)) else { return Ok(()) };
            if !member.serves() {
                judgement.drop(member, Counter::VirtualMacDropped);
                return Ok(());
            }
            judgement.frame[..6].copy_from_slice(&member.router.interface_mac);
            judgement.count(member, Counter::VirtualMacAdmitted);
            admitted = Some(member);
        }
        match header.ether_type {
            ethernet::TYPE_IPV4 if ipv4::protocol(frame, header.payload)? == vrrp::PROTOCOL => {
                self.advert_ipv4(frame, &header, judgement);
            }
            ethernet::TYPE_IPV4 => {
                self.accept(ipv4::destination(frame, header.payload)?, header.vlan, admitted, judgement);
            }
            ethernet::TYPE_IPV6 => match ipv6::next_header(frame, header.payload)? {
                vrrp::PROTOCOL => self.advert_ipv6(frame, &header, judgement),
                icmpv6::NEXT_HEADER if icmpv6::is_neighbor(frame, header.payload + ipv6::HEADER)? => {
                    self.neighbor(frame, &header, judgement)?;
                }
                _ => self.accept(ipv6::destination(frame, header.payload)?, header.vlan, admitted, judgement),
            },
            ethernet::TYPE_ARP => self.arp(frame, &header, judgement)?,
            _ => {}
        }
        Ok(())
    }

    /// Judges a packet to any address. RFC 9568 6.4.2, 6.4.3 say who accepts packets to a virtual address.
    fn accept<A: IpAddress>(&self, destination: A, vlan: u16, admitted: Option<&Member>, judgement: &mut Judgement) {
        if let Some(member) = self.router_of_vip(destination, vlan) {
            let (accepts, counter) = match admitted {
                Some(admitted) if admitted.has(Router::ACCEPT) => (true, Counter::NotAccepted),
                Some(_) => (member.has(Router::ACCEPT), Counter::NotAccepted),
                None if member.has(Router::VIRTUAL_MAC) => (!member.is_past_lease(), Counter::Fenced),
                None => (member.has(Router::ACCEPT) && member.serves(), Counter::NotAccepted),
            };
            if !accepts {
                return judgement.drop(member, counter);
            }
        }
        self.fence(destination, judgement);
    }

    /// Drops packets to an address whose Active router has no lease, on whatever interface that virtual router is.
    fn fence<A: IpAddress>(&self, destination: A, judgement: &mut Judgement) {
        let members = || self.routers.iter().filter(|member| member.has_address(destination));
        if let Some(member) = members().find(|member| member.is_past_lease())
            && !members().any(Member::serves)
        {
            judgement.drop(member, Counter::Fenced);
        }
    }

    fn arp(&self, frame: &[u8], header: &ethernet::Header, judgement: &mut Judgement) -> Result<(), Truncated> {
        let Some(arp) = Arp::decode(frame, header.payload)? else { return Ok(()) };
        if let Some(member) =
            self.router_of_vip(arp.sender, header.vlan).filter(|member| member.conflicts(arp.sender_mac))
        {
            judgement.count(member, Counter::ArpConflict);
            return Ok(());
        }
        if arp.operation != OPERATION_REQUEST || arp.is_gratuitous() {
            return Ok(());
        }
        let Some(member) = self.router_of_vip(arp.target, header.vlan) else {
            self.fence(arp.target, judgement);
            return Ok(());
        };
        if !member.serves() {
            judgement.drop(member, Counter::ArpSuppressed);
            return Ok(());
        }
        let mac = MacAddress(member.router.answer_mac);
        let requester = ethernet::source(frame)?;
        judgement.frame[..6].copy_from_slice(&requester.0);
        judgement.frame[6..12].copy_from_slice(&mac.0);
        judgement.frame[header.payload..][..arp::LENGTH].copy_from_slice(&arp.reply(mac).emit());
        judgement.count(member, Counter::ArpAnswered);
        judgement.verdict = Verdict::Transmit;
        Ok(())
    }

    /// Judges Neighbor Discovery (RFC 4861 7.1, 7.2.4).
    fn neighbor(&self, frame: &[u8], header: &ethernet::Header, judgement: &mut Judgement) -> Result<(), Truncated> {
        let Ok(ip) = ipv6::Header::decode(frame, header.payload) else { return Ok(()) };
        let Some(neighbor) = Neighbor::decode(frame, &ip)? else { return Ok(()) };
        if let Some(mac) = neighbor.mac
            && let Some(member) = self.router_of_vip(neighbor.located(&ip), header.vlan)
            && member.conflicts(mac)
        {
            judgement.count(member, Counter::NdConflict);
            return Ok(());
        }
        if neighbor.kind == Kind::Advertisement {
            return Ok(());
        }
        let Some(member) = self.router_of_vip(neighbor.target, header.vlan) else {
            self.fence(neighbor.target, judgement);
            return Ok(());
        };
        if !icmpv6::is_valid(frame, &ip)? {
            return Ok(());
        }
        if !member.serves() {
            judgement.drop(member, Counter::NdSuppressed);
            return Ok(());
        }
        let mac = MacAddress(member.router.answer_mac);
        let advertisement = Advertisement::answer(&ip, neighbor.target, mac);
        let (ip_header, message) = advertisement.emit().ok_or(Truncated)?;
        if ip.payload_length < icmpv6::LENGTH {
            judgement.frame.resize(frame.len() + icmpv6::LENGTH - icmpv6::SHORTEST, 0);
        }
        let asker = ethernet::source(frame)?;
        let to = if advertisement.to.is_some() { asker } else { MacAddress::ALL_NODES };
        judgement.frame[..6].copy_from_slice(&to.0);
        judgement.frame[6..12].copy_from_slice(&mac.0);
        let (start, body) = (header.payload, header.payload + ipv6::HEADER);
        judgement.frame[start..body].copy_from_slice(&ip_header);
        judgement.frame[body..][..message.len()].copy_from_slice(&message);
        judgement.count(member, Counter::NdAnswered);
        judgement.verdict = Verdict::Transmit;
        Ok(())
    }

    fn advert_ipv4(&self, frame: &[u8], header: &ethernet::Header, judgement: &mut Judgement) {
        match ipv4::Header::decode(frame, header.payload) {
            Ok(ip) if ip.fragment == ipv4::Fragment::Later => {
                if ip.destination == vrrp::GROUP {
                    judgement.foreign(Counter::AdvertFragment);
                }
            }
            Ok(ip) => self.advert(frame, header.vlan, &ip, judgement),
            Err(ipv4::Error::Truncated) => judgement.foreign(Counter::AdvertLength),
            Err(ipv4::Error::Malformed) => judgement.foreign(Counter::AdvertIpHeader),
        }
    }

    fn advert_ipv6(&self, frame: &[u8], header: &ethernet::Header, judgement: &mut Judgement) {
        match ipv6::Header::decode(frame, header.payload) {
            Ok(ip) => self.advert(frame, header.vlan, &ip, judgement),
            Err(ipv6::Error::Truncated) => judgement.foreign(Counter::AdvertLength),
            Err(ipv6::Error::Malformed) => judgement.foreign(Counter::AdvertIpHeader),
        }
    }

    fn advert<C: Carrier>(&self, frame: &[u8], vlan: u16, ip: &C, judgement: &mut Judgement) {
        let to_group = ip.destination() == C::Address::GROUP;
        let vrid = vrrp::vrid(frame, ip);
        let member = vrid.and_then(|vrid| self.router(C::Address::FAMILY, vrid, vlan));
        let to_us = |member: &&Member| member.has(Router::UNICAST) && ip.destination().widen() == member.router.primary;
        let Some(member) = member.filter(|member| to_group || to_us(member)) else {
            return match vrid {
                _ if !to_group => {}
                Some(_) => judgement.foreign(Counter::AdvertUnknownVrid),
                None => judgement.foreign(Counter::AdvertLength),
            };
        };
        if to_group && member.has(Router::UNICAST) {
            return judgement.drop(member, Counter::AdvertMulticast);
        }
        let version = if member.router.version == 2 { Version::V2 } else { Version::V3 };
        let source = ip.source().widen();
        let (allowed, min_ttl) = member.allowed.unwrap_or((source, vrrp::HOP_LIMIT));
        if allowed != source {
            return judgement.drop(member, Counter::AdvertForbiddenSource);
        }
        let advert =
            match vrrp::Advert::decode(frame, ip, version, min_ttl, member.tolerance(), || policy(&member.router)) {
                Ok(advert) => advert,
                Err(discard) => return judgement.drop(member, counter(discard)),
            };
        judgement.drop(member, Counter::AdvertAccepted);
        if advert.priority.is_release() {
            judgement.count(member, Counter::AdvertRelease);
        }
        let heard = abi::HeardAdvert {
            received_at: 0,
            interval: advert.interval.as_nanos(),
            source,
            address_sum: advert.address_sum,
            address_count: advert.address_count,
            priority: advert.priority.get(),
            version: advert.version as u8,
            checksum: match advert.checksum {
                ChecksumForm::PseudoHeader => Router::CHECKSUM_PSEUDO_HEADER,
                ChecksumForm::Plain => Router::CHECKSUM_PLAIN,
            },
            term: 0,
            reserved: 0,
        };
        judgement.heard = Some((member.router.slot, heard));
    }
}

impl Judgement {
    fn count(&mut self, member: &Member, counter: Counter) {
        self.counted.push((member.index(), counter));
    }

    fn drop(&mut self, member: &Member, counter: Counter) {
        self.count(member, counter);
        self.verdict = Verdict::Drop;
    }

    /// Counts a frame that belongs to no virtual router of ours.
    fn foreign(&mut self, counter: Counter) {
        self.counted.push((NO_ROUTER, counter));
    }
}

fn policy<A: IpAddress>(router: &Router) -> Policy<A> {
    Policy {
        checksums: match router.checksum {
            Router::CHECKSUM_AUTO => Checksums::Either,
            Router::CHECKSUM_PLAIN => Checksums::Only(ChecksumForm::Plain),
            _ => Checksums::Only(ChecksumForm::PseudoHeader),
        },
        interval: Interval::from_nanos(router.advert_interval),
        authentication: if router.auth_type == 0 {
            Authentication::None
        } else {
            Authentication::Password(router.auth_data)
        },
        own_source: A::narrow(router.primary),
    }
}

/// Returns the counter of each reason. The table of the kernel half is not used, because then a wrong line in it would
/// go unnoticed.
fn counter(discard: Discard) -> Counter {
    match discard {
        Discard::TimeToLive => Counter::AdvertTimeToLive,
        Discard::Fragment => Counter::AdvertFragment,
        Discard::Version => Counter::AdvertVersion,
        Discard::Type => Counter::AdvertType,
        Discard::NoAddress => Counter::AdvertNoAddress,
        Discard::Length => Counter::AdvertLength,
        Discard::Checksum => Counter::AdvertChecksum,
        Discard::IntervalZero => Counter::AdvertIntervalZero,
        Discard::Authentication => Counter::AdvertAuthentication,
        Discard::IntervalMismatch => Counter::AdvertIntervalMismatch,
        Discard::FirstAddress => Counter::AdvertFirstAddress,
        Discard::OwnSource => Counter::AdvertOwnSource,
        Discard::ForbiddenSource => Counter::AdvertForbiddenSource,
        Discard::Multicast => Counter::AdvertMulticast,
    }
}
