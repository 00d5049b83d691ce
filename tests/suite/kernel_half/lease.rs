//! The lease in the kernel half: after its end, a router no longer serves, whatever its role.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use xvrrp_common::abi::{Counter, Lease, Router};
use xvrrp_common::units::{MacAddress, Priority};
use xvrrp_common::wire::arp::{self, Arp};
use xvrrp_common::wire::vrrp::AdvertFrame;
use xvrrp_lab::kernel_half::{KernelHalf, Verdict, key, key_ipv6, router, router_ipv6, virtual_mac};
use xvrrp_lab::traffic::frames::{self, advert, emit};

const VIP: [u8; 4] = [192, 0, 2, 1];
const INTERFACE_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 3]);

fn request() -> Vec<u8> {
    frames::arp(&Arp {
        operation: arp::OPERATION_REQUEST,
        sender_mac: MacAddress([2, 0, 0, 0, 0, 9]),
        sender: [192, 0, 2, 9],
        target_mac: MacAddress::default(),
        target: VIP,
    })
}

/// Returns the ARP request that this host's own stack sends from the virtual address.
fn own_arp() -> Vec<u8> {
    frames::arp(&Arp {
        operation: arp::OPERATION_REQUEST,
        sender_mac: INTERFACE_MAC,
        sender: VIP,
        target_mac: MacAddress::default(),
        target: [192, 0, 2, 9],
    })
}

fn now() -> u64 {
    xvrrp::process::clock::now().as_nanos()
}

#[test]
fn an_active_router_without_a_lease_neither_answers_nor_serves() -> Result<()> {
    let mut kernel = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
    for until in [Lease::ENDED, 1, now()] {
        kernel.set_lease(0, until);
        let asked = kernel.receive(&request())?;
        assert_eq!((asked.verdict, asked.counted), (Verdict::Drop, vec![(1, Counter::ArpSuppressed)]));
        let frame = kernel.receive(&frames::tcp(virtual_mac(), [203, 0, 113, 5]))?;
        assert_eq!((frame.verdict, frame.counted), (Verdict::Drop, vec![(1, Counter::VirtualMacDropped)]));
        let sent = kernel.send(&own_arp())?;
        assert_eq!((sent.verdict, sent.counted), (Verdict::Drop, vec![(1, Counter::EgressArpDropped)]));
    }
    Ok(())
}

#[test]
fn an_active_router_serves_until_the_end_of_its_lease_and_no_longer() -> Result<()> {
    let mut kernel = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
    let frame = frames::tcp(virtual_mac(), [203, 0, 113, 5]);
    let length = Duration::from_millis(200);
    let until = now() + u64::try_from(length.as_nanos())?;
    kernel.set_lease(0, until);
    let mut admitted = 0;
    let start = Instant::now();
    loop {
        let before = now();
        let verdict = kernel.receive(&frame)?.verdict;
        let after = now();
        match verdict {
            // The tick counter, which is used instead of the clock, never allows more than the lease does.
            Verdict::Pass => {
                assert!(before < until, "admitted {} ns after the end", before - until);
                admitted += 1;
            }
            _ => {
                assert!(after >= until, "dropped {} ns before the end", until - after);
                break;
            }
        }
        assert!(start.elapsed() < length * 20, "frames are still admitted after {:?}", start.elapsed());
        thread::sleep(Duration::from_micros(200));
    }
    assert!(admitted > 20, "only {admitted} frames were admitted");
    assert_eq!(kernel.receive(&request())?.verdict, Verdict::Drop);
    Ok(())
}

#[test]
fn a_renewed_lease_continues_and_an_ended_one_is_not_used_again() -> Result<()> {
    let mut kernel = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
    let frame = frames::tcp(virtual_mac(), [203, 0, 113, 5]);
    for seconds in [10, 20, 15] {
        kernel.set_lease(0, now() + seconds * 1_000_000_000);
        assert_eq!(kernel.receive(&frame)?.verdict, Verdict::Pass);
        assert_eq!(kernel.receive(&frame)?.verdict, Verdict::Pass);
    }
    kernel.set_lease(0, Lease::ENDED);
    assert_eq!(kernel.receive(&frame)?.verdict, Verdict::Drop);
    kernel.set_lease(0, now() + 10_000_000_000);
    assert_eq!(kernel.receive(&frame)?.verdict, Verdict::Pass);
    Ok(())
}

