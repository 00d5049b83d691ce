//! Which adverts the XDP program accepts, and why it discards the others.

use super::fixture::{NO_ROUTER, ROUTER, dropped, passes, passes_counted};
use anyhow::Result;
use xvrrp_common::abi::{Counter, Router, ipv4_address};
use xvrrp_common::units::{Interval, MacAddress, Version, Vrid};
use xvrrp_common::wire::vrrp::AdvertFrame;
use xvrrp_lab::kernel_half::{KernelHalf, Verdict, key, router};
use xvrrp_lab::traffic::frames::{self, MESSAGE, advert, emit, set_total_length};

/// Neither Active nor Backup, so that no advert is reported as an event.
const ROLE: u8 = Router::ROLE_INITIALIZE;

fn version_2() -> Router {
    Router { version: Version::V2 as u8, ..router(ROLE) }
}

fn advert_2() -> AdvertFrame<'static> {
    AdvertFrame { version: Version::V2, ..advert() }
}

fn plain() -> Vec<u8> {
    emit(&AdvertFrame { pseudo_header_checksum: false, ..advert() })
}

#[track_caller]
fn accepted(kernel: &mut KernelHalf, description: &str, frame: &[u8]) {
    let outcome = kernel.receive(frame).expect("a test run");
    assert_eq!(outcome.counted, [(ROUTER, Counter::AdvertAccepted)], "{description}");
    assert_eq!(outcome.verdict, Verdict::Drop, "{description}: verdict");
    assert_eq!(outcome.frame, frame, "{description}: frame");
}

#[test]
fn valid_adverts_of_both_versions_are_consumed() -> Result<()> {
    // RFC 9568 5.1, RFC 3768 5.1
    for (router, template) in [(router(ROLE), advert()), (version_2(), advert_2())] {
        let mut kernel = KernelHalf::with(router)?;
        for count in [1, 2, 3, 16, 20, 127, 128, 255] {
            let addresses = frames::addresses(count);
            let frame = emit(&AdvertFrame { addresses: &addresses, ..template });
            accepted(&mut kernel, &format!("{count} addresses"), &frame);
            assert_eq!(kernel.heard(0).latest.address_count, count);
            for at in [MESSAGE + 2, MESSAGE + 8, frame.len() - 1] {
                let broken = frames::with_byte(&frame, at, frame[at] ^ 1);
                dropped("a bit is flipped", broken, Counter::AdvertChecksum).check_ingress(&mut kernel);
            }
        }
    }
    Ok(())
}

#[test]
fn padding_tags_and_ip_options_change_nothing() -> Result<()> {
    // conformance 16
    for (router, template) in [(router(ROLE), advert()), (version_2(), advert_2())] {
        let mut kernel = KernelHalf::with(router)?;
        let frame = emit(&template);
        accepted(&mut kernel, "padding", &frames::padded(&frame));
        accepted(&mut kernel, "a priority tag", &frames::tagged(&frame, 0x8100, 0xe000));
        for words in 1..=10 {
            let options = [1].repeat(4 * words); // no operation (RFC 791 3.1)
            accepted(&mut kernel, "options", &frames::with_ip_options(&frame, &options));
        }
        let alert = frames::with_ip_options(&frame, &[0x94, 4, 0, 0]); // router alert (RFC 2113)
        accepted(&mut kernel, "router alert", &alert);
        accepted(&mut kernel, "router alert and a tag", &frames::tagged(&alert, 0x8100, 0));
    }
    Ok(())
}

#[test]
fn each_form_of_the_checksum_is_accepted_where_it_is_configured() -> Result<()> {
    // RFC 9568 5.2.8, RFC 5798 5.2.8 (conformance 6)
    let covered = emit(&advert());
    for (mode, accepts_covered, accepts_plain) in [
        (Router::CHECKSUM_AUTO, true, true),
        (Router::CHECKSUM_PSEUDO_HEADER, true, false),
        (Router::CHECKSUM_PLAIN, false, true),
    ] {
        let mut kernel = KernelHalf::with(Router { checksum: mode, ..router(ROLE) })?;
        for (frame, is_accepted, form) in [
            (covered.clone(), accepts_covered, Router::CHECKSUM_PSEUDO_HEADER),
            (plain(), accepts_plain, Router::CHECKSUM_PLAIN),
        ] {
            if is_accepted {
                accepted(&mut kernel, &format!("mode {mode}"), &frame);
                assert_eq!(kernel.heard(0).latest.checksum, form);
            } else {
                dropped("the other form", frame, Counter::AdvertChecksum).check_ingress(&mut kernel);
            }
        }
    }
    Ok(())
}

