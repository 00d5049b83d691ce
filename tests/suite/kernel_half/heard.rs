//! What the XDP program records of the adverts that it accepts, and what it reports to the agent.

use super::fixture::{NO_ROUTER, ROUTER};
use anyhow::Result;
use xvrrp_common::abi::{AdvertEvent, Counter, Heard, HeardAdvert, Router, ipv4_address};
use xvrrp_common::units::{Interval, Priority, Version};
use xvrrp_common::wire::vrrp::{self, AdvertFrame};
use xvrrp_lab::kernel_half::{KernelHalf, Verdict, key, router};
use xvrrp_lab::traffic::frames::{self, advert, emit};

/// Our priority in [`router`].
const OURS: u8 = 100;

fn from(priority: u8) -> AdvertFrame<'static> {
    AdvertFrame { priority: Priority::new(priority), interval: Interval::from_centiseconds(20), ..advert() }
}

fn now() -> Result<u64> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)?;
    Ok(u64::try_from(now.tv_sec())? * 1_000_000_000 + u64::try_from(now.tv_nsec())?)
}

#[test]
fn the_latest_advert_is_recorded_completely() -> Result<()> {
    for (role, version, interval) in [
        (Router::ROLE_INITIALIZE, Version::V3, Interval::from_centiseconds(20)),
        (Router::ROLE_BACKUP, Version::V3, Interval::from_centiseconds(20)),
        (Router::ROLE_ACTIVE, Version::V3, Interval::from_centiseconds(20)),
        (Router::ROLE_BACKUP, Version::V2, Interval::from_seconds(1)),
    ] {
        let mut kernel = KernelHalf::with(Router { version: version as u8, slot: 5, ..router(role) })?;
        let addresses = frames::addresses(9);
        let before = now()?;
        kernel.receive(&emit(&AdvertFrame { version, interval, addresses: &addresses, ..from(7) }))?;
        let latest = kernel.heard(5).latest;
        let after = now()?;
        assert!((before..=after).contains(&latest.received_at), "{} is not in {before}..={after}", latest.received_at);
        let expected = HeardAdvert {
            received_at: latest.received_at,
            interval: interval.as_nanos(),
            source: ipv4_address([192, 0, 2, 2]),
            address_sum: vrrp::address_sum(&addresses),
            address_count: 9,
            priority: 7,
            version: version as u8,
            checksum: match version {
                Version::V2 => Router::CHECKSUM_PLAIN,
                Version::V3 => Router::CHECKSUM_PSEUDO_HEADER,
            },
            term: 0,
            reserved: 0,
        };
        assert_eq!(latest, expected);
        assert_eq!(kernel.heard(0), Heard::default(), "another virtual router's entry");
    }
    Ok(())
}

#[test]
fn a_backups_timer_is_restarted_as_the_rfc_demands_and_never_in_another_role() -> Result<()> {
    // RFC 9568 6.4.2 (conformance 34, 35)
    for (role, preempts, priority, restarts) in [
        (Router::ROLE_BACKUP, true, OURS - 1, false),
        (Router::ROLE_BACKUP, true, OURS, true),
        (Router::ROLE_BACKUP, true, OURS + 1, true),
        (Router::ROLE_BACKUP, true, 255, true),
        (Router::ROLE_BACKUP, true, 0, false),
        (Router::ROLE_BACKUP, false, 1, true),
        (Router::ROLE_BACKUP, false, OURS - 1, true),
        (Router::ROLE_BACKUP, false, OURS, true),
        (Router::ROLE_BACKUP, false, OURS + 1, true),
        (Router::ROLE_BACKUP, false, 0, false),
        (Router::ROLE_INITIALIZE, true, OURS + 1, false),
        (Router::ROLE_INITIALIZE, false, OURS + 1, false),
        (Router::ROLE_ACTIVE, true, OURS + 1, false),
        (Router::ROLE_ACTIVE, false, OURS + 1, false),
    ] {
        let flags = if preempts { Router::PREEMPT } else { 0 };
        let mut kernel = KernelHalf::with(Router { flags, ..router(role) })?;
        kernel.receive(&emit(&from(priority)))?;
        let heard = kernel.heard(0);
        let expected = if restarts { (heard.latest.received_at, 200_000_000) } else { (0, 0) };
        assert_eq!(
            (heard.restarted_at, heard.restart_interval),
            expected,
            "role {role}, preempts {preempts}, priority {priority}"
        );
    }
    Ok(())
}

#[test]
fn a_lower_priority_does_not_change_the_stamp_of_a_higher_one() -> Result<()> {
    // RFC 9568 6.4.2: adverts of a lower priority must not keep a preempting Backup from taking over.
    let mut kernel = KernelHalf::with(router(Router::ROLE_BACKUP))?;
    kernel.receive(&emit(&from(200)))?;
    let first = kernel.heard(0);
    kernel.receive(&emit(&from(50)))?;
    let second = kernel.heard(0);
    assert_eq!((second.restarted_at, second.restart_interval), (first.restarted_at, first.restart_interval));
    assert_eq!(second.latest.priority, 50);
    assert!(second.latest.received_at > first.latest.received_at);
    Ok(())
}

