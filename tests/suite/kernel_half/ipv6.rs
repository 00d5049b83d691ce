//! What the kernel half does with IPv6: Neighbor Discovery for a virtual address, adverts, frames to the virtual MAC,
//! and packets that leave this host.

use super::fixture::{Fixture, NO_ROUTER, ROUTER, changed, dropped, passes, passes_counted};
use anyhow::Result;
use xvrrp_common::abi::{ConflictEvent, Counter, Router};
use xvrrp_common::units::{Interval, MacAddress, Priority, Version, Vrid};
use xvrrp_common::wire::icmpv6;
use xvrrp_common::wire::vrrp::{AdvertFrame, GROUP_IPV6};
use xvrrp_lab::kernel_half::{KernelHalf, Verdict, key, key_ipv6, router_ipv6, virtual_mac_ipv6};
use xvrrp_lab::traffic::frames::{emit, ipv6, tagged, with_byte};

const LINK_LOCAL_VIP: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x33];
const VIP: [u8; 16] = global(1);
const CLIENT: [u8; 16] = global(9);
const PEER: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const UNSPECIFIED: [u8; 16] = [0; 16];
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// The solicited-node group of [`VIP`] (RFC 4291 2.7.1).
const SOLICITED_NODE: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1];
const SOLICITED_NODE_MAC: MacAddress = MacAddress([0x33, 0x33, 0xff, 0, 0, 1]);
const CLIENT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const INTERFACE_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 3]);
/// Next header.
const ICMPV6: u8 = 58;
/// Next header.
const TCP: u8 = 6;