#[test]
fn each_error_in_version_3_is_counted_by_its_reason() -> Result<()> {
    // conformance 1, 3, 4, 5, 8, 9, 10, 11, 18
    let mut kernel = KernelHalf::with(router(ROLE))?;
    let good = emit(&advert());
    let plain = plain();
    let mut longer = [&plain[..], &[0; 4]].concat();
    set_total_length(&mut longer, |length| length + 4);
    let mut shorter = plain.clone();
    set_total_length(&mut shorter, |length| length - 4);
    let mut header_only = plain.clone();
    set_total_length(&mut header_only, |_| 20 + 7);
    let own = AdvertFrame { source: [192, 0, 2, 3], ..advert() };
    for fixture in [
        // RFC 9568 5.1.1.3
        dropped("TTL 254", frames::with_ip_byte(&good, 8, 254), Counter::AdvertTimeToLive),
        dropped("TTL 0", frames::with_ip_byte(&good, 8, 0), Counter::AdvertTimeToLive),
        dropped("a first fragment", frames::with_ip_byte(&good, 6, 0x20), Counter::AdvertFragment),
        // RFC 9568 7.1
        dropped("version 2", emit(&advert_2()), Counter::AdvertVersion),
        dropped("version 4", frames::with_message_byte(&good, 0, 0x41), Counter::AdvertVersion),
        // RFC 9568 5.2.2
        dropped("type 2", frames::with_message_byte(&good, 0, 0x32), Counter::AdvertType),
        dropped("type 0", frames::with_message_byte(&good, 0, 0x30), Counter::AdvertType),
        // RFC 9568 5.2.5, erratum 8299
        dropped("no address", frames::with_message_byte(&good, 3, 0), Counter::AdvertNoAddress),
        // RFC 9568 7.1
        dropped("more addresses than there are", frames::with_message_byte(&good, 3, 2), Counter::AdvertLength),
        dropped("more bytes than addresses", longer, Counter::AdvertLength),
        dropped("a shorter IP packet", shorter, Counter::AdvertLength),
        dropped("less than a header", header_only, Counter::AdvertLength),
        dropped("an IP packet longer than its frame", good[..good.len() - 1].to_vec(), Counter::AdvertLength),
        // RFC 9568 5.2.8
        dropped("a wrong checksum", frames::with_byte(&good, MESSAGE + 6, 0), Counter::AdvertChecksum),
        // RFC 9568 erratum 8301
        dropped("interval 0", frames::with_message_byte(&plain, 5, 0), Counter::AdvertIntervalZero),
        dropped("our own advert", emit(&own), Counter::AdvertOwnSource),
    ] {
        fixture.check_ingress(&mut kernel);
    }
    // RFC 9568 5.2.6
    accepted(&mut kernel, "reserved bits", &frames::with_message_byte(&plain, 4, 0xf0));
    Ok(())
}

#[test]
fn each_error_in_version_2_is_counted_by_its_reason() -> Result<()> {
    // conformance 1, 3, 4, 5, 6, 8, 9, 11, 17
    let mut kernel = KernelHalf::with(version_2())?;
    let good = emit(&advert_2());
    for fixture in [
        // RFC 3768 7.1
        dropped("TTL 254", frames::with_ip_byte(&good, 8, 254), Counter::AdvertTimeToLive),
        dropped("version 3", emit(&advert()), Counter::AdvertVersion),
        dropped("type 2", frames::with_message_byte(&good, 0, 0x22), Counter::AdvertType),
        dropped("no address", frames::with_message_byte(&good, 3, 0), Counter::AdvertNoAddress),
        dropped("another count", frames::with_message_byte(&good, 3, 2), Counter::AdvertLength),
        dropped("authentication data for addresses", frames::with_message_byte(&good, 3, 3), Counter::AdvertLength),
        dropped("a wrong checksum", frames::with_byte(&good, MESSAGE + 6, 0), Counter::AdvertChecksum),
        dropped("interval 0", frames::with_message_byte(&good, 5, 0), Counter::AdvertIntervalZero),
        dropped("another interval", frames::with_message_byte(&good, 5, 2), Counter::AdvertIntervalMismatch),
        dropped("a password", frames::with_message_byte(&good, 4, 1), Counter::AdvertAuthentication),
        dropped("an IP authentication header", frames::with_message_byte(&good, 4, 2), Counter::AdvertAuthentication),
    ] {
        fixture.check_ingress(&mut kernel);
    }
    let unauthenticated = frames::with_message_byte(&good, good.len() - MESSAGE - 1, 0x55);
    accepted(&mut kernel, "data without authentication is ignored", &unauthenticated);
    Ok(())
}

