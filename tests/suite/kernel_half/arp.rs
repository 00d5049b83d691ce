//! ARP for a virtual address, as the XDP program treats it in each role.

use super::fixture::{ROUTER, changed, dropped, passes, passes_counted};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xvrrp_common::abi::{ConflictEvent, Counter, Router, ipv4_address};
use xvrrp_common::units::MacAddress;
use xvrrp_common::wire::arp::{self, Arp};
use xvrrp_lab::kernel_half::{KernelHalf, Verdict, key, router, virtual_mac};
use xvrrp_lab::traffic::frames;
use xvrrp_lab::{PATIENCE, eventually};

const VIP: [u8; 4] = [192, 0, 2, 1];
const CLIENT: [u8; 4] = [192, 0, 2, 9];
const CLIENT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const INTERFACE_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 3]);

fn request(target: [u8; 4]) -> Arp {
    Arp {
        operation: arp::OPERATION_REQUEST,
        sender_mac: CLIENT_MAC,
        sender: CLIENT,
        target_mac: MacAddress::default(),
        target,
    }
}

/// Returns the answer to a client that asks for the virtual address.
fn answer(mac: MacAddress, to: [u8; 4]) -> Vec<u8> {
    frames::arp(&Arp {
        operation: arp::OPERATION_REPLY,
        sender_mac: mac,
        sender: VIP,
        target_mac: CLIENT_MAC,
        target: to,
    })
}

fn unicast(frame: &[u8], to: MacAddress) -> Vec<u8> {
    [&to.0[..], &frame[6..]].concat()
}

/// Loads a kernel half with the virtual MAC and one without, each with the MAC of its answers.
fn kernels(role: u8) -> Result<[(KernelHalf, MacAddress); 2]> {
    let own_mac = Router { flags: Router::ACCEPT | Router::PREEMPT, answer_mac: INTERFACE_MAC.0, ..router(role) };
    Ok([(KernelHalf::with(router(role))?, virtual_mac()), (KernelHalf::with(own_mac)?, INTERFACE_MAC)])
}

#[test]
fn an_active_router_answers_for_its_address() -> Result<()> {
    // RFC 9568 6.4.3, 8.1.2 (conformance 38)
    for (mut kernel, mac) in kernels(Router::ROLE_ACTIVE)? {
        let asked = frames::arp(&request(VIP));
        let probe = Arp { sender: [0; 4], ..request(VIP) };
        let answered =
            |description, input, output| changed(description, input, Verdict::Transmit, output, Counter::ArpAnswered);
        let padding = |mut frame: Vec<u8>| {
            frame.resize(frames::SHORTEST, 0xee);
            frame
        };
        for fixture in [
            answered("a broadcast request", asked.clone(), answer(mac, CLIENT)),
            answered("a padded request", frames::padded(&asked), padding(answer(mac, CLIENT))),
            answered("a request to our own MAC", unicast(&asked, INTERFACE_MAC), answer(mac, CLIENT)),
            // RFC 5227 2.1.1: a host probes an address before it uses it. This one is in use.
            answered("a probe", frames::arp(&probe), answer(mac, [0; 4])),
            answered(
                "a request with a priority tag",
                frames::tagged(&asked, 0x8100, 0xe000),
                frames::tagged(&answer(mac, CLIENT), 0x8100, 0xe000),
            ),
        ] {
            fixture.check_ingress(&mut kernel);
        }
    }
    Ok(())
}

#[test]
fn a_request_to_the_virtual_mac_is_admitted_and_answered() -> Result<()> {
    let mut kernel = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
    let outcome = kernel.receive(&unicast(&frames::arp(&request(VIP)), virtual_mac()))?;
    assert_eq!(outcome.verdict, Verdict::Transmit);
    assert_eq!(outcome.frame, answer(virtual_mac(), CLIENT));
    assert_eq!(outcome.counted, [(ROUTER, Counter::ArpAnswered), (ROUTER, Counter::VirtualMacAdmitted)]);
    Ok(())
}