#[test]
fn only_changed_adverts_are_reported_to_a_backup() -> Result<()> {
    let mut kernel = KernelHalf::with(Router { slot: 3, ..router(Router::ROLE_BACKUP) })?;
    let steady = from(200);
    let two = frames::addresses(2);
    for (description, frame) in [
        ("the first", steady),
        ("another priority", from(201)),
        ("another source", AdvertFrame { source: [192, 0, 2, 7], ..steady }),
        ("another interval", AdvertFrame { interval: Interval::from_centiseconds(21), ..steady }),
        ("another address", AdvertFrame { addresses: &[[192, 0, 2, 8]], ..steady }),
        ("another number of addresses", AdvertFrame { addresses: &two, ..steady }),
        ("another form of the checksum", AdvertFrame { pseudo_header_checksum: false, ..steady }),
        ("a lower priority", from(50)),
    ] {
        let outcome = kernel.receive(&emit(&frame))?;
        let event = AdvertEvent { router: key(51, 0), slot: 3, reserved: 0, advert: kernel.heard(3).latest };
        assert_eq!(outcome.events, [event], "{description}");
        for _ in 0..3 {
            let outcome = kernel.receive(&emit(&frame))?;
            assert_eq!(outcome.counted, [(4, Counter::AdvertAccepted)], "{description}, again");
            assert_eq!(outcome.events, [], "{description}, again");
        }
    }
    Ok(())
}

#[test]
fn the_first_advert_after_a_change_of_role_is_reported_to_a_backup_that_knows_its_sender() -> Result<()> {
    let backup = router(Router::ROLE_BACKUP);
    let mut kernel = KernelHalf::with(backup)?;
    for term in [0, 1, 2, 0] {
        kernel.set(key(51, 0), Router { term, ..backup })?;
        let first = kernel.receive(&emit(&from(200)))?;
        assert_eq!(first.events.len(), 1, "events of the first advert in term {term}");
        assert_eq!((first.events[0].advert, first.events[0].advert.term), (kernel.heard(0).latest, term));
        assert_eq!(kernel.receive(&emit(&from(200)))?.events, [], "events of the second advert in term {term}");
    }
    Ok(())
}

#[test]
fn a_release_is_reported_and_counted_each_time() -> Result<()> {
    // RFC 9568 6.4.2, 6.4.3
    for role in [Router::ROLE_BACKUP, Router::ROLE_ACTIVE] {
        let mut kernel = KernelHalf::with(router(role))?;
        for _ in 0..3 {
            let outcome = kernel.receive(&emit(&from(0)))?;
            assert_eq!(outcome.counted, [(ROUTER, Counter::AdvertAccepted), (ROUTER, Counter::AdvertRelease)]);
            assert_eq!(outcome.events.len(), 1, "events in role {role}");
            assert_eq!(outcome.events[0].advert.priority, 0);
        }
    }
    Ok(())
}

#[test]
fn every_advert_is_reported_to_an_active_router() -> Result<()> {
    // RFC 9568 6.4.3: an Active router acts on each advert.
    let mut kernel = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
    for priority in [OURS - 1, OURS - 1, OURS, OURS, OURS + 1, OURS + 1] {
        let outcome = kernel.receive(&emit(&from(priority)))?;
        assert_eq!(outcome.events.len(), 1, "events at priority {priority}");
        assert_eq!(outcome.events[0].advert, kernel.heard(0).latest);
        assert_eq!(outcome.events[0].advert.priority, priority);
    }
    Ok(())
}

#[test]
fn no_advert_is_reported_to_a_router_without_a_role() -> Result<()> {
    let mut kernel = KernelHalf::with(router(Router::ROLE_INITIALIZE))?;
    for priority in [0, OURS, 255] {
        assert_eq!(kernel.receive(&emit(&from(priority)))?.events, []);
        assert_eq!(kernel.heard(0).latest.priority, priority);
    }
    Ok(())
}

#[test]
fn a_discarded_advert_leaves_no_trace() -> Result<()> {
    let mut kernel = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
    kernel.receive(&emit(&from(200)))?;
    let before = kernel.heard(0);
    let outcome = kernel.receive(&frames::with_ip_byte(&emit(&from(255)), 8, 254))?;
    assert_eq!(outcome.events, []);
    assert_eq!(kernel.heard(0), before);
    Ok(())
}

#[test]
fn a_full_ring_buffer_loses_events_but_not_the_latest_advert() -> Result<()> {
    let mut kernel = KernelHalf::with(router(Router::ROLE_ACTIVE))?;
    let frame = emit(&from(200));
    // These are more than 128 KiB of events, and none is read in the meantime.
    kernel.nanoseconds(&frame, 5_000)?;
    let before = kernel.heard(0).latest.received_at;
    let counted = kernel.count(ROUTER, Counter::EventLost)?;
    assert!(counted > 0, "no event was lost");
    assert_eq!(kernel.count(ROUTER, Counter::AdvertAccepted)?, 5_000);
    let outcome = kernel.receive(&frame)?;
    assert_eq!(outcome.counted, [(ROUTER, Counter::AdvertAccepted), (ROUTER, Counter::EventLost)]);
    assert_eq!(u64::try_from(outcome.events.len())?, 5_000 - counted);
    assert!(kernel.heard(0).latest.received_at > before, "the latest advert was not recorded");
    assert_eq!(kernel.receive(&frame)?.events.len(), 1, "there is room again");
    Ok(())
}

#[test]
fn a_slot_beyond_the_maps_is_counted_for_no_virtual_router() -> Result<()> {
    let beyond = Router { slot: 1_000, ..router(Router::ROLE_BACKUP) };
    let mut kernel = KernelHalf::with(beyond)?;
    for _ in 0..2 {
        let outcome = kernel.receive(&emit(&from(200)))?;
        assert_eq!(outcome.verdict, Verdict::Pass);
        assert_eq!(outcome.counted, [(NO_ROUTER, Counter::AdvertUnknownVrid), (NO_ROUTER, Counter::MissingSlot)]);
        assert_eq!(outcome.events, []);
    }
    Ok(())
}
