//! What has to be on the hosts once nothing is wrong any more: every address of every virtual router on the Active router, and
//! nowhere else; every virtual MAC in the unicast filter of each.

use std::net::Ipv4Addr;

use anyhow::Result;
use xvrrp_common::units::{MacAddress, Vrid};

use super::place::{OTHERS, VRID};
use xvrrp_lab::{INTERFACE, Lab, Namespace, Segments, VIP};

/// The virtual MAC of a VRID (RFC 9568 7.3).
pub fn virtual_mac(vrid: u8) -> MacAddress {
    Vrid::new(vrid).map_or(MacAddress::BROADCAST, MacAddress::virtual_ipv4)
}

pub fn has_address(host: &Namespace, address: Ipv4Addr) -> Result<bool> {
    Ok(addresses(host)?.contains(&format!(" {address}/")))
}

/// The Active router, or what is not in order.
pub fn active(lab: &Lab) -> Result<Result<usize, String>> {
    let mut active = None;
    for (number, router) in lab.routers.iter().enumerate() {
        let (present, filter) = (addresses(router)?, router.sh(&format!("bridge fdb show dev {INTERFACE}"))?);
        for (vrid, _) in virtual_routers() {
            let mac = virtual_mac(vrid);
            if !filter.contains(&mac.to_string()) {
                return Ok(Err(format!("{mac} is not in the unicast filter of router {number}")));
            }
        }
        let (there, missing): (Vec<_>, Vec<_>) =
            virtual_routers().partition(|(_, address)| present.contains(&format!(" {address}/")));
        match (&there[..], &missing[..]) {
            ([], _) => {}
            (_, []) if active.is_none() => active = Some(number),
            (_, [(_, address), ..]) => return Ok(Err(format!("{address} is not on router {number}, as others are"))),
            ([(_, address), ..], []) => return Ok(Err(format!("{address} is on router {number}, too"))),
        }
    }
    Ok(active.ok_or_else(|| "the virtual addresses are on no router".to_owned()))
}

/// VRIDs and addresses.
fn virtual_routers() -> impl Iterator<Item = (u8, Ipv4Addr)> {
    OTHERS.each().map(|(interface, vrid)| (vrid, Segments::vip(interface, vrid))).chain([(VRID, VIP)])
}

/// As ip(8) lists them.
fn addresses(host: &Namespace) -> Result<String> {
    host.ip(&format!("-4 -o addr show dev {INTERFACE}"))
}