#[test]
fn a_router_that_is_not_active_does_not_answer_and_hides_requests_from_the_stack() -> Result<()> {
    // RFC 9568 6.4.2 (conformance 28)
    for role in [Router::ROLE_BACKUP, Router::ROLE_INITIALIZE] {
        for (mut kernel, _) in kernels(role)? {
            let asked = frames::arp(&request(VIP));
            let probe = Arp { sender: [0; 4], ..request(VIP) };
            for fixture in [
                dropped("a broadcast request", asked.clone(), Counter::ArpSuppressed),
                dropped("a unicast request", unicast(&asked, INTERFACE_MAC), Counter::ArpSuppressed),
                dropped("a probe", frames::arp(&probe), Counter::ArpSuppressed),
                dropped("a padded request", frames::padded(&asked), Counter::ArpSuppressed),
                dropped("a priority tag", frames::tagged(&asked, 0x8100, 0), Counter::ArpSuppressed),
            ] {
                fixture.check_ingress(&mut kernel);
            }
        }
    }
    Ok(())
}

#[test]
fn arp_that_is_no_request_for_our_address_passes_in_every_role() -> Result<()> {
    for role in [Router::ROLE_INITIALIZE, Router::ROLE_BACKUP, Router::ROLE_ACTIVE] {
        let mut kernel = KernelHalf::with(router(role))?;
        let gratuitous = arp::gratuitous(virtual_mac(), VIP).to_vec();
        let asked = frames::arp(&request(VIP));
        let reply = Arp { operation: arp::OPERATION_REPLY, target_mac: INTERFACE_MAC, ..request(VIP) };
        for fixture in [
            passes("a request for another address", frames::arp(&request([192, 0, 2, 7]))),
            passes("the announcement of an active router with our virtual MAC", gratuitous),
            passes("a reply to the virtual address", frames::arp(&reply)),
            passes("a request on a VLAN", frames::tagged(&asked, 0x8100, 7)),
            passes("a request behind a service tag", frames::tagged(&asked, 0x88a8, 0)),
            passes("a request behind two tags", frames::tagged(&frames::tagged(&asked, 0x8100, 0), 0x8100, 0)),
            passes("ARP for other hardware", frames::with_byte(&asked, 15, 7)),
            passes("ARP for another protocol", frames::with_byte(&asked, 16, 0x86)),
            passes("an unknown operation", frames::with_byte(&asked, 21, 9)),
            passes("reverse ARP", frames::with_byte(&asked, 13, 0x35)),
        ] {
            fixture.check_ingress(&mut kernel);
        }
    }
    Ok(())
}

#[test]
fn a_claim_of_our_address_with_another_mac_is_counted_and_passes() -> Result<()> {
    for role in [Router::ROLE_INITIALIZE, Router::ROLE_BACKUP, Router::ROLE_ACTIVE] {
        let mut kernel = KernelHalf::with(router(role))?;
        let claim = Arp { sender: VIP, ..request([192, 0, 2, 7]) };
        let reply = Arp { operation: arp::OPERATION_REPLY, ..claim };
        let conflicting = |description, frame| passes_counted(description, frame, ROUTER, Counter::ArpConflict);
        for fixture in [
            conflicting("an announcement", arp::gratuitous(CLIENT_MAC, VIP).to_vec()),
            conflicting("a request from our address", frames::arp(&claim)),
            conflicting("a reply from our address", frames::arp(&reply)),
            passes("an announcement on another VLAN", frames::tagged(&arp::gratuitous(CLIENT_MAC, VIP), 0x8100, 7)),
        ] {
            fixture.check_ingress(&mut kernel);
        }
    }
    Ok(())
}

#[test]
fn claims_are_reported_to_the_agent_only_while_active_and_with_a_pause() -> Result<()> {
    let claim = arp::gratuitous(CLIENT_MAC, VIP);
    let mut backup = KernelHalf::with(router(Router::ROLE_BACKUP))?;
    assert_eq!(backup.receive(&claim)?.claims, [], "a Backup has reported a claim");
    let mut kernel = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
    let expected = ConflictEvent { address: ipv4_address(VIP), slot: 0, mac: CLIENT_MAC.0, reserved: [0; 6] };
    let pause = Duration::from_nanos(ConflictEvent::PAUSE);
    // On a busy machine, more than the pause may pass between two claims.
    eventually("two claims come within the pause", PATIENCE, || {
        thread::sleep(pause);
        let start = Instant::now();
        let [first, second] = [kernel.receive(&claim)?.claims, kernel.receive(&claim)?.claims];
        assert_eq!(first, [expected], "the claim after the pause");
        ensure!(start.elapsed() < pause, "they took {:?}", start.elapsed());
        assert_eq!(second, [], "the claim within the pause");
        Ok(())
    })
}