const fn global(last: u8) -> [u8; 16] {
    [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

fn kernel(router: Router) -> Result<KernelHalf> {
    let mut kernel = KernelHalf::load()?;
    kernel.add(key_ipv6(51, 0), router, VIP)?;
    Ok(kernel)
}

/// Returns a solicitation or advertisement (RFC 4861 4.3, 4.4) without options.
fn message(kind: u8, flags: u8, target: [u8; 16]) -> Vec<u8> {
    [&[kind, 0, 0, 0, flags, 0, 0, 0][..], &target].concat()
}

fn with_option(message: &[u8], kind: u8, mac: MacAddress) -> Vec<u8> {
    [message, &[kind, 1], &mac.0].concat()
}

fn solicitation_for(target: [u8; 16]) -> Vec<u8> {
    let message = with_option(&message(135, 0, target), 1, CLIENT_MAC);
    ipv6([SOLICITED_NODE_MAC, CLIENT_MAC], [CLIENT, SOLICITED_NODE], 255, ICMPV6, &message)
}

/// Returns the solicitation by which Linux probes an address (RFC 4862 5.4.2, RFC 7527).
fn probe(options: &[u8]) -> Vec<u8> {
    let message = [&message(135, 0, VIP)[..], options].concat();
    ipv6([SOLICITED_NODE_MAC, CLIENT_MAC], [UNSPECIFIED, SOLICITED_NODE], 255, ICMPV6, &message)
}

fn answer(mac: MacAddress) -> Vec<u8> {
    let message = with_option(&message(136, 0xe0, VIP), 2, mac);
    ipv6([CLIENT_MAC, mac], [VIP, CLIENT], 255, ICMPV6, &message)
}

fn answer_to_all(mac: MacAddress) -> Vec<u8> {
    let message = with_option(&message(136, 0xa0, VIP), 2, mac);
    ipv6([MacAddress::ALL_NODES, mac], [VIP, ALL_NODES], 255, ICMPV6, &message)
}

fn unicast(frame: &[u8], to: MacAddress) -> Vec<u8> {
    [&to.0[..], &frame[6..]].concat()
}

fn tcp(destination_mac: MacAddress, destination: [u8; 16]) -> Vec<u8> {
    ipv6([destination_mac, CLIENT_MAC], [CLIENT, destination], 64, TCP, &[0; 20])
}

fn without_virtual_mac(role: u8) -> Router {
    Router { flags: Router::ACCEPT | Router::PREEMPT, answer_mac: INTERFACE_MAC.0, ..router_ipv6(role) }
}

#[test]
fn an_active_router_answers_solicitations_for_its_address() -> Result<()> {
    // RFC 9568 6.4.3, 8.2.2 (conformance 39); RFC 4861 7.2.4
    for (router, mac) in [
        (router_ipv6(Router::ROLE_ACTIVE), virtual_mac_ipv6()),
        (without_virtual_mac(Router::ROLE_ACTIVE), INTERFACE_MAC),
    ] {
        let mut kernel = kernel(router)?;
        let asked = solicitation_for(VIP);
        // A nonce (RFC 7527 4.1) after the link-layer address.
        let longer = {
            let message = with_option(&message(135, 0, VIP), 1, CLIENT_MAC);
            let message = [&message[..], &[14, 1, 1, 2, 3, 4, 5, 6]].concat();
            ipv6([SOLICITED_NODE_MAC, CLIENT_MAC], [CLIENT, SOLICITED_NODE], 255, ICMPV6, &message)
        };
        let unicast_ask = {
            let message = message(135, 0, VIP);
            ipv6([INTERFACE_MAC, CLIENT_MAC], [CLIENT, VIP], 255, ICMPV6, &message)
        };
        let answered =
            |description, input, output| changed(description, input, Verdict::Transmit, output, Counter::NdAnswered);
        for fixture in [
            answered("to the solicited-node group", asked.clone(), answer(mac)),
            answered("to our own MAC", unicast(&asked, INTERFACE_MAC), answer(mac)),
            answered("without options", unicast_ask, answer(mac)),
            answered("with one more option", longer, [&answer(mac)[..], &[14, 1, 1, 2, 3, 4, 5, 6]].concat()),
            answered("a probe", probe(&[]), answer_to_all(mac)),
            answered("a probe with a nonce", probe(&[14, 1, 1, 2, 3, 4, 5, 6]), answer_to_all(mac)),
            answered("with a priority tag", tagged(&asked, 0x8100, 0xe000), tagged(&answer(mac), 0x8100, 0xe000)),
        ] {
            fixture.check_ingress(&mut kernel);
        }
    }
    Ok(())
}

#[test]
fn a_vlan_is_a_separate_network() -> Result<()> {
    let mut kernel = KernelHalf::load()?;
    kernel.add(key_ipv6(51, 7), router_ipv6(Router::ROLE_ACTIVE), VIP)?;
    let asked = solicitation_for(VIP);
    let answer = tagged(&answer(virtual_mac_ipv6()), 0x8100, 0x2007);
    for fixture in [
        changed("on our VLAN", tagged(&asked, 0x8100, 0x2007), Verdict::Transmit, answer, Counter::NdAnswered),
        passes("on another VLAN", tagged(&asked, 0x8100, 8)),
        passes("with a priority tag", tagged(&asked, 0x8100, 0)),
        passes("without a tag", asked),
    ] {
        fixture.check_ingress(&mut kernel);
    }
    Ok(())
}

#[test]
fn a_solicitation_to_the_virtual_mac_is_admitted_and_answered() -> Result<()> {
    let mut kernel = kernel(router_ipv6(Router::ROLE_ACTIVE))?;
    let outcome = kernel.receive(&unicast(&solicitation_for(VIP), virtual_mac_ipv6()))?;
    assert_eq!((outcome.verdict, outcome.frame), (Verdict::Transmit, answer(virtual_mac_ipv6())));
    assert_eq!(outcome.counted, [(ROUTER, Counter::VirtualMacAdmitted), (ROUTER, Counter::NdAnswered)]);
    Ok(())
}

#[test]
fn a_router_that_is_not_active_or_whose_lease_has_ended_does_not_answer() -> Result<()> {
    // RFC 9568 6.4.2 (conformance 29)
    for role in [Router::ROLE_INITIALIZE, Router::ROLE_BACKUP, Router::ROLE_ACTIVE] {
        for router in [router_ipv6(role), without_virtual_mac(role)] {
            let mut kernel = kernel(router)?;
            kernel.set_lease(0, 1);
            let asked = solicitation_for(VIP);
            for fixture in [
                dropped("to the solicited-node group", asked.clone(), Counter::NdSuppressed),
                dropped("to our own MAC", unicast(&asked, INTERFACE_MAC), Counter::NdSuppressed),
                dropped("a probe", probe(&[]), Counter::NdSuppressed),
            ] {
                fixture.check_ingress(&mut kernel);
            }
        }
    }
    Ok(())
}

#[test]
fn neighbor_discovery_that_is_no_solicitation_for_our_address_passes_in_every_role() -> Result<()> {
    for role in [Router::ROLE_INITIALIZE, Router::ROLE_BACKUP, Router::ROLE_ACTIVE] {
        let mut kernel = kernel(router_ipv6(role))?;
        let asked = solicitation_for(VIP);
        let announcement = icmpv6::unsolicited(virtual_mac_ipv6(), VIP).expect("a frame").to_vec();
        for fixture in [
            passes("for another address", solicitation_for(global(7))),
            passes("the announcement of an Active router with our virtual MAC", announcement),
            passes("on a VLAN", tagged(&asked, 0x8100, 7)),
            passes("behind two tags", tagged(&tagged(&asked, 0x8100, 0), 0x8100, 0)),
            // RFC 4861 7.1.1: the stack discards these.
            passes("with another hop limit", with_byte(&asked, 14 + 7, 254)),
            passes("with a wrong checksum", with_byte(&asked, 54 + 2, asked[54 + 2] ^ 1)),
            passes("with another code", with_byte(&asked, 54 + 1, 1)),
            passes("a probe to all nodes", {
                ipv6([MacAddress::ALL_NODES, CLIENT_MAC], [UNSPECIFIED, ALL_NODES], 255, ICMPV6, &message(135, 0, VIP))
            }),
            passes("a probe to the address itself", {
                ipv6([INTERFACE_MAC, CLIENT_MAC], [UNSPECIFIED, VIP], 255, ICMPV6, &message(135, 0, VIP))
            }),
            passes("another message", with_byte(&asked, 54, 128)),
            passes("another version of IP", with_byte(&asked, 14, 0x40)),
        ] {
            fixture.check_ingress(&mut kernel);
        }
        for end in 14..asked.len() {
            passes("a solicitation that is cut off", asked[..end].to_vec()).check_ingress(&mut kernel);
        }
    }
    Ok(())
}

#[test]
fn a_claim_of_our_address_with_another_mac_is_counted_and_reported() -> Result<()> {
    let announcement = icmpv6::unsolicited(CLIENT_MAC, VIP).expect("a frame").to_vec();
    let solicitation = {
        let message = with_option(&message(135, 0, global(7)), 1, CLIENT_MAC);
        ipv6([SOLICITED_NODE_MAC, CLIENT_MAC], [VIP, SOLICITED_NODE], 255, ICMPV6, &message)
    };
    for role in [Router::ROLE_INITIALIZE, Router::ROLE_BACKUP] {
        let mut kernel = kernel(router_ipv6(role))?;
        for frame in [announcement.clone(), solicitation.clone()] {
            passes_counted("a claim", frame, ROUTER, Counter::NdConflict).check_ingress(&mut kernel);
        }
    }
    let mut kernel = kernel(router_ipv6(Router::ROLE_ACTIVE))?;
    let expected = ConflictEvent { address: VIP, slot: 0, mac: CLIENT_MAC.0, reserved: [0; 6] };
    assert_eq!(kernel.receive(&announcement)?.claims, [expected]);
    Ok(())
}

#[test]
fn the_role_over_ipv6_decides_whether_frames_to_the_virtual_mac_of_ipv6_are_admitted() -> Result<()> {
    // RFC 9568 7.3, 6.4.2, 6.4.3 (conformance 31, 41)
    for (role, other) in [(Router::ROLE_ACTIVE, Router::ROLE_BACKUP), (Router::ROLE_BACKUP, Router::ROLE_ACTIVE)] {
        let mut kernel = kernel(router_ipv6(role))?;
        // The same VRID over IPv4 is another virtual router.
        kernel.add(key(51, 0), Router { slot: 1, ..xvrrp_lab::kernel_half::router(other) }, [192, 0, 2, 1])?;
        let forwarded = tcp(virtual_mac_ipv6(), global(77));
        let fixture = if role == Router::ROLE_ACTIVE {
            let output = unicast(&forwarded, INTERFACE_MAC);
            changed("active", forwarded, Verdict::Pass, output, Counter::VirtualMacAdmitted)
        } else {
            dropped("backup", forwarded, Counter::VirtualMacDropped)
        };
        fixture.check_ingress(&mut kernel);
    }
    Ok(())
}

#[test]
fn without_accept_only_neighbor_discovery_reaches_the_address() -> Result<()> {
    // RFC 9568 6.1, 6.4.3 (conformance 42)
    let mut with_mac = kernel(Router { flags: Router::VIRTUAL_MAC, ..router_ipv6(Router::ROLE_ACTIVE) })?;
    let outcome = with_mac.receive(&tcp(virtual_mac_ipv6(), VIP))?;
    assert_eq!(outcome.counted, [(ROUTER, Counter::VirtualMacAdmitted), (ROUTER, Counter::NotAccepted)]);
    let mut without = kernel(Router { flags: 0, ..without_virtual_mac(Router::ROLE_ACTIVE) })?;
    let advertisement = {
        let message = message(136, 0x60, global(9));
        ipv6([INTERFACE_MAC, CLIENT_MAC], [CLIENT, VIP], 255, ICMPV6, &message)
    };
    let echo = ipv6([INTERFACE_MAC, CLIENT_MAC], [CLIENT, VIP], 64, ICMPV6, &[128, 0, 0, 0, 0, 0, 0, 0]);
    for fixture in [
        dropped("TCP to the address", tcp(INTERFACE_MAC, VIP), Counter::NotAccepted),
        dropped("ICMPv6 to the address", echo, Counter::NotAccepted),
        passes("TCP to another address", tcp(INTERFACE_MAC, global(77))),
        passes("an advertisement to the address", advertisement),
    ] {
        fixture.check_ingress(&mut without);
    }
    Ok(())
}

fn advert(addresses: &[[u8; 16]]) -> AdvertFrame<'_, [u8; 16]> {
    AdvertFrame {
        source_mac: virtual_mac_ipv6(),
        source: PEER,
        version: Version::V3,
        vrid: Vrid::new(51).expect("not zero"),
        priority: Priority::new(200),
        interval: Interval::from_seconds(1),
        addresses,
        pseudo_header_checksum: true,
        password: None,
    }
}

/// Returns the message of a frame, changed and with other addresses or another hop limit, in a new frame.
fn resent(frame: &[u8], addresses: [[u8; 16]; 2], hop_limit: u8, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut message = frame[54..].to_vec();
    change(&mut message);
    ipv6([MacAddress::VRRP_IPV6_MULTICAST, virtual_mac_ipv6()], addresses, hop_limit, 112, &message)
}

#[test]
fn adverts_over_ipv6_are_consumed_and_recorded() -> Result<()> {
    // RFC 9568 5.1.2 (conformance 6)
    let mut kernel = kernel(router_ipv6(Router::ROLE_BACKUP))?;
    for count in [1, 2, 20, 63, 64, 90] {
        let addresses = [LINK_LOCAL_VIP].repeat(count);
        let frame = emit(&advert(&addresses));
        let outcome = kernel.receive(&frame)?;
        assert_eq!(outcome.counted, [(ROUTER, Counter::AdvertAccepted)], "{count} addresses");
        assert_eq!(outcome.verdict, Verdict::Drop);
        let heard = kernel.heard(0);
        assert_eq!((heard.latest.source, usize::from(heard.latest.address_count)), (PEER, count));
        assert_eq!(heard.restarted_at, heard.latest.received_at);
        let broken = with_byte(&frame, frame.len() - 1, frame[frame.len() - 1] ^ 1);
        dropped("a bit is flipped", broken, Counter::AdvertChecksum).check_ingress(&mut kernel);
    }
    Ok(())
}

#[test]
fn each_error_over_ipv6_is_counted_by_its_reason() -> Result<()> {
    // conformance 2, 15
    let mut kernel = kernel(router_ipv6(Router::ROLE_INITIALIZE))?;
    let both = [LINK_LOCAL_VIP, VIP];
    let good = emit(&advert(&both));
    let to_group = [PEER, GROUP_IPV6];
    let own = emit(&AdvertFrame { source: router_ipv6(0).primary, ..advert(&both) });
    let other = emit(&AdvertFrame { vrid: Vrid::new(52).expect("not zero"), ..advert(&both) });
    let byte = |at: usize, value: u8| resent(&good, to_group, 255, move |message| message[at] = value);
    let elsewhere = resent(&good, [PEER, ALL_NODES], 255, |_| ());
    for fixture in [
        // RFC 9568 5.1.2.3
        dropped("hop limit 254", resent(&good, to_group, 254, |_| ()), Counter::AdvertTimeToLive),
        dropped("version 2", byte(0, 0x21), Counter::AdvertVersion),
        dropped("type 2", byte(0, 0x32), Counter::AdvertType),
        dropped("no address", byte(3, 0), Counter::AdvertNoAddress),
        dropped("one address too few", byte(3, 1), Counter::AdvertLength),
        dropped("interval 0", byte(5, 0), Counter::AdvertIntervalZero),
        // RFC 9568 5.2.9, erratum 8300
        dropped("no link-local address first", byte(8, 0x20), Counter::AdvertFirstAddress),
        dropped("our own", own, Counter::AdvertOwnSource),
        passes_counted("another VRID", other, NO_ROUTER, Counter::AdvertUnknownVrid),
        passes_counted("cut before its VRID", good[..55].to_vec(), NO_ROUTER, Counter::AdvertLength),
        passes("to another group", elsewhere),
    ] {
        fixture.check_ingress(&mut kernel);
    }
    Ok(())
}

#[test]
fn a_restricted_router_accepts_adverts_only_from_its_allowed_sources() -> Result<()> {
    let flags = Router::RESTRICT_SOURCES | Router::VIRTUAL_MAC;
    let mut kernel = kernel(Router { flags, ..router_ipv6(Router::ROLE_INITIALIZE) })?;
    let frame = emit(&advert(&[LINK_LOCAL_VIP]));
    dropped("a stranger", frame.clone(), Counter::AdvertForbiddenSource).check_ingress(&mut kernel);
    kernel.allow_source(key_ipv6(51, 0), PEER, 255)?;
    dropped("an allowed source", frame, Counter::AdvertAccepted).check_ingress(&mut kernel);
    Ok(())
}

#[test]
fn an_advert_that_wins_ends_the_lease_and_one_that_loses_does_not() -> Result<()> {
    // RFC 9568 6.4.3 (conformance 46): the whole address decides between equal priorities.
    for (priority, last, wins) in [(101, 1, true), (100, 4, true), (100, 2, false), (99, 4, false)] {
        let mut kernel = kernel(router_ipv6(Router::ROLE_ACTIVE))?;
        let until = u64::MAX - 1;
        kernel.set_lease(0, until);
        let source = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        let frame = emit(&AdvertFrame { source, priority: Priority::new(priority), ..advert(&[LINK_LOCAL_VIP]) });
        assert_eq!(kernel.receive(&frame)?.events.len(), 1, "events at priority {priority}");
        assert_eq!(kernel.lease(0) != until, wins, "priority {priority} from fe80::{last}");
    }
    Ok(())
}

#[test]
fn this_hosts_neighbor_discovery_carries_the_virtual_mac_and_leaves_only_while_active() -> Result<()> {
    // RFC 9568 8.2.2 (conformance 56)
    let solicits = |mac: MacAddress| {
        let message = with_option(&message(135, 0, CLIENT), 1, mac);
        ipv6([CLIENT_MAC, mac], [VIP, CLIENT], 255, ICMPV6, &message)
    };
    let answers = |mac: MacAddress| {
        let message = with_option(&message(136, 0xe0, VIP), 2, mac);
        ipv6([CLIENT_MAC, mac], [VIP, CLIENT], 255, ICMPV6, &message)
    };
    let own_address = {
        let message = with_option(&message(135, 0, CLIENT), 1, INTERFACE_MAC);
        ipv6([CLIENT_MAC, INTERFACE_MAC], [global(3), CLIENT], 255, ICMPV6, &message)
    };
    let rewritten = |description, from: Vec<u8>, to| -> Fixture {
        changed(description, from, Verdict::Pass, to, Counter::EgressNdRewritten)
    };
    let mac = virtual_mac_ipv6();
    let mut active = kernel(router_ipv6(Router::ROLE_ACTIVE))?;
    for fixture in [
        rewritten("a solicitation", solicits(INTERFACE_MAC), solicits(mac)),
        rewritten("an advertisement", answers(INTERFACE_MAC), answers(mac)),
        rewritten("with a tag", tagged(&answers(INTERFACE_MAC), 0x8100, 0), tagged(&answers(mac), 0x8100, 0)),
        passes("an announcement of ours", icmpv6::unsolicited(mac, VIP).expect("a frame").to_vec()),
        passes("for the host's own address", own_address),
        passes("TCP", tcp(CLIENT_MAC, CLIENT)),
    ] {
        fixture.check_egress(&mut active);
    }
    let mut own_mac = kernel(without_virtual_mac(Router::ROLE_ACTIVE))?;
    passes("without a virtual MAC", answers(INTERFACE_MAC)).check_egress(&mut own_mac);
    let mut backup = kernel(router_ipv6(Router::ROLE_BACKUP))?;
    dropped("a Backup's", answers(INTERFACE_MAC), Counter::EgressNdDropped).check_egress(&mut backup);
    Ok(())
}
