//! Judges, records and drops adverts. No invalid advert reaches a socket, and a peer that always says the same does not
//! wake the agent.

use xvrrp_common::abi::{self, Address, AdvertEvent, Counter, Fixed, RouterKey};
use xvrrp_common::units::{Interval, Version};
use xvrrp_common::wire::vrrp::{
    self, Authentication, Carrier, ChecksumForm, Checksums, Discard, IpAddress, Policy, Tolerance,
};
use xvrrp_common::wire::{ethernet, ipv4, ipv6};

use crate::clock;
use crate::cursor::Frame;
use crate::heard::{self, AdvertChange};
use crate::lease;
use crate::maps::{self, CounterIndex, count, notify};
use crate::monitor;
use crate::router::RouterView;
use crate::verdict::XdpVerdict;

/// Handles an IPv4 packet that carries VRRP.
#[inline(always)]
pub fn handle_ipv4(frame: &Frame, header: &ethernet::Header) -> XdpVerdict {
    match ipv4::Header::decode(frame, header.payload) {
        // The VRID is in the first fragment only.
        Ok(ip) if ip.fragment == ipv4::Fragment::Later => unknown(frame, &ip, Counter::AdvertFragment),
        Ok(ip) => handle(frame, header.vlan, &ip),
        Err(ipv4::Error::Truncated) => foreign(frame, Counter::AdvertLength),
        Err(ipv4::Error::Malformed) => foreign(frame, Counter::AdvertIpHeader),
    }
}

/// Handles an IPv6 packet that carries VRRP.
#[inline(always)]
pub fn handle_ipv6(frame: &Frame, header: &ethernet::Header) -> XdpVerdict {
    match ipv6::Header::decode(frame, header.payload) {
        Ok(ip) => handle(frame, header.vlan, &ip),
        Err(ipv6::Error::Truncated) => foreign(frame, Counter::AdvertLength),
        Err(ipv6::Error::Malformed) => foreign(frame, Counter::AdvertIpHeader),
    }
}

/// Judges and records an advert of a virtual router of ours, and drops it. Any other advert passes: it may belong to
/// another daemon on this interface.
// RFC 9568 7.1, erratum 8298 (conformance 7): "It MUST verify that the VRID is configured on the receiving interface."
#[inline(always)]
fn handle<C: Carrier>(frame: &Frame, vlan: u16, ip: &C) -> XdpVerdict {
    let Some(vrid) = vrrp::vrid(frame, ip) else {
        return unknown(frame, ip, Counter::AdvertLength);
    };
    let key = RouterKey { ifindex: frame.ifindex(), vlan, family: C::Address::FAMILY as u8, vrid };
    let Some(router) = maps::router(key) else {
        return unknown(frame, ip, Counter::AdvertUnknownVrid);
    };
    let (generation, fixed) = (router.generation(), router.fixed());
    let unicast = router.has(abi::Router::UNICAST) && ip.destination().widen() == fixed.primary;
    if !is_to_group(ip) && !unicast {
        return XdpVerdict::Pass;
    }
    let judged = judge(frame, ip, &key, &router, fixed);
    // The configuration has changed in the meantime. To a Backup this is the same as a lost advert.
    if router.generation() != generation {
        return XdpVerdict::Drop;
    }
    let counter = match judged {
        Ok(advert) => {
            take(&key, &router, ip.source().widen(), &advert);
            Counter::AdvertAccepted
        }
        Err(discard) => {
            let reason = Counter::from(discard);
            count(CounterIndex::of(&router), reason);
            reason
        }
    };
    monitor::show(frame, counter);
    XdpVerdict::Drop
}

#[inline(always)]
fn is_to_group<C: Carrier>(ip: &C) -> bool {
    ip.destination() == C::Address::GROUP
}

/// Passes an advert that belongs to no virtual router of ours. Counts it, unless it is unicast between other daemons.
#[inline(always)]
fn unknown<C: Carrier>(frame: &Frame, ip: &C, counter: Counter) -> XdpVerdict {
    if is_to_group(ip) { foreign(frame, counter) } else { XdpVerdict::Pass }
}

/// Counts and passes an advert that belongs to no virtual router of ours.
#[inline(always)]
fn foreign(frame: &Frame, counter: Counter) -> XdpVerdict {
    count(CounterIndex::NO_ROUTER, counter);
    monitor::show(frame, counter);
    XdpVerdict::Pass
}

#[inline(always)]
fn judge<C: Carrier>(
    frame: &Frame,
    ip: &C,
    key: &RouterKey,
    router: &RouterView,
    fixed: &Fixed,
) -> Result<vrrp::Advert, Discard> {
    if router.has(abi::Router::UNICAST) && is_to_group(ip) {
        return Err(Discard::Multicast);
    }
    let min_hop_limit = if !router.has(abi::Router::RESTRICT_SOURCES) {
        vrrp::HOP_LIMIT
    } else {
        maps::allowed_source(*key, ip.source().widen()).ok_or(Discard::ForbiddenSource)?
    };
    // Never fails: the agent writes 2 or 3.
    let version = Version::from_wire(router.state().version).ok_or(Discard::Version)?;
    let tolerates = |what| router.state().tolerated & what != 0;
    let tolerance = Tolerance {
        no_address: tolerates(abi::Router::TOLERATES_NO_ADDRESS),
        any_first: tolerates(abi::Router::TOLERATES_ANY_FIRST),
    };
    vrrp::Advert::decode(frame, ip, version, min_hop_limit, tolerance, || policy(router, fixed))
}