#[test]
fn the_password_of_version_2_must_be_ours() -> Result<()> {
    // RFC 2338 5.3.6, 5.3.10, 7.1 (conformance 17)
    let mut kernel = KernelHalf::with(Router { auth_type: 1, auth_data: *b"secret\0\0", ..version_2() })?;
    let with = |password| emit(&AdvertFrame { password, ..advert_2() });
    accepted(&mut kernel, "our password", &with(Some(*b"secret\0\0")));
    for fixture in [
        dropped("another password", with(Some(*b"secreT\0\0")), Counter::AdvertAuthentication),
        dropped("a longer password", with(Some(*b"secret\0x")), Counter::AdvertAuthentication),
        dropped("none", with(None), Counter::AdvertAuthentication),
    ] {
        fixture.check_ingress(&mut kernel);
    }
    Ok(())
}

#[test]
fn version_2_accepts_only_our_own_interval() -> Result<()> {
    // RFC 3768 7.1 (conformance 12)
    let mut kernel = KernelHalf::with(Router { advert_interval: Interval::from_seconds(3).as_nanos(), ..version_2() })?;
    let three = emit(&AdvertFrame { interval: Interval::from_seconds(3), ..advert_2() });
    accepted(&mut kernel, "three seconds", &three);
    dropped("one second", emit(&advert_2()), Counter::AdvertIntervalMismatch).check_ingress(&mut kernel);
    Ok(())
}

#[test]
fn version_3_accepts_any_interval() -> Result<()> {
    // RFC 9568 6.4.2 (conformance 12): the interval is learned, not compared.
    let mut kernel = KernelHalf::with(router(ROLE))?;
    for centiseconds in [1, 10, 0x0fff] {
        let interval = Interval::from_centiseconds(centiseconds);
        accepted(&mut kernel, "an interval", &emit(&AdvertFrame { interval, ..advert() }));
        assert_eq!(kernel.heard(0).latest.interval, interval.as_nanos());
    }
    Ok(())
}

#[test]
fn a_restricted_router_accepts_adverts_only_from_its_allowed_sources() -> Result<()> {
    let restricted = Router { flags: router(ROLE).flags | Router::RESTRICT_SOURCES, ..router(ROLE) };
    let mut kernel = KernelHalf::with(restricted)?;
    kernel.add(key(52, 0), Router { slot: 1, ..restricted }, [192, 0, 2, 4])?;
    kernel.allow_source(key(51, 0), [192, 0, 2, 2], 255)?;
    kernel.allow_source(key(52, 0), [192, 0, 2, 7], 255)?;
    accepted(&mut kernel, "an allowed source", &emit(&advert()));
    let other = AdvertFrame { source: [192, 0, 2, 7], ..advert() };
    dropped("another router's source", emit(&other), Counter::AdvertForbiddenSource).check_ingress(&mut kernel);
    let broken = frames::with_byte(&emit(&other), MESSAGE + 6, 0);
    dropped("a broken advert from it", broken, Counter::AdvertForbiddenSource).check_ingress(&mut kernel);
    let broken = frames::with_byte(&emit(&advert()), MESSAGE + 6, 0);
    dropped("a broken advert from an allowed source", broken, Counter::AdvertChecksum).check_ingress(&mut kernel);
    Ok(())
}