#[test]
fn an_advert_that_wins_ends_the_lease_at_once() -> Result<()> {
    // This router has priority 100 and 192.0.2.3. RFC 9568 6.4.3 (conformance 46)
    let from = |priority, source| emit(&AdvertFrame { priority: Priority::new(priority), source, ..advert() });
    let cases = [
        ("a lower priority", from(99, [192, 0, 2, 9]), false),
        ("our priority from a lower address", from(100, [192, 0, 2, 2]), false),
        ("our priority from a higher address", from(100, [192, 0, 2, 9]), true),
        ("our priority from an address that is higher as an unsigned number", from(100, [200, 0, 2, 1]), true),
        ("a higher priority", from(101, [192, 0, 2, 2]), true),
        ("the owner", from(255, [192, 0, 2, 2]), true),
        ("a release", from(0, [192, 0, 2, 9]), false),
    ];
    for (name, frame, wins) in cases {
        let mut kernel = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
        kernel.set_lease(0, now() + 10_000_000_000);
        let heard = kernel.receive(&frame)?;
        assert_eq!(heard.events.len(), 1, "{name}: events");
        assert_eq!(kernel.lease(0) == Lease::ENDED, wins, "{name}: the lease has ended");
        let served = kernel.receive(&frames::tcp(virtual_mac(), [203, 0, 113, 5]))?.verdict == Verdict::Pass;
        assert_eq!(served, !wins, "{name}: the virtual MAC is served");
    }
    let mut backup = KernelHalf::with(router(Router::ROLE_BACKUP))?;
    backup.receive(&from(255, [192, 0, 2, 9]))?;
    assert_eq!(backup.lease(0), Lease::UNLIMITED, "the lease of a Backup has ended");
    let mut alone = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
    alone.receive(&from(255, [192, 0, 2, 9]))?;
    assert_eq!(alone.lease(0), Lease::UNLIMITED, "a lease without an end has ended, and no agent would renew it");
    Ok(())
}

#[test]
fn without_a_virtual_mac_packets_to_the_address_are_dropped_after_the_lease() -> Result<()> {
    let flags = Router::ACCEPT | Router::PREEMPT;
    let mut kernel = KernelHalf::with(Router { flags, answer_mac: INTERFACE_MAC.0, ..router(Router::ROLE_ACTIVE) })?;
    let to_vip = frames::tcp(INTERFACE_MAC, VIP);
    assert_eq!(kernel.receive(&to_vip)?.verdict, Verdict::Pass);
    kernel.set_lease(0, Lease::ENDED);
    assert_eq!(kernel.receive(&to_vip)?.counted, [(1, Counter::NotAccepted)]);
    assert_eq!(kernel.receive(&request())?.verdict, Verdict::Drop);
    assert_eq!(kernel.receive(&frames::tcp(INTERFACE_MAC, [203, 0, 113, 5]))?.verdict, Verdict::Pass);
    kernel.set(key(51, 0), Router { flags, ..router(Router::ROLE_BACKUP) })?;
    assert_eq!(kernel.receive(&to_vip)?.counted, [(1, Counter::NotAccepted)]);
    Ok(())
}

/// MAC of the loopback interface. In test runs, frames to it are addressed to this host.
const HERE: MacAddress = MacAddress([0; 6]);
const VIP_IPV6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const HOST_IPV6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

fn tcp_ipv6(destination: [u8; 16]) -> Vec<u8> {
    frames::ipv6([HERE, MacAddress([2, 0, 0, 0, 0, 9])], [HOST_IPV6, destination], 64, 6, &[0; 20])
}

fn solicitation() -> Vec<u8> {
    let message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &VIP_IPV6, &[1, 1, 2, 0, 0, 0, 0, 9]].concat();
    let group = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1];
    let macs = [MacAddress([0x33, 0x33, 0xff, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 9])];
    frames::ipv6(macs, [HOST_IPV6, group], 255, 58, &message)
}

