//! What the kernel half shows to who watches.

use anyhow::{Result, bail, ensure};
use xvrrp_common::abi::{Counter, Router, Sighting};
use xvrrp_common::units::MacAddress;
use xvrrp_common::wire::arp::{self, Arp};
use xvrrp_common::wire::vrrp::AdvertFrame;
use xvrrp_dataplane::Monitor;
use xvrrp_lab::kernel_half::{IFINDEX, KernelHalf, key_ipv6, router, router_ipv6, virtual_mac};
use xvrrp_lab::traffic::frames::{advert, arp as arp_frame, emit, ipv6, tcp, with_ip_byte, with_message_byte};

const CLIENT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const VIP: [u8; 4] = [192, 0, 2, 1];
const VIP_IPV6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Of both families.
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

/// What is shown of the frame that arrives.
fn shown(kernel: &mut KernelHalf, monitor: &mut Monitor, frame: &[u8]) -> Result<Vec<(Counter, Vec<u8>)>> {
    kernel.receive(frame)?;
    let (seen, lost) = monitor.read();
    ensure!(lost == 0, "{lost} frames lost");
    let before = seen.first().map_or(0, |sighting| sighting.at);
    ensure!(seen.iter().all(|sighting| sighting.ifindex == IFINDEX && sighting.at >= before));
    ensure!(seen.iter().all(|sighting| sighting.length as usize == frame.len()), "{seen:?}");
    Ok(seen.iter().map(|sighting| (Counter::ALL[sighting.counter as usize], sighting.frame().to_vec())).collect())
}

#[test]
fn what_is_judged_is_shown_as_it_arrived_with_the_counter_that_counted_it() -> Result<()> {
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
            let seen = shown(&mut kernel, &mut monitor, &frame)?;
            ensure!(seen == [(counter, frame.clone())], "{counter:?} in role {role}: {seen:02x?}");
        }
        // A gateway's ordinary traffic is nobody's business, whomever it is for.
        for mac in [CLIENT_MAC, virtual_mac()] {
            ensure!(shown(&mut kernel, &mut monitor, &tcp(mac, VIP))?.is_empty());
        }
    }
    Ok(())
}

#[test]
fn nothing_is_shown_before_somebody_watches_nor_afterwards() -> Result<()> {
    let (mut kernel, mut monitor) = kernel(Router::ROLE_ACTIVE)?;
    ensure!(shown(&mut kernel, &mut monitor, &request())?.is_empty());
    for _ in 0..2 {
        monitor.begin()?;
        // What the one before has left is not told.
        ensure!(shown(&mut kernel, &mut monitor, &request())?.len() == 1);
        kernel.receive(&request())?;
        monitor.end();
    }
    monitor.read();
    ensure!(shown(&mut kernel, &mut monitor, &request())?.is_empty());
    Ok(())
}

#[test]
fn of_a_long_frame_the_beginning_is_shown() -> Result<()> {
    let (mut kernel, mut monitor) = kernel(Router::ROLE_BACKUP)?;
    monitor.begin()?;
    let addresses: Vec<_> = (0..255).map(|last| [198, 51, 100, last]).collect();
    let frame = emit(&AdvertFrame { addresses: &addresses, ..advert() });
    let [(counter, seen)] = &shown(&mut kernel, &mut monitor, &frame)?[..] else { bail!("not shown once") };
    ensure!(*counter == Counter::AdvertAccepted);
    ensure!(*seen == frame[..Sighting::MOST_CAPTURED as usize], "{seen:02x?}");
    Ok(())
}

#[test]
fn what_there_is_no_room_for_is_counted() -> Result<()> {
    let (mut kernel, mut monitor) = kernel(Router::ROLE_BACKUP)?;
    monitor.begin()?;
    let wrong = with_ip_byte(&emit(&advert()), 8, 254);
    kernel.nanoseconds(&wrong, 10_000)?;
    let (seen, lost) = monitor.read();
    ensure!((100..10_000).contains(&seen.len()), "{} seen", seen.len());
    ensure!(seen.len() as u64 + lost == 10_000, "{} seen, {lost} lost", seen.len());
    // Told once.
    ensure!(shown(&mut kernel, &mut monitor, &wrong)?.len() == 1);
    Ok(())
}