#[test]
fn without_a_virtual_mac_only_an_active_router_recognizes_a_conflict() -> Result<()> {
    let own_mac = |role| Router { flags: Router::ACCEPT, answer_mac: INTERFACE_MAC.0, ..router(role) };
    let announcement = arp::gratuitous(CLIENT_MAC, VIP).to_vec();
    let mut kernel = KernelHalf::with(own_mac(Router::ROLE_BACKUP))?;
    passes("the active router's announcement", announcement.clone()).check_ingress(&mut kernel);
    kernel.set(key(51, 0), own_mac(Router::ROLE_ACTIVE))?;
    passes_counted("a conflicting announcement", announcement, ROUTER, Counter::ArpConflict).check_ingress(&mut kernel);
    Ok(())
}

#[test]
fn a_vlan_is_a_separate_network() -> Result<()> {
    let mut kernel = KernelHalf::load()?;
    kernel.add(key(51, 7), router(Router::ROLE_ACTIVE), VIP)?;
    let asked = frames::arp(&request(VIP));
    for fixture in [
        changed(
            "on our VLAN",
            frames::tagged(&asked, 0x8100, 0x2007),
            Verdict::Transmit,
            frames::tagged(&answer(virtual_mac(), CLIENT), 0x8100, 0x2007),
            Counter::ArpAnswered,
        ),
        passes("on another VLAN", frames::tagged(&asked, 0x8100, 8)),
        passes("with a priority tag", frames::tagged(&asked, 0x8100, 0)),
        passes("without a tag", asked),
    ] {
        fixture.check_ingress(&mut kernel);
    }
    Ok(())
}

#[test]
fn a_request_that_is_cut_off_anywhere_is_never_answered() -> Result<()> {
    // BPF_PROG_TEST_RUN refuses less than an Ethernet header.
    let asked = frames::arp(&request(VIP));
    for tag in [None, Some(0)] {
        let frame = tag.map_or(asked.clone(), |tci| frames::tagged(&asked, 0x8100, tci));
        for role in [Router::ROLE_BACKUP, Router::ROLE_ACTIVE] {
            let mut kernel = KernelHalf::with(router(role))?;
            for end in 14..frame.len() {
                passes("a cut request", frame[..end].to_vec()).check_ingress(&mut kernel);
            }
        }
    }
    Ok(())
}

/// Returns the virtual address of the virtual router in this slot.
fn vip_of(slot: u8) -> [u8; 4] {
    [10, 0, 0, slot]
}

/// Returns one of many virtual routers, with a MAC of its own.
fn one_of_many(slot: u8, priority: u8) -> Router {
    Router { slot: u32::from(slot), answer_mac: [2, 0, 0, 0, 9, slot], priority, ..router(Router::ROLE_ACTIVE) }
}

#[test]
fn while_entries_are_rewritten_every_answer_carries_the_mac_of_its_own_router() -> Result<()> {
    const ROUTERS: u8 = 64;
    const ANSWERS: u32 = 1_000_000;
    let mut kernel = KernelHalf::with_room(u32::from(ROUTERS))?;
    for slot in 0..ROUTERS {
        kernel.add(key(slot + 1, 0), one_of_many(slot, 100), vip_of(slot))?;
    }
    let mut priority = 100;
    let wrong = kernel.receive_while_rewriting(
        |tables| {
            priority = if priority == 100 { 101 } else { 100 };
            for slot in 0..ROUTERS {
                tables.set_router(key(slot + 1, 0), &one_of_many(slot, priority))?;
            }
            Ok(())
        },
        |receive| {
            let mut wrong = Vec::new();
            for slot in (0..ROUTERS).cycle().take(ANSWERS as usize) {
                let (verdict, frame) = receive(&frames::arp(&request(vip_of(slot))))?;
                if verdict != Verdict::Transmit || frame.get(6..12) != Some(&[2, 0, 0, 0, 9, slot]) {
                    wrong.push((slot, verdict, frame.get(6..12).map(<[u8]>::to_vec)));
                }
            }
            Ok(wrong)
        },
    )?;
    assert!(wrong.is_empty(), "{} of {ANSWERS} answers are wrong, such as {:?}", wrong.len(), wrong.first());
    Ok(())
}