#[inline(always)]
fn policy<A: IpAddress>(router: &RouterView, fixed: &Fixed) -> Policy<A> {
    Policy {
        checksums: match router.state().checksum {
            abi::Router::CHECKSUM_PSEUDO_HEADER => Checksums::Only(ChecksumForm::PseudoHeader),
            abi::Router::CHECKSUM_PLAIN => Checksums::Only(ChecksumForm::Plain),
            _ => Checksums::Either,
        },
        interval: Interval::from_nanos(fixed.advert_interval),
        authentication: match router.state().auth_type {
            0 => Authentication::None,
            _ => Authentication::Password(fixed.auth_data),
        },
        own_source: A::narrow(fixed.primary),
    }
}

/// Records a valid advert of a virtual router of ours, and notifies the agent if it must act.
#[inline(always)]
fn take(key: &RouterKey, router: &RouterView, source: Address, advert: &vrrp::Advert) {
    let index = CounterIndex::of(router);
    count(index, Counter::AdvertAccepted);
    if advert.priority.is_release() {
        count(index, Counter::AdvertRelease);
    }
    let latest = abi::HeardAdvert {
        received_at: clock::now(),
        interval: advert.interval.as_nanos(),
        source,
        address_sum: advert.address_sum,
        address_count: advert.address_count,
        priority: advert.priority.get(),
        version: advert.version as u8,
        checksum: match advert.checksum {
            ChecksumForm::PseudoHeader => abi::Router::CHECKSUM_PSEUDO_HEADER,
            ChecksumForm::Plain => abi::Router::CHECKSUM_PLAIN,
        },
        term: router.state().term,
        reserved: 0,
    };
    let Some(entry) = maps::heard(router) else {
        maps::report_missing_slot(router.slot());
        return;
    };
    let change = heard::record(entry, &latest, restarts_timer(router, advert));
    // The agent may be taking over at this moment. It writes the role, issues a full fence and reads the entry
    // (`Tables::set_router`). This function writes the entry, passes a full barrier (in `record`) and reads the role
    // again. So at least one side sees what the other has written: for both to read the old value, each read would have
    // to come before the other side's write.
    let Some(router) = router.again(key) else { return };
    let router = &router;
    if router.role() == abi::Router::ROLE_ACTIVE && wins(router, source, advert) {
        lease::end(router);
    }
    if is_news(router, advert, change)
        && !notify(AdvertEvent { router: *key, slot: router.slot(), reserved: 0, advert: latest })
    {
        count(index, Counter::EventLost);
    }
}

/// Returns whether an Active router must give way to the sender. RFC 9568 6.4.3: "If the Priority in the ADVERTISEMENT
/// is greater than the local Priority or the Priority in the ADVERTISEMENT is equal to the local Priority and the
/// primary IPvX address of the sender is greater than the local primary IPvX address (based on an unsigned integer
/// comparison of the IPvX addresses in network byte order)" (conformance 46).
#[inline(always)]
fn wins(router: &RouterView, source: Address, advert: &vrrp::Advert) -> bool {
    let (theirs, ours) = (advert.priority.get(), router.state().priority);
    theirs > ours || theirs == ours && u128::from_be_bytes(source) > u128::from_be_bytes(router.fixed().primary)
}

/// Returns whether the advert restarts a Backup's Active_Down_Timer. RFC 9568 6.4.2: "If Preempt_Mode is False, or if
/// the Priority in the ADVERTISEMENT is greater than or equal to the local Priority" (conformance 34, 35). If the
/// priority is 0, the agent sets the timer to Skew_Time instead.
#[inline(always)]
fn restarts_timer(router: &RouterView, advert: &vrrp::Advert) -> bool {
    router.role() == abi::Router::ROLE_BACKUP
        && !advert.priority.is_release()
        && (advert.priority.get() >= router.state().priority || !router.has(abi::Router::PREEMPT))
}

/// Returns whether the agent must be notified now. An Active router answers or yields to every advert (RFC 9568 6.4.3).
/// The agent of a Backup needs to know only of an advert that gives up the role or differs from the one before, as the
/// first one after each change of role does ([`abi::HeardAdvert::term`]).
#[inline(always)]
fn is_news(router: &RouterView, advert: &vrrp::Advert, change: AdvertChange) -> bool {
    match router.role() {
        abi::Router::ROLE_ACTIVE => true,
        abi::Router::ROLE_BACKUP => advert.priority.is_release() || change == AdvertChange::Different,
        _ => false,
    }
}
