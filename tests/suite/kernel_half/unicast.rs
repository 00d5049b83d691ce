//! Unicast adverts: from which peers and with which TTL the XDP program accepts them.

use super::fixture::{dropped, passes};
use anyhow::Result;
use xvrrp_common::abi::{Counter, Router};
use xvrrp_common::units::{MacAddress, Priority, Version, Vrid};
use xvrrp_common::wire::vrrp::{AdvertFrame, IpAddress};
use xvrrp_lab::kernel_half::{KernelHalf, Verdict, key, key_ipv6, router, router_ipv6, virtual_mac, virtual_mac_ipv6};
use xvrrp_lab::traffic::frames::{self, MESSAGE, advert, emit, emit_unicast};

const INTERFACE_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 3]);
const ROUTED: [u8; 4] = [203, 0, 113, 7];
const TTL: usize = 8;
const LINK_LOCAL_VIP: [u8; 16] = link_local(0x33);

const fn link_local(last: u8) -> [u8; 16] {
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

fn unicast(router: Router) -> Router {
    Router { flags: Router::VIRTUAL_MAC | Router::PREEMPT | Router::RESTRICT_SOURCES | Router::UNICAST, ..router }
}

/// Loads a kernel half with a virtual router in this role on 192.0.2.3, with one peer on the link and one behind a
/// router.
fn kernel(role: u8) -> Result<KernelHalf> {
    let mut kernel = KernelHalf::with(unicast(router(role)))?;
    kernel.allow_source(key(51, 0), [192, 0, 2, 2], 255)?;
    kernel.allow_source(key(51, 0), ROUTED, 254)?;
    Ok(kernel)
}

fn to_us(advert: &AdvertFrame<'_>) -> Vec<u8> {
    emit_unicast(advert, [192, 0, 2, 3], INTERFACE_MAC)
}

fn from(source: [u8; 4]) -> AdvertFrame<'static> {
    AdvertFrame { source, ..advert() }
}

#[test]
fn adverts_of_a_peer_are_accepted_with_its_minimum_ttl_or_more() -> Result<()> {
    // RFC 9568 5.1.1.3 demands 255. The configuration can lower that for a peer.
    let mut kernel = kernel(Router::ROLE_INITIALIZE)?;
    let (near, far) = (to_us(&advert()), to_us(&from(ROUTED)));
    let with_ttl = |frame: &[u8], ttl| frames::with_ip_byte(frame, TTL, ttl);
    for fixture in [
        dropped("a peer on the link", near.clone(), Counter::AdvertAccepted),
        dropped("a peer on the link, with a lower TTL", with_ttl(&near, 254), Counter::AdvertTimeToLive),
        dropped("a peer behind a router", with_ttl(&far, 254), Counter::AdvertAccepted),
        dropped("the same peer, on the link", far.clone(), Counter::AdvertAccepted),
        dropped("the same peer, behind two routers", with_ttl(&far, 253), Counter::AdvertTimeToLive),
        dropped("with padding", frames::padded(&near), Counter::AdvertAccepted),
        dropped("with a priority tag", frames::tagged(&near, 0x8100, 0), Counter::AdvertAccepted),
        dropped("a first fragment", frames::with_ip_byte(&near, 6, 0x20), Counter::AdvertFragment),
    ] {
        fixture.check_ingress(&mut kernel);
    }
    Ok(())
}

#[test]
fn adverts_of_others_and_to_others_are_not_accepted() -> Result<()> {
    let mut kernel = kernel(Router::ROLE_INITIALIZE)?;
    let near = to_us(&advert());
    let other_vrid = AdvertFrame { vrid: Vrid::new(52).expect("not zero"), ..advert() };
    for fixture in [
        dropped("a stranger", to_us(&from([192, 0, 2, 9])), Counter::AdvertForbiddenSource),
        dropped("our own address", to_us(&from([192, 0, 2, 3])), Counter::AdvertForbiddenSource),
        dropped("to the group", emit(&advert()), Counter::AdvertMulticast),
        dropped("to the group, from a stranger", emit(&from([192, 0, 2, 9])), Counter::AdvertMulticast),
        dropped("a flipped bit", frames::with_byte(&near, MESSAGE + 2, 1), Counter::AdvertChecksum),
        passes("to another address of ours", emit_unicast(&advert(), [192, 0, 2, 4], INTERFACE_MAC)),
        passes("to a virtual address", emit_unicast(&advert(), [192, 0, 2, 1], INTERFACE_MAC)),
        passes("of another VRID", to_us(&other_vrid)),
        passes("without a VRID", near[..=MESSAGE].to_vec()),
        passes("a later fragment", frames::with_ip_byte(&near, 7, 1)),
        passes("on another VLAN", frames::tagged(&near, 0x8100, 7)),
    ] {
        fixture.check_ingress(&mut kernel);
    }
    Ok(())
}

#[test]
fn a_virtual_router_without_peers_accepts_no_unicast_adverts() -> Result<()> {
    for restricted in [0, Router::RESTRICT_SOURCES] {
        let multicast = router(Router::ROLE_BACKUP);
        let mut kernel = KernelHalf::with(Router { flags: multicast.flags | restricted, ..multicast })?;
        kernel.allow_source(key(51, 0), [192, 0, 2, 2], 255)?;
        passes("by unicast", to_us(&advert())).check_ingress(&mut kernel);
        assert_eq!(kernel.heard(0).latest.received_at, 0, "an advert was recorded");
    }
    Ok(())
}