#[test]
fn after_the_lease_an_active_routers_address_is_not_served_on_other_interfaces() -> Result<()> {
    let of = |role| -> Result<KernelHalf> {
        let mut kernel = KernelHalf::with(router(role))?;
        kernel.add(key_ipv6(51, 0), Router { slot: 1, ..router_ipv6(role) }, VIP_IPV6)?;
        Ok(kernel)
    };
    // On Ethernet, Linux answers ARP of this hardware type too.
    let mut request_802 = request();
    request_802[15] = 6;
    let ours = [frames::tcp(HERE, VIP), request(), request_802, tcp_ipv6(VIP_IPV6), solicitation()];
    let elsewhere = [203, 0, 113, 5];
    let others = [
        frames::tcp(HERE, elsewhere),
        frames::arp(&Arp {
            operation: arp::OPERATION_REQUEST,
            sender_mac: MacAddress([2, 0, 0, 0, 0, 9]),
            sender: VIP,
            target_mac: MacAddress::default(),
            target: elsewhere,
        }),
        tcp_ipv6(HOST_IPV6),
        arp::gratuitous(virtual_mac(), VIP).to_vec(),
        // A frame to another host, which arrives because the interface is promiscuous.
        frames::tcp(MacAddress([2, 0, 0, 0, 0, 7]), VIP),
    ];
    let end_leases = |kernel: &mut KernelHalf| (0..2).for_each(|slot| kernel.set_lease(slot, now()));
    for (role, alive) in [
        (Router::ROLE_ACTIVE, true),
        (Router::ROLE_ACTIVE, false),
        (Router::ROLE_BACKUP, false),
        (Router::ROLE_INITIALIZE, false),
    ] {
        let mut kernel = of(role)?;
        if !alive {
            end_leases(&mut kernel);
        }
        let fenced = role == Router::ROLE_ACTIVE && !alive;
        for (number, frame) in ours.iter().enumerate() {
            let outcome = kernel.receive_elsewhere(frame)?;
            let expected = if fenced { Verdict::Drop } else { Verdict::Pass };
            assert_eq!(outcome.verdict, expected, "role {role}, alive {alive}, frame {number}");
            let index = if number < 3 { 1 } else { 2 };
            let counted = if fenced { vec![(index, Counter::Fenced)] } else { vec![] };
            assert_eq!((outcome.counted, outcome.frame == *frame), (counted, true), "role {role}, frame {number}");
        }
        for (number, frame) in others.iter().enumerate() {
            let outcome = kernel.receive_elsewhere(frame)?;
            assert_eq!(
                (outcome.verdict, outcome.counted),
                (Verdict::Pass, vec![]),
                "role {role}, other frame {number}"
            );
        }
    }
    Ok(())
}

#[test]
fn packets_to_the_addresses_of_a_router_that_retires_are_dropped_on_other_interfaces() -> Result<()> {
    let retires = |role| Router { flags: router(role).flags | Router::RETIRES, ..router(role) };
    let mut kernel = KernelHalf::with(retires(Router::ROLE_BACKUP))?;
    for frame in [frames::tcp(HERE, VIP), request()] {
        let outcome = kernel.receive_elsewhere(&frame)?;
        assert_eq!((outcome.verdict, outcome.counted), (Verdict::Drop, vec![(1, Counter::Fenced)]));
    }
    kernel.set(key(51, 0), router(Router::ROLE_BACKUP))?;
    assert_eq!(kernel.receive_elsewhere(&request())?.verdict, Verdict::Pass);
    Ok(())
}

#[test]
fn an_address_of_the_other_family_is_served_and_fenced_as_those_of_its_routers_family_are() -> Result<()> {
    let mut kernel = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
    kernel.add_of_other_family(key(51, 0), 0, VIP_IPV6)?;
    let outcome = kernel.receive(&solicitation())?;
    assert_eq!((outcome.verdict, outcome.counted), (Verdict::Transmit, vec![(1, Counter::NdAnswered)]));
    assert_eq!(&outcome.frame[6..12], virtual_mac().0);
    for frame in [solicitation(), tcp_ipv6(VIP_IPV6)] {
        assert_eq!(kernel.receive_elsewhere(&frame)?.verdict, Verdict::Pass);
    }
    kernel.set_lease(0, now());
    for frame in [solicitation(), tcp_ipv6(VIP_IPV6)] {
        let outcome = kernel.receive_elsewhere(&frame)?;
        assert_eq!((outcome.verdict, outcome.counted), (Verdict::Drop, vec![(1, Counter::Fenced)]));
    }
    let outcome = kernel.receive(&solicitation())?;
    assert_eq!((outcome.verdict, outcome.counted), (Verdict::Drop, vec![(1, Counter::NdSuppressed)]));
    Ok(())
}

