//! The kernel half of xvrrp: an XDP program for frames that arrive, a TC program for frames that leave, and another TC
//! program, the fence, for packets that arrive on interfaces without a virtual router.
//!
//! The cheapest exit comes first. Most frames are not addressed to a virtual MAC and carry neither ARP, Neighbor
//! Discovery nor VRRP; they pass without a look-up in any map but the settings. The programs fail open: they pass
//! whatever they do not understand. The exception is that they never answer for a virtual address without the role.

// The host compiles this crate as an empty program, for the lints only.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod accept;
mod advert;
mod arp;
mod barrier;
mod clock;
mod cursor;
mod egress;
mod fence;
mod heard;
mod lease;
mod maps;
mod monitor;
mod nd;
mod resolution;
mod router;
mod verdict;
mod vmac;

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use cursor::{Frame, Network, Skb};
use verdict::{TcVerdict, XdpVerdict};
use xvrrp_common::units::Family;
use xvrrp_common::wire::{Truncated, ethernet, icmpv6, ipv4, ipv6, vrrp};

// User space knows this name as `abi::program::INGRESS`.
#[xdp]
// A function of its own would take another 32 bytes of stack, which kernels before 6.4 do not have.
#[inline(always)]
pub fn xvrrp_ingress(context: XdpContext) -> u32 {
    match ingress(&mut Frame::new(&context)) {
        Ok(XdpVerdict::Pass) | Err(Truncated) => xdp_action::XDP_PASS,
        Ok(XdpVerdict::Drop) => xdp_action::XDP_DROP,
        Ok(XdpVerdict::Transmit) => xdp_action::XDP_TX,
    }
}

// User space knows this name as `abi::program::EGRESS`.
#[classifier]
pub fn xvrrp_egress(context: TcContext) -> i32 {
    match egress::handle(&mut Skb::new(&context)) {
        Ok(TcVerdict::Pass) | Err(Truncated) => TC_ACT_OK,
        Ok(TcVerdict::Drop) => TC_ACT_SHOT,
    }
}

// User space knows this name as `abi::program::FENCE`. Packets that it does not drop continue to the next program on
// the interface, as if this one were not attached (`TC_ACT_UNSPEC`).
#[classifier]
pub fn xvrrp_fence(context: TcContext) -> i32 {
    match fence::handle(&Network::new(&context)) {
        Ok(TcVerdict::Pass) | Err(Truncated) => TC_ACT_UNSPEC,
        Ok(TcVerdict::Drop) => TC_ACT_SHOT,
    }
}

#[inline(always)]
fn ingress(frame: &mut Frame) -> Result<XdpVerdict, Truncated> {
    let destination = ethernet::destination(frame)?;
    let header = ethernet::Header::decode(frame)?;
    let mut accept = accept::Rule::BySettings;
    if let Some((family, vrid)) = destination.virtual_router() {
        match vmac::admit(frame, &header, family, vrid)? {
            vmac::Admission::NotOurs => return Ok(XdpVerdict::Pass),
            vmac::Admission::Refused => return Ok(XdpVerdict::Drop),
            vmac::Admission::Admitted(rule) => accept = rule,
        }
    }
    match header.ether_type {
        ethernet::TYPE_IPV4 => {
            if ipv4::protocol(frame, header.payload)? == vrrp::PROTOCOL {
                return Ok(advert::handle_ipv4(frame, &header));
            }
            accept::handle(frame, &header, Family::Ipv4, accept)
        }
        ethernet::TYPE_IPV6 => match ipv6::next_header(frame, header.payload)? {
            vrrp::PROTOCOL => Ok(advert::handle_ipv6(frame, &header)),
            // RFC 9568 6.1: "IPv6 Neighbor Solicitations and Neighbor Advertisements MUST NOT be dropped when
            // Accept_Mode is False."
            icmpv6::NEXT_HEADER if icmpv6::is_neighbor(frame, header.payload + ipv6::HEADER)? => {
                nd::handle(frame, &header)
            }
            _ => accept::handle(frame, &header, Family::Ipv6, accept),
        },
        ethernet::TYPE_ARP => arp::handle(frame, &header),
        _ => Ok(XdpVerdict::Pass),
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier would reject a program that can reach this loop.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