#[test]
fn unicast_adverts_need_the_configured_checksum_and_password() -> Result<()> {
    // RFC 9568 5.2.8, RFC 5798 5.2.8: the pseudo-header contains the unicast destination. RFC 2338 5.3.6: the password.
    let password = *b"s3cret\0\0";
    let v3 = |pseudo_header_checksum| to_us(&AdvertFrame { pseudo_header_checksum, ..advert() });
    let v2 = |password| to_us(&AdvertFrame { version: Version::V2, password, ..advert() });
    let checksum = |checksum| unicast(Router { checksum, ..router(Router::ROLE_INITIALIZE) });
    let version_2 = Router { version: 2, ..unicast(router(Router::ROLE_INITIALIZE)) };
    let secret = Router { auth_type: 1, auth_data: password, ..version_2 };
    for (description, router, frame, counter) in [
        ("auto, pseudo-header", checksum(Router::CHECKSUM_AUTO), v3(true), Counter::AdvertAccepted),
        ("auto, plain", checksum(Router::CHECKSUM_AUTO), v3(false), Counter::AdvertAccepted),
        ("pseudo-header", checksum(Router::CHECKSUM_PSEUDO_HEADER), v3(true), Counter::AdvertAccepted),
        ("not pseudo-header", checksum(Router::CHECKSUM_PSEUDO_HEADER), v3(false), Counter::AdvertChecksum),
        ("plain", checksum(Router::CHECKSUM_PLAIN), v3(false), Counter::AdvertAccepted),
        ("not plain", checksum(Router::CHECKSUM_PLAIN), v3(true), Counter::AdvertChecksum),
        ("version 2", version_2, v2(None), Counter::AdvertAccepted),
        ("a password", secret, v2(Some(password)), Counter::AdvertAccepted),
        ("no password", secret, v2(None), Counter::AdvertAuthentication),
    ] {
        let mut kernel = KernelHalf::with(router)?;
        kernel.allow_source(key(51, 0), [192, 0, 2, 2], 255)?;
        dropped(description, frame, counter).check_ingress(&mut kernel);
    }
    Ok(())
}

#[test]
fn a_unicast_advert_that_wins_ends_the_lease() -> Result<()> {
    // RFC 9568 6.4.3 (conformance 46)
    for (priority, wins) in [(101, true), (99, false)] {
        let mut kernel = kernel(Router::ROLE_ACTIVE)?;
        let until = u64::MAX - 1;
        kernel.set_lease(0, until);
        let frame = to_us(&AdvertFrame { priority: Priority::new(priority), ..from(ROUTED) });
        assert_eq!(kernel.receive(&frame)?.events.len(), 1, "events at priority {priority}");
        assert_eq!(kernel.lease(0) != until, wins, "priority {priority}");
    }
    Ok(())
}

#[test]
fn an_advert_to_the_virtual_mac_is_accepted_only_while_the_virtual_mac_is_served() -> Result<()> {
    let frame = emit_unicast(&advert(), [192, 0, 2, 3], virtual_mac());
    let mut active = kernel(Router::ROLE_ACTIVE)?;
    let outcome = active.receive(&frame)?;
    assert_eq!(outcome.verdict, Verdict::Drop);
    assert!(outcome.counted.iter().any(|(_, counter)| *counter == Counter::AdvertAccepted), "{:?}", outcome.counted);
    dropped("on a Backup", frame, Counter::VirtualMacDropped).check_ingress(&mut kernel(Router::ROLE_BACKUP)?);
    Ok(())
}

#[test]
fn over_ipv6_adverts_are_accepted_from_peers_with_their_minimum_hop_limit_or_more() -> Result<()> {
    // RFC 9568 5.1.2.3
    let mut kernel = KernelHalf::load()?;
    kernel.add(key_ipv6(51, 0), unicast(router_ipv6(Router::ROLE_INITIALIZE)), LINK_LOCAL_VIP)?;
    kernel.allow_source(key_ipv6(51, 0), link_local(2), 255)?;
    kernel.allow_source(key_ipv6(51, 0), link_local(4), 254)?;
    let from = |source| AdvertFrame::<[u8; 16]> {
        source_mac: virtual_mac_ipv6(),
        source,
        version: Version::V3,
        vrid: Vrid::new(51).expect("not zero"),
        priority: Priority::new(200),
        interval: advert().interval,
        addresses: &[LINK_LOCAL_VIP],
        pseudo_header_checksum: true,
        password: None,
    };
    let to_us = |source| emit_unicast(&from(source), link_local(3), INTERFACE_MAC);
    let with_hop_limit = |frame: &[u8], limit| frames::with_byte(frame, 14 + 7, limit);
    for fixture in [
        dropped("a peer on the link", to_us(link_local(2)), Counter::AdvertAccepted),
        dropped(
            "a peer on the link, with a lower hop limit",
            with_hop_limit(&to_us(link_local(2)), 254),
            Counter::AdvertTimeToLive,
        ),
        dropped("a peer behind a router", with_hop_limit(&to_us(link_local(4)), 254), Counter::AdvertAccepted),
        dropped(
            "the same peer, behind two routers",
            with_hop_limit(&to_us(link_local(4)), 253),
            Counter::AdvertTimeToLive,
        ),
        dropped("a stranger", to_us(link_local(9)), Counter::AdvertForbiddenSource),
        dropped("to the group", emit(&from(link_local(2))), Counter::AdvertMulticast),
        passes("to another address", emit_unicast(&from(link_local(2)), link_local(5), INTERFACE_MAC)),
    ] {
        fixture.check_ingress(&mut kernel);
    }
    assert_eq!(<[u8; 16]>::narrow(kernel.heard(0).latest.source), link_local(4));
    Ok(())
}
