//! Frames to a virtual MAC, and packets to a virtual address where `accept` is off.

use super::fixture::{ROUTER, changed, dropped, passes};
use anyhow::Result;
use xvrrp_common::abi::{Counter, Router};
use xvrrp_common::units::{MacAddress, Vrid};
use xvrrp_lab::kernel_half::{KernelHalf, Verdict, key, router, virtual_mac};
use xvrrp_lab::traffic::frames;

const VIP: [u8; 4] = [192, 0, 2, 1];
const ELSEWHERE: [u8; 4] = [203, 0, 113, 5];
const INTERFACE_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 3]);
const ICMP: u8 = 1;

fn virtual_mac_of(vrid: u8) -> MacAddress {
    MacAddress::virtual_ipv4(Vrid::new(vrid).expect("not zero"))
}

fn ipv6(destination: MacAddress) -> Vec<u8> {
    [&destination.0[..], &[2, 0, 0, 0, 0, 9, 0x86, 0xdd], &[0x60; 40]].concat()
}

#[test]
fn an_active_router_admits_frames_to_its_virtual_mac_as_its_own() -> Result<()> {
    // RFC 9568 6.4.3 (conformance 41)
    let mut kernel = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
    let admitted = |description, frame: Vec<u8>| {
        let output = [&INTERFACE_MAC.0[..], &frame[6..]].concat();
        changed(description, frame, Verdict::Pass, output, Counter::VirtualMacAdmitted)
    };
    let forwarded = frames::tcp(virtual_mac(), ELSEWHERE);
    for fixture in [
        admitted("a packet to forward", forwarded.clone()),
        admitted("a packet to the virtual address", frames::tcp(virtual_mac(), VIP)),
        admitted("ICMP", frames::ipv4(virtual_mac(), 64, ICMP, VIP, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0])),
        admitted("another protocol", ipv6(virtual_mac())),
        admitted("a priority tag", frames::tagged(&forwarded, 0x8100, 0xe000)),
        admitted("a frame with nothing in it", forwarded[..14].to_vec()),
    ] {
        fixture.check_ingress(&mut kernel);
    }
    Ok(())
}

#[test]
fn a_router_that_is_not_active_discards_frames_to_its_virtual_mac() -> Result<()> {
    // RFC 9568 6.4.2 (conformance 31)
    for role in [Router::ROLE_INITIALIZE, Router::ROLE_BACKUP] {
        let mut kernel = KernelHalf::with(router(role))?;
        let forwarded = frames::tcp(virtual_mac(), ELSEWHERE);
        for fixture in [
            dropped("a packet to forward", forwarded.clone(), Counter::VirtualMacDropped),
            dropped("a packet to the address", frames::tcp(virtual_mac(), VIP), Counter::VirtualMacDropped),
            dropped("another protocol", ipv6(virtual_mac()), Counter::VirtualMacDropped),
            dropped("a priority tag", frames::tagged(&forwarded, 0x8100, 0), Counter::VirtualMacDropped),
        ] {
            fixture.check_ingress(&mut kernel);
        }
    }
    Ok(())
}

#[test]
fn frames_to_other_macs_pass() -> Result<()> {
    for role in [Router::ROLE_INITIALIZE, Router::ROLE_BACKUP, Router::ROLE_ACTIVE] {
        let mut kernel = KernelHalf::with(router(role))?;
        let to = |mac| frames::tcp(mac, ELSEWHERE);
        let on_vlan = frames::tagged(&to(virtual_mac()), 0x8100, 7);
        for fixture in [
            passes("the interface's own MAC", to(INTERFACE_MAC)),
            passes("the interface's own MAC, for the virtual address", frames::tcp(INTERFACE_MAC, VIP)),
            passes("the virtual MAC of an unknown VRID", to(virtual_mac_of(52))),
            passes("VRID 0, which does not exist", to(MacAddress([0, 0, 0x5e, 0, 1, 0]))),
            passes("the virtual MAC of IPv6", to(MacAddress([0, 0, 0x5e, 0, 2, 51]))),
            passes("broadcast", to(MacAddress::BROADCAST)),
            passes("the virtual MAC on a VLAN", on_vlan),
            passes("two tags", frames::tagged(&frames::tagged(&to(virtual_mac()), 0x8100, 0), 0x8100, 0)),
            passes("a service tag", frames::tagged(&to(virtual_mac()), 0x88a8, 0)),
            passes("a tag that is cut off", frames::tagged(&to(virtual_mac()), 0x8100, 0)[..17].to_vec()),
        ] {
            fixture.check_ingress(&mut kernel);
        }
    }
    Ok(())
}

