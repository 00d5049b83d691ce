//! Checks the order on the hosts when there is no fault: every address of every virtual router must be on the Active
//! router and nowhere else, and every virtual MAC must be in the unicast filter of each router.

use std::net::Ipv4Addr;

use anyhow::Result;
use xvrrp_common::units::{MacAddress, Vrid};

use super::place::{OTHERS, VRID};
use xvrrp_lab::{INTERFACE, Lab, Namespace, Segments, VIP};

/// Returns the virtual MAC of a VRID (RFC 9568 7.3).
pub fn virtual_mac(vrid: u8) -> MacAddress {
    Vrid::new(vrid).map_or(MacAddress::BROADCAST, MacAddress::virtual_ipv4)
}

pub fn has_address(host: &Namespace, address: Ipv4Addr) -> Result<bool> {
    Ok(addresses(host)?.contains(&format!(" {address}/")))
}

/// Returns the Active router, or a description of what is not in order.
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
            (_, [(_, address), ..]) => {
                return Ok(Err(format!("router {number} has some virtual addresses, but not {address}")));
            }
            ([(_, address), ..], []) => {
                return Ok(Err(format!("router {number} has {address}, which another router has too")));
            }
        }
    }
    Ok(active.ok_or_else(|| "no router has the virtual addresses".to_owned()))
}

/// Returns the VRIDs and addresses of all virtual routers.
fn virtual_routers() -> impl Iterator<Item = (u8, Ipv4Addr)> {
    OTHERS.each().map(|(interface, vrid)| (vrid, Segments::vip(interface, vrid))).chain([(VRID, VIP)])
}

/// Returns the list of addresses that ip(8) prints.
fn addresses(host: &Namespace) -> Result<String> {
    host.ip(&format!("-4 -o addr show dev {INTERFACE}"))
}
