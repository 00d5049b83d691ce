//! Resources: `IPaddr::192.0.2.1/24/eth0`, `nginx`, `Filesystem::/dev/drbd0::/srv::ext4`.

use std::net::{IpAddr, Ipv4Addr};

use super::super::place::Located;
use super::super::report::Report;

/// What xvrrp can take over.
#[derive(Clone, Debug)]
pub(super) enum Resource {
    Address(Address),
    /// An init script without arguments.
    Service(String),
}

#[derive(Clone, Debug)]
pub(super) struct Address {
    /// With its prefix length, if it has one.
    pub address: String,
    pub interface: Option<String>,
}

/// What cannot be taken over is reported.
pub(super) fn read(it: &Located<String>, report: &mut Report) -> Option<Resource> {
    let mut parts = it.value.split("::");
    let agent = parts.next().unwrap_or_default();
    let argument = parts.next();
    let advice = match (agent, argument) {
        ("IPaddr" | "IPaddr2" | "IPv6addr", Some(address)) => return address_of(address, it, report),
        (bare, None) if is_address(bare) => return address_of(bare, it, report),
        ("Filesystem" | "drbddisk" | "drbdupper" | "drbd" | "LVM" | "Raid1" | "ServeRAID" | "WAS" | "iSCSI", _) => {
            "xvrrp moves addresses and services, no storage: two hosts that both serve would ruin it; that takes a \
             cluster manager with fencing"
        }
        ("MailTo", _) => "add a [mail] with a server, and with this address in `to`",
        ("IPsrcaddr", _) => "let a notify program set the route's source on MASTER: ip route change ... src ADDRESS",
        ("SendArp", _) => "each takeover sends gratuitous ARP: see announce_count",
        ("LinuxSCSI" | "ICP" | "portblock" | "AudibleAlarm" | "WinPopup" | "Delay" | "XinetD", _) => {
            "let a notify program do it, on MASTER and on every other state"
        }
        (service, None) => return Some(Resource::Service(service.to_owned())),
        (_, Some(_)) => "has arguments: make a systemd unit of it, and start and stop that",
    };
    report.left(&it.place, agent, advice);
    None
}

fn is_address(text: &str) -> bool {
    text.split('/').next().is_some_and(|address| address.parse::<IpAddr>().is_ok())
}

/// `address[/netmask[/interface[:label]][/broadcast]]`
fn address_of(text: &str, it: &Located<String>, report: &mut Report) -> Option<Resource> {
    let mut parts = text.split('/');
    let address = parts.next().unwrap_or_default();
    if address.parse::<IpAddr>().is_err() {
        report.left(&it.place, "IPaddr", format!("{address:?} is no address; write it as a number"));
        return None;
    }
    let mut prefix = String::new();
    let mut interface = None;
    for (index, part) in parts.enumerate() {
        if index == 0 {
            prefix = format!("/{}", prefix_length(part).map_or_else(|| part.to_owned(), |length| length.to_string()));
        } else if part.parse::<Ipv4Addr>().is_ok() {
            report.left(
                &it.place,
                "broadcast",
                "the interface's own address has the broadcast address of the network; remove it",
            );
        } else if !part.is_empty() {
            let (device, label) = part.split_once(':').map_or((part, None), |(device, label)| (device, Some(label)));
            if label.is_some() {
                report.left(
                    &it.place,
                    "label",
                    "has no counterpart; `ip address show proto 112` lists the addresses that xvrrp has set",
                );
            }
            interface = Some(device.to_owned());
        }
    }
    Some(Resource::Address(Address { address: format!("{address}{prefix}"), interface }))
}

/// Reads the prefix length of a mask in dots.
fn prefix_length(mask: &str) -> Option<u32> {
    let mask: Ipv4Addr = mask.parse().ok()?;
    let ones = mask.to_bits().leading_ones();
    (mask.to_bits().count_ones() == ones).then_some(ones)
}