#[test]
fn a_vlan_is_a_separate_network() -> Result<()> {
    let mut kernel = KernelHalf::load()?;
    kernel.add(key(51, 7), router(Router::ROLE_ACTIVE), VIP)?;
    let frame = frames::tcp(virtual_mac(), ELSEWHERE);
    let on_vlan = |vlan| frames::tagged(&frame, 0x8100, vlan);
    let output = [&INTERFACE_MAC.0[..], &on_vlan(0x2007)[6..]].concat();
    for fixture in [
        changed("on our VLAN", on_vlan(0x2007), Verdict::Pass, output, Counter::VirtualMacAdmitted),
        passes("on another VLAN", on_vlan(8)),
        passes("with a priority tag", on_vlan(0)),
        passes("without a tag", frame.clone()),
    ] {
        fixture.check_ingress(&mut kernel);
    }
    kernel.add(key(51, 8), router(Router::ROLE_BACKUP), [192, 0, 2, 9])?;
    let outcome = kernel.receive(&on_vlan(8))?;
    assert_eq!(outcome.verdict, Verdict::Drop, "the role on another VLAN");
    assert_eq!(kernel.receive(&on_vlan(7))?.verdict, Verdict::Pass);
    Ok(())
}

#[test]
fn a_router_without_a_virtual_mac_passes_frames_to_it() -> Result<()> {
    for role in [Router::ROLE_BACKUP, Router::ROLE_ACTIVE] {
        let flags = Router::ACCEPT | Router::PREEMPT;
        let mut kernel = KernelHalf::with(Router { flags, ..router(role) })?;
        passes("to the virtual MAC", frames::tcp(virtual_mac(), ELSEWHERE)).check_ingress(&mut kernel);
    }
    Ok(())
}

#[test]
fn without_accept_an_active_router_forwards_but_drops_packets_to_its_address() -> Result<()> {
    // RFC 9568 6.4.3 (conformance 42), Accept_Mode
    let flags = Router::VIRTUAL_MAC;
    let mut kernel = KernelHalf::with(Router { flags, ..router(Router::ROLE_ACTIVE) })?;
    let echo = frames::ipv4(virtual_mac(), 64, ICMP, VIP, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
    let tagged = frames::tagged(&frames::tcp(virtual_mac(), VIP), 0x8100, 0);
    for frame in [frames::tcp(virtual_mac(), VIP), echo, tagged] {
        let outcome = kernel.receive(&frame)?;
        assert_eq!(outcome.verdict, Verdict::Drop);
        assert_eq!(outcome.counted, [(ROUTER, Counter::VirtualMacAdmitted), (ROUTER, Counter::NotAccepted)]);
    }
    let forwarded = frames::tcp(virtual_mac(), ELSEWHERE);
    let output = [&INTERFACE_MAC.0[..], &forwarded[6..]].concat();
    changed("a packet to forward", forwarded, Verdict::Pass, output, Counter::VirtualMacAdmitted)
        .check_ingress(&mut kernel);
    passes("to the interface's own MAC", frames::tcp(INTERFACE_MAC, VIP)).check_ingress(&mut kernel);
    Ok(())
}

#[test]
fn without_accept_and_virtual_mac_only_packets_to_the_address_are_dropped() -> Result<()> {
    // RFC 9568 6.4.3 (conformance 32, 42), Accept_Mode
    let flags = Router::PREEMPT;
    let mut kernel = KernelHalf::with(Router { flags, ..router(Router::ROLE_ACTIVE) })?;
    let accepting = Router { slot: 1, ..router(Router::ROLE_ACTIVE) };
    kernel.add(key(52, 0), accepting, [192, 0, 2, 8])?;
    let with_virtual_mac = Router { slot: 2, flags: Router::VIRTUAL_MAC, ..router(Router::ROLE_ACTIVE) };
    kernel.add(key(53, 0), with_virtual_mac, [192, 0, 2, 6])?;
    let to_vip = frames::tcp(INTERFACE_MAC, VIP);
    let echo = frames::ipv4(INTERFACE_MAC, 64, ICMP, VIP, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
    for fixture in [
        dropped("TCP to the address", to_vip.clone(), Counter::NotAccepted),
        dropped("ICMP to the address", echo, Counter::NotAccepted),
        dropped("with a priority tag", frames::tagged(&to_vip, 0x8100, 0), Counter::NotAccepted),
        passes("TCP to another address", frames::tcp(INTERFACE_MAC, ELSEWHERE)),
        passes("TCP to a router's address that accepts", frames::tcp(INTERFACE_MAC, [192, 0, 2, 8])),
        passes("TCP to the address of a router with a virtual MAC", frames::tcp(INTERFACE_MAC, [192, 0, 2, 6])),
        passes("on another VLAN", frames::tagged(&to_vip, 0x8100, 7)),
        passes("a packet that ends before its destination", to_vip[..33].to_vec()),
    ] {
        fixture.check_ingress(&mut kernel);
    }
    let backup = Router { flags, ..router(Router::ROLE_BACKUP) };
    kernel.set(key(51, 0), backup)?;
    // RFC 9568 6.4.2
    dropped("TCP to the address of a Backup", to_vip, Counter::NotAccepted).check_ingress(&mut kernel);
    Ok(())
}
