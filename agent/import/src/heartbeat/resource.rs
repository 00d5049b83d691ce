//! Parses resources: `IPaddr::192.0.2.1/24/eth0`, `nginx`, `Filesystem::/dev/drbd0::/srv::ext4`.

use std::net::{IpAddr, Ipv4Addr};

use super::super::location::Located;
use super::super::report::ImportReport;

/// A resource that xvrrp can manage.
#[derive(Clone, Debug)]
pub(super) enum Resource {
    Address(HeartbeatAddress),
    /// An init script without arguments.
    Service(String),
}

#[derive(Clone, Debug)]
pub(super) struct HeartbeatAddress {
    /// The address, with its prefix length if it has one.
    pub address: String,
    pub interface: Option<String>,
}

/// Parses a resource. Reports one that xvrrp cannot manage.
pub(super) fn read(it: &Located<String>, report: &mut ImportReport) -> Option<Resource> {
    let mut parts = it.value.split("::");
    let agent = parts.next().unwrap_or_default();
    let argument = parts.next();
    let advice = match (agent, argument) {
        ("IPaddr" | "IPaddr2" | "IPv6addr", Some(address)) => return parse_address(address, it, report),
        (bare, None) if is_address(bare) => return parse_address(bare, it, report),
        ("Filesystem" | "drbddisk" | "drbdupper" | "drbd" | "LVM" | "Raid1" | "ServeRAID" | "WAS" | "iSCSI", _) => {
            "xvrrp moves addresses and services, but not storage, which two hosts that use it at once would destroy; \
             use a cluster manager with fencing"
        }
        ("MailTo", _) => "add a [mail] with a server, and with this address in `to`",
        ("IPsrcaddr", _) => {
            "use a notify program that sets the source of the route on MASTER: ip route change ... src ADDRESS"
        }
        ("SendArp", _) => {
            report.note(&it.location, agent, "every takeover sends gratuitous ARP; announce_count says how often");
            return None;
        }
        ("LinuxSCSI" | "ICP" | "portblock" | "AudibleAlarm" | "WinPopup" | "Delay" | "XinetD", _) => {
            "use a notify program, which acts on MASTER and on every other state"
        }
        (service, None) => return Some(Resource::Service(service.to_owned())),
        (_, Some(_)) => "has arguments; write a systemd unit for it, and start and stop that unit",
    };
    report.add(&it.location, agent, advice);
    None
}

fn is_address(text: &str) -> bool {
    text.split('/').next().is_some_and(|address| address.parse::<IpAddr>().is_ok())
}

/// Parses `address[/netmask[/interface[:label]][/broadcast]]`.
fn parse_address(text: &str, it: &Located<String>, report: &mut ImportReport) -> Option<Resource> {
    let mut parts = text.split('/');
    let address = parts.next().unwrap_or_default();
    if address.parse::<IpAddr>().is_err() {
        report.add(&it.location, "IPaddr", format!("{address:?} is not an IP address; write it in numbers"));
        return None;
    }
    let mut prefix = String::new();
    let mut interface = None;
    for (index, part) in parts.enumerate() {
        if index == 0 {
            prefix = format!("/{}", prefix_length(part).map_or_else(|| part.to_owned(), |length| length.to_string()));
        } else if part.parse::<Ipv4Addr>().is_ok() {
            report.note(
                &it.location,
                "broadcast",
                "the interface's own address already has the broadcast address of the network; remove it",
            );
        } else if !part.is_empty() {
            let (device, label) = part.split_once(':').map_or((part, None), |(device, label)| (device, Some(label)));
            if label.is_some() {
                report.add(
                    &it.location,
                    "label",
                    "has no counterpart; `ip address show proto 112` lists the addresses that xvrrp has set",
                );
            }
            interface = Some(device.to_owned());
        }
    }
    Some(Resource::Address(HeartbeatAddress { address: format!("{address}{prefix}"), interface }))
}

/// Returns the prefix length of a mask in dotted form.
fn prefix_length(mask: &str) -> Option<u32> {
    let mask: Ipv4Addr = mask.parse().ok()?;
    let ones = mask.to_bits().leading_ones();
    (mask.to_bits().count_ones() == ones).then_some(ones)
}
