//! The frames that the kernel half captures for `xvrrp monitor`.

use anyhow::{Result, bail, ensure};
use xvrrp_common::abi::{CapturedFrame, Counter, Router};
use xvrrp_common::units::MacAddress;
use xvrrp_common::wire::arp::{self, Arp};
use xvrrp_common::wire::vrrp::AdvertFrame;
use xvrrp_dataplane::Monitor;
use xvrrp_lab::kernel_half::{IFINDEX, KernelHalf, key_ipv6, router, router_ipv6, virtual_mac};
use xvrrp_lab::traffic::frames::{advert, arp as arp_frame, emit, ipv6, tcp, with_ip_byte, with_message_byte};

const CLIENT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const VIP: [u8; 4] = [192, 0, 2, 1];
const VIP_IPV6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Loads a kernel half with a virtual router in each family.
fn kernel(role: u8) -> Result<(KernelHalf, Monitor)> {
    let mut kernel = KernelHalf::with(router(role))?;
    kernel.add(key_ipv6(51, 0), Router { slot: 1, ..router_ipv6(role) }, VIP_IPV6)?;
    let monitor = kernel.take_monitor()?;
    Ok((kernel, monitor))
}

fn request() -> Vec<u8> {
    let (sender, target) = ([192, 0, 2, 9], VIP);
    let target_mac = MacAddress::default();
    arp_frame(&Arp { operation: arp::OPERATION_REQUEST, sender_mac: CLIENT_MAC, sender, target_mac, target })
}

fn solicitation() -> Vec<u8> {
    let message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &VIP_IPV6, &[1, 1], &CLIENT_MAC.0].concat();
    let client = [&VIP_IPV6[..15], &[9]].concat().try_into().expect("sixteen bytes");
    ipv6([MacAddress([0x33, 0x33, 0xff, 0, 0, 1]), CLIENT_MAC], [client, VIP_IPV6], 255, 58, &message)
}

/// Runs a frame through the XDP program and returns what is captured of it, with the counter of each capture.
fn captured(kernel: &mut KernelHalf, monitor: &mut Monitor, frame: &[u8]) -> Result<Vec<(Counter, Vec<u8>)>> {
    kernel.receive(frame)?;
    let (seen, lost) = monitor.read();
    ensure!(lost == 0, "{lost} captures were lost");
    let before = seen.first().map_or(0, |frame| frame.at);
    ensure!(seen.iter().all(|frame| frame.ifindex == IFINDEX && frame.at >= before), "{seen:?}");
    ensure!(seen.iter().all(|copy| copy.length as usize == frame.len()), "{seen:?}");
    Ok(seen.iter().map(|frame| (Counter::ALL[frame.counter as usize], frame.frame().to_vec())).collect())
}

#[test]
fn a_judged_frame_is_captured_as_it_arrived_with_the_counter_that_counted_it() -> Result<()> {
    let valid = emit(&advert());
    let claim = arp_frame(&Arp {
        operation: arp::OPERATION_REPLY,
        sender_mac: CLIENT_MAC,
        sender: VIP,
        target_mac: CLIENT_MAC,
        target: VIP,
    });
    for (role, cases) in [
        (Router::ROLE_ACTIVE, [(request(), Counter::ArpAnswered), (solicitation(), Counter::NdAnswered)]),
        (Router::ROLE_BACKUP, [(request(), Counter::ArpSuppressed), (solicitation(), Counter::NdSuppressed)]),
    ] {
        let (mut kernel, mut monitor) = kernel(role)?;
        monitor.begin()?;
        let adverts = [
            (valid.clone(), Counter::AdvertAccepted),
            (with_ip_byte(&valid, 8, 254), Counter::AdvertTimeToLive),
            (with_message_byte(&valid, 0, 0x21), Counter::AdvertVersion),
            (with_message_byte(&valid, 1, 52), Counter::AdvertUnknownVrid),
            (claim.clone(), Counter::ArpConflict),
        ];
        for (frame, counter) in cases.into_iter().chain(adverts) {
            let seen = captured(&mut kernel, &mut monitor, &frame)?;
            ensure!(seen == [(counter, frame.clone())], "{counter:?} in role {role}: {seen:02x?}");
        }
        // Ordinary traffic of a gateway is not captured, whatever its destination.
        for mac in [CLIENT_MAC, virtual_mac()] {
            ensure!(captured(&mut kernel, &mut monitor, &tcp(mac, VIP))?.is_empty(), "TCP to {mac} was captured");
        }
    }
    Ok(())
}

#[test]
fn nothing_is_captured_before_or_after_a_client_watches() -> Result<()> {
    let (mut kernel, mut monitor) = kernel(Router::ROLE_ACTIVE)?;
    ensure!(captured(&mut kernel, &mut monitor, &request())?.is_empty(), "a frame was captured before");
    for _ in 0..2 {
        monitor.begin()?;
        let seen = captured(&mut kernel, &mut monitor, &request())?;
        ensure!(seen.len() == 1, "{} captures: those that the previous client has left were not dropped", seen.len());
        kernel.receive(&request())?;
        monitor.end();
    }
    monitor.read();
    ensure!(captured(&mut kernel, &mut monitor, &request())?.is_empty(), "a frame was captured afterwards");
    Ok(())
}

#[test]
fn only_the_beginning_of_a_long_frame_is_captured() -> Result<()> {
    let (mut kernel, mut monitor) = kernel(Router::ROLE_BACKUP)?;
    monitor.begin()?;
    let addresses: Vec<_> = (0..255).map(|last| [198, 51, 100, last]).collect();
    let frame = emit(&AdvertFrame { addresses: &addresses, ..advert() });
    let [(counter, seen)] = &captured(&mut kernel, &mut monitor, &frame)?[..] else {
        bail!("not captured exactly once")
    };
    ensure!(*counter == Counter::AdvertAccepted, "{counter:?}");
    ensure!(*seen == frame[..CapturedFrame::MAX_CAPTURED as usize], "{seen:02x?}");
    Ok(())
}

#[test]
fn frames_without_room_in_the_ring_buffer_are_counted() -> Result<()> {
    let (mut kernel, mut monitor) = kernel(Router::ROLE_BACKUP)?;
    monitor.begin()?;
    let wrong = with_ip_byte(&emit(&advert()), 8, 254);
    kernel.nanoseconds(&wrong, 10_000)?;
    let (seen, lost) = monitor.read();
    ensure!((100..10_000).contains(&seen.len()), "{} captures", seen.len());
    ensure!(seen.len() as u64 + lost == 10_000, "{} captures, {lost} lost", seen.len());
    // The loss is reported only once.
    let seen = captured(&mut kernel, &mut monitor, &wrong)?;
    ensure!(seen.len() == 1, "{} captures afterwards", seen.len());
    Ok(())
}
