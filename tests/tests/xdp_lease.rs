//! The lease in the kernel half: past its end a router is silent, whatever its role says.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use xvrrp_common::abi::{Counter, Lease, Router};
use xvrrp_common::units::{MacAddress, Priority};
use xvrrp_common::wire::arp::{self, Arp};
use xvrrp_common::wire::vrrp::AdvertFrame;
use xvrrp_tests::frames::{self, advert, emit};
use xvrrp_tests::kernel_half::{KernelHalf, Verdict, key, router, virtual_mac};

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

/// What this host's own stack sends for the virtual address.
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
    xvrrp::clock::now().as_nanos()
}

#[test]
fn an_active_router_without_a_lease_is_silent() -> Result<()> {
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
fn a_lease_serves_until_it_ends_and_not_longer() -> Result<()> {
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
            // The tick counter stands for the clock, and is never further than the end of the lease.
            Verdict::Pass => {
                assert!(before < until, "admitted {} ns after the end", before - until);
                admitted += 1;
            }
            _ => {
                assert!(after >= until, "dropped {} ns before the end", until - after);
                break;
            }
        }
        assert!(start.elapsed() < length * 20, "it never ends");
        thread::sleep(Duration::from_micros(200));
    }
    assert!(admitted > 20, "only {admitted} frames were admitted");
    assert_eq!(kernel.receive(&request())?.verdict, Verdict::Drop);
    Ok(())
}

#[test]
fn a_renewed_lease_goes_on_and_one_that_ended_is_not_remembered() -> Result<()> {
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
fn the_advert_that_wins_ends_the_lease_at_once() -> Result<()> {
    // Ours: priority 100, 192.0.2.3. RFC 9568 6.4.3 (conformance 46)
    let from = |priority, source| emit(&AdvertFrame { priority: Priority::new(priority), source, ..advert() });
    let cases = [
        ("a lower priority", from(99, [192, 0, 2, 9]), false),
        ("ours from a lower address", from(100, [192, 0, 2, 2]), false),
        ("ours from a higher address", from(100, [192, 0, 2, 9]), true),
        ("ours from an address that is higher as a number without sign", from(100, [200, 0, 2, 1]), true),
        ("a higher priority", from(101, [192, 0, 2, 2]), true),
        ("the owner", from(255, [192, 0, 2, 2]), true),
        ("a release", from(0, [192, 0, 2, 9]), false),
    ];
    for (name, frame, wins) in cases {
        let mut kernel = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
        kernel.set_lease(0, now() + 10_000_000_000);
        let heard = kernel.receive(&frame)?;
        assert_eq!(heard.events.len(), 1, "{name}: the agent is told");
        assert_eq!(kernel.lease(0) == Lease::ENDED, wins, "{name}");
        let served = kernel.receive(&frames::tcp(virtual_mac(), [203, 0, 113, 5]))?.verdict == Verdict::Pass;
        assert_eq!(served, !wins, "{name}");
    }
    let mut backup = KernelHalf::with(router(Router::ROLE_BACKUP))?;
    backup.receive(&from(255, [192, 0, 2, 9]))?;
    assert_eq!(backup.lease(0), Lease::UNLIMITED, "a Backup has none to lose");
    let mut alone = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
    alone.receive(&from(255, [192, 0, 2, 9]))?;
    assert_eq!(alone.lease(0), Lease::UNLIMITED, "nobody would give it another one");
    Ok(())
}

#[test]
fn without_a_virtual_mac_packets_to_the_address_are_dropped_past_the_lease() -> Result<()> {
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
