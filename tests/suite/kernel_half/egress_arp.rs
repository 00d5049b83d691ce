//! What the TC program does with ARP that leaves this host with a virtual address as its sender.

use super::fixture::{changed, dropped, passes};
use anyhow::Result;
use xvrrp_common::abi::{Counter, Router};
use xvrrp_common::units::MacAddress;
use xvrrp_common::wire::arp::{self, Arp};
use xvrrp_lab::kernel_half::{KernelHalf, Verdict, key, router, virtual_mac};
use xvrrp_lab::traffic::frames;

const VIP: [u8; 4] = [192, 0, 2, 1];
const INTERFACE_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 3]);
const CLIENT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

/// Returns the ARP packet that the network stack sends from the virtual address.
fn stack_sends(operation: u16, mac: MacAddress) -> Arp {
    Arp { operation, sender_mac: mac, sender: VIP, target_mac: CLIENT_MAC, target: [192, 0, 2, 9] }
}

#[test]
fn an_active_router_sends_arp_only_with_the_virtual_mac() -> Result<()> {
    // RFC 9568 8.1.2 (conformance 56)
    let mut kernel = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
    let rewritten =
        |description, input, output| changed(description, input, Verdict::Pass, output, Counter::EgressArpRewritten);
    for operation in [arp::OPERATION_REQUEST, arp::OPERATION_REPLY] {
        let from = |mac| frames::arp(&stack_sends(operation, mac));
        let ours = from(virtual_mac());
        let mut half = ours.clone();
        half[6..12].copy_from_slice(&INTERFACE_MAC.0);
        let mut other_half = ours.clone();
        other_half[22..28].copy_from_slice(&INTERFACE_MAC.0);
        for fixture in [
            rewritten("the interface's MAC", from(INTERFACE_MAC), ours.clone()),
            rewritten("the interface's MAC in the Ethernet header only", half, ours.clone()),
            rewritten("the interface's MAC in the ARP packet only", other_half, ours.clone()),
            rewritten(
                "a priority tag",
                frames::tagged(&from(INTERFACE_MAC), 0x8100, 0xe000),
                frames::tagged(&ours, 0x8100, 0xe000),
            ),
            passes("the virtual MAC", ours),
        ] {
            fixture.check_egress(&mut kernel);
        }
    }
    passes("our own announcement", arp::gratuitous(virtual_mac(), VIP).to_vec()).check_egress(&mut kernel);
    Ok(())
}

#[test]
fn a_router_that_is_not_active_sends_no_arp_for_the_address() -> Result<()> {
    // RFC 9568 6.4.2 (conformance 28)
    for role in [Router::ROLE_INITIALIZE, Router::ROLE_BACKUP] {
        for flags in [Router::VIRTUAL_MAC | Router::ACCEPT, Router::ACCEPT] {
            let mut kernel = KernelHalf::with(Router { flags, ..router(role) })?;
            for mac in [virtual_mac(), INTERFACE_MAC] {
                let request = frames::arp(&stack_sends(arp::OPERATION_REQUEST, mac));
                let reply = frames::arp(&stack_sends(arp::OPERATION_REPLY, mac));
                for fixture in [
                    dropped("a request", request.clone(), Counter::EgressArpDropped),
                    dropped("a reply", reply, Counter::EgressArpDropped),
                    dropped("an announcement", arp::gratuitous(mac, VIP).to_vec(), Counter::EgressArpDropped),
                    dropped("a priority tag", frames::tagged(&request, 0x8100, 0), Counter::EgressArpDropped),
                ] {
                    fixture.check_egress(&mut kernel);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn arp_of_an_active_router_without_a_virtual_mac_is_unchanged() -> Result<()> {
    let own_mac = Router { flags: Router::ACCEPT, answer_mac: INTERFACE_MAC.0, ..router(Router::ROLE_ACTIVE) };
    let mut kernel = KernelHalf::with(own_mac)?;
    for mac in [INTERFACE_MAC, virtual_mac()] {
        let reply = frames::arp(&stack_sends(arp::OPERATION_REPLY, mac));
        passes("a reply", reply).check_egress(&mut kernel);
    }
    Ok(())
}

#[test]
fn all_other_frames_leave_unchanged() -> Result<()> {
    for role in [Router::ROLE_INITIALIZE, Router::ROLE_BACKUP, Router::ROLE_ACTIVE] {
        let mut kernel = KernelHalf::with(router(role))?;
        let ours = stack_sends(arp::OPERATION_REQUEST, INTERFACE_MAC);
        let from_vip = frames::arp(&ours);
        let from_host = frames::arp(&Arp { sender: [192, 0, 2, 3], ..ours });
        for fixture in [
            passes("ARP from the host's own address", from_host),
            passes("ARP on a VLAN", frames::tagged(&from_vip, 0x8100, 7)),
            passes("ARP behind two tags", frames::tagged(&frames::tagged(&from_vip, 0x8100, 0), 0x8100, 0)),
            passes("ARP behind a service tag", frames::tagged(&from_vip, 0x88a8, 0)),
            passes("ARP for other hardware", frames::with_byte(&from_vip, 15, 7)),
            passes("TCP", frames::tcp(CLIENT_MAC, [192, 0, 2, 9])),
            passes("TCP on a VLAN", frames::tagged(&frames::tcp(CLIENT_MAC, [192, 0, 2, 9]), 0x8100, 0)),
            passes("an advert", frames::emit(&frames::advert())),
        ] {
            fixture.check_egress(&mut kernel);
        }
        for end in 15..from_vip.len() {
            passes("a cut packet", from_vip[..end].to_vec()).check_egress(&mut kernel);
        }
    }
    Ok(())
}

#[test]
fn a_vlan_is_a_separate_network() -> Result<()> {
    let mut kernel = KernelHalf::load()?;
    kernel.add(key(51, 7), router(Router::ROLE_ACTIVE), VIP)?;
    let from = |mac| frames::arp(&stack_sends(arp::OPERATION_REPLY, mac));
    changed(
        "on our VLAN",
        frames::tagged(&from(INTERFACE_MAC), 0x8100, 7),
        Verdict::Pass,
        frames::tagged(&from(virtual_mac()), 0x8100, 7),
        Counter::EgressArpRewritten,
    )
    .check_egress(&mut kernel);
    passes("without a tag", from(INTERFACE_MAC)).check_egress(&mut kernel);
    Ok(())
}