#[test]
fn after_the_lease_an_active_routers_address_is_not_served_on_interfaces_of_other_virtual_routers() -> Result<()> {
    let mut kernel = KernelHalf::load()?;
    let mut there = key(51, 0);
    there.ifindex += 1;
    kernel.add(there, router(Router::ROLE_ACTIVE), VIP)?;
    kernel.add(key(52, 0), Router { slot: 1, ..router(Router::ROLE_ACTIVE) }, [198, 51, 100, 1])?;
    let to_vip = frames::tcp(INTERFACE_MAC, VIP);
    for frame in [&to_vip, &request()] {
        assert_eq!(kernel.receive(frame)?.verdict, Verdict::Pass);
    }
    kernel.set_lease(0, now());
    for frame in [&to_vip, &request()] {
        let outcome = kernel.receive(frame)?;
        assert_eq!((outcome.verdict, outcome.counted), (Verdict::Drop, vec![(1, Counter::Fenced)]));
    }
    let own = kernel.receive(&frames::tcp(INTERFACE_MAC, [198, 51, 100, 1]))?;
    assert_eq!(own.verdict, Verdict::Pass, "the virtual router of this interface still has a lease");
    Ok(())
}

#[test]
fn after_the_lease_packets_to_the_address_at_the_interfaces_own_mac_are_dropped() -> Result<()> {
    let mut kernel = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
    let to_vip = frames::tcp(INTERFACE_MAC, VIP);
    assert_eq!(kernel.receive(&to_vip)?.verdict, Verdict::Pass);
    kernel.set_lease(0, now());
    assert_eq!(kernel.receive(&to_vip)?.counted, [(1, Counter::Fenced)]);
    assert_eq!(kernel.receive(&frames::tcp(INTERFACE_MAC, [203, 0, 113, 5]))?.verdict, Verdict::Pass);
    kernel.set(key(51, 0), router(Router::ROLE_BACKUP))?;
    assert_eq!(kernel.receive(&to_vip)?.verdict, Verdict::Pass, "a Backup may forward it");
    Ok(())
}

#[test]
fn an_address_of_several_virtual_routers_is_served_while_one_of_them_has_a_lease() -> Result<()> {
    let mut kernel = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
    let mut there = key(51, 0);
    there.ifindex += 1;
    kernel.add(there, Router { slot: 1, ..router(Router::ROLE_ACTIVE) }, VIP)?;
    kernel.share(key(51, 0), 0, VIP, 0)?;
    kernel.share(there, 1, VIP, 1)?;
    let to_vip = frames::tcp(HERE, VIP);
    for (first, second, expected) in [
        (Lease::UNLIMITED, Lease::UNLIMITED, Verdict::Pass),
        (Lease::ENDED, Lease::UNLIMITED, Verdict::Pass),
        (Lease::UNLIMITED, Lease::ENDED, Verdict::Pass),
        (Lease::ENDED, Lease::ENDED, Verdict::Drop),
    ] {
        kernel.set_lease(0, first);
        kernel.set_lease(1, second);
        assert_eq!(kernel.receive_elsewhere(&to_vip)?.verdict, expected, "leases until {first} and {second}");
    }
    kernel.set(key(51, 0), router(Router::ROLE_BACKUP))?;
    kernel.set_lease(1, Lease::ENDED);
    assert_eq!(kernel.receive_elsewhere(&to_vip)?.verdict, Verdict::Drop, "a Backup does not serve the address");
    Ok(())
}

#[test]
fn an_advert_that_wins_closes_the_fence_at_once() -> Result<()> {
    let mut kernel = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
    kernel.set_lease(0, now() + 10_000_000_000);
    let to_vip = frames::tcp(HERE, VIP);
    for _ in 0..2 {
        assert_eq!(kernel.receive_elsewhere(&to_vip)?.verdict, Verdict::Pass);
    }
    kernel.receive(&emit(&AdvertFrame { priority: Priority::new(200), ..advert() }))?;
    assert_eq!(kernel.receive_elsewhere(&to_vip)?.verdict, Verdict::Drop);
    Ok(())
}