#[test]
fn adverts_that_are_not_ours_pass_and_are_counted_for_no_virtual_router() -> Result<()> {
    // RFC 9568 7.1 (conformance 7, 16): the VRID must be configured on the interface. Another daemon may run
    // here.
    let mut kernel = KernelHalf::with(router(ROLE))?;
    let good = emit(&advert());
    let unknown = AdvertFrame { vrid: Vrid::new(52).expect("not zero"), ..advert() };
    let mut one_byte = good.clone();
    set_total_length(&mut one_byte, |_| 21);
    let mut lying = good.clone();
    lying[16..18].copy_from_slice(&19_u16.to_be_bytes());
    let foreign = |description, frame, counter| passes_counted(description, frame, NO_ROUTER, counter);
    for fixture in [
        foreign("another VRID", emit(&unknown), Counter::AdvertUnknownVrid),
        foreign(
            "another VRID with a wrong TTL",
            frames::with_ip_byte(&emit(&unknown), 8, 1),
            Counter::AdvertUnknownVrid,
        ),
        foreign("VRID 0", frames::with_message_byte(&good, 1, 0), Counter::AdvertUnknownVrid),
        foreign("another VLAN", frames::tagged(&good, 0x8100, 7), Counter::AdvertUnknownVrid),
        foreign("a later fragment", frames::with_ip_byte(&good, 7, 1), Counter::AdvertFragment),
        foreign("no VRID", one_byte, Counter::AdvertLength),
        foreign("a wrong IP checksum", frames::with_byte(&good, 24, 0), Counter::AdvertIpHeader),
        foreign("IP version 6 in IPv4's type", frames::with_ip_byte(&good, 0, 0x65), Counter::AdvertIpHeader),
        foreign("an IP header too short", frames::with_byte(&good, 14, 0x44), Counter::AdvertIpHeader),
        foreign("an IP packet shorter than its header", lying, Counter::AdvertIpHeader),
        passes("two tags", frames::tagged(&frames::tagged(&good, 0x8100, 0), 0x8100, 0)),
        passes("a service tag", frames::tagged(&good, 0x88a8, 0)),
        passes("another group", frames::with_ip_byte(&good, 19, 19)),
        passes(
            "a unicast advert",
            frames::ipv4(MacAddress([2, 0, 0, 0, 0, 3]), 255, 112, [192, 0, 2, 3], &good[MESSAGE..]),
        ),
        passes("another protocol", frames::with_ip_byte(&good, 9, 89)),
    ] {
        fixture.check_ingress(&mut kernel);
    }
    Ok(())
}

#[test]
fn a_vlan_is_a_separate_network() -> Result<()> {
    let mut kernel = KernelHalf::load()?;
    kernel.add(key(51, 7), router(ROLE), [192, 0, 2, 1])?;
    let good = emit(&advert());
    accepted(&mut kernel, "on our VLAN", &frames::tagged(&good, 0x8100, 0xe007));
    for frame in [good.clone(), frames::tagged(&good, 0x8100, 8)] {
        passes_counted("elsewhere", frame, NO_ROUTER, Counter::AdvertUnknownVrid).check_ingress(&mut kernel);
    }
    Ok(())
}

#[test]
fn an_advert_that_is_cut_off_anywhere_is_never_accepted() -> Result<()> {
    // conformance 5, 16
    // BPF_PROG_TEST_RUN refuses less than an Ethernet header.
    let addresses = frames::addresses(3);
    for (router, template) in [(router(ROLE), advert()), (version_2(), advert_2())] {
        let mut kernel = KernelHalf::with(router)?;
        let frame = emit(&AdvertFrame { addresses: &addresses, ..template });
        let with_options = frames::with_ip_options(&frame, &[0x94, 4, 0, 0, 1, 1, 1, 1]);
        let tagged = frames::tagged(&frame, 0x8100, 0);
        for whole in [frame, with_options, tagged] {
            for end in 14..whole.len() {
                let outcome = kernel.receive(&whole[..end])?;
                assert_eq!(outcome.frame, &whole[..end], "{end} bytes");
                match (outcome.verdict, outcome.counted.as_slice()) {
                    (Verdict::Pass, [] | [(NO_ROUTER, Counter::AdvertLength)]) => {}
                    (Verdict::Drop, [(ROUTER, Counter::AdvertLength)]) => {}
                    other => panic!("{end} of {} bytes: {other:?}", whole.len()),
                }
            }
        }
        assert_eq!(kernel.heard(0).latest.received_at, 0, "an advert was recorded");
    }
    Ok(())
}

#[test]
fn ordinary_traffic_passes_uncounted() -> Result<()> {
    let mut kernel = KernelHalf::with(Router { primary: ipv4_address([192, 0, 2, 3]), ..router(Router::ROLE_ACTIVE) })?;
    let mac = MacAddress([2, 0, 0, 0, 0, 3]);
    let tcp = frames::tcp(mac, [203, 0, 113, 5]);
    for fixture in [
        passes("TCP", tcp.clone()),
        passes("TCP on a VLAN", frames::tagged(&tcp, 0x8100, 7)),
        passes("a cut IPv4 header", tcp[..23].to_vec()),
        passes("a frame without a payload", tcp[..14].to_vec()),
        passes("IPv6", [&tcp[..12], &[0x86, 0xdd], &[0x60; 40]].concat()),
        passes("802.3 with a length", [&tcp[..12], &[0, 3], &[0x42; 46]].concat()),
    ] {
        fixture.check_ingress(&mut kernel);
    }
    Ok(())
}
