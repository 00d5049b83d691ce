//! IPv4 addresses as people write them, and which of them may be a virtual address or a peer.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use xvrrp_common::units::Version;

use super::section::quote;

/// An address that moves with the Active role. Version 3 over IPv6 will need another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vip {
    pub address: Ipv4Addr,
    /// 1 to 32; of the address as it is installed on the interface. Default: 32.
    pub prefix_length: u8,
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}

/// The error says what is wrong with the text and what would be right.
pub(super) fn parse_vip(text: &str, version: Version) -> Result<Vip, String> {
    let (address, prefix_length) = match text.split_once('/') {
        Some((address, prefix_length)) => (address, Some(prefix_length)),
        None => (text, None),
    };
    let shown = quote(text);
    if address.parse::<Ipv6Addr>().is_ok() {
        return Err(match version {
            Version::V2 => format!("{shown}: version 2 is IPv4 only (RFC 3768); expected an IPv4 address"),
            Version::V3 => {
                format!("{shown}: IPv6 is not supported by this version of xvrrp; expected an IPv4 address")
            }
        });
    }
    let address: Ipv4Addr = address
        .parse()
        .map_err(|_| format!("{shown} is not an IPv4 address; expected one such as \"192.0.2.1/24\""))?;
    let prefix_length = match prefix_length {
        None => 32,
        Some(digits) => parse_prefix_length(digits).ok_or_else(|| {
            format!("{shown} has no valid prefix length; expected one from 1 to 32, as in \"{address}/24\"")
        })?,
    };
    check_unicast(address).map_err(|kind| format!("{shown} is {kind}; expected a unicast address"))?;
    check_host_part(Vip { address, prefix_length })?;
    Ok(Vip { address, prefix_length })
}

/// The error says what is wrong with the text and what would be right.
pub(super) fn parse_source(text: &str) -> Result<Ipv4Addr, String> {
    let shown = quote(text);
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("{shown}: IPv6 is not supported by this version of xvrrp; expected an IPv4 address"));
    }
    let address: Ipv4Addr = text.parse().map_err(|_| match text.split_once('/') {
        Some((address, _)) if address.parse::<Ipv4Addr>().is_ok() => {
            format!("{shown} has a prefix length; expected a single address, \"{address}\"")
        }
        _ => format!("{shown} is not an IPv4 address; expected one such as \"192.0.2.2\""),
    })?;
    check_unicast(address).map_err(|kind| format!("{shown} is {kind}; expected a unicast address"))?;
    Ok(address)
}

fn parse_prefix_length(digits: &str) -> Option<u8> {
    let all_digits = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|length| all_digits && (1..=32).contains(length))
}

/// The error names the kind of address.
fn check_unicast(address: Ipv4Addr) -> Result<(), &'static str> {
    if address.is_unspecified() {
        Err("the unspecified address")
    } else if address.is_loopback() {
        Err("a loopback address")
    } else if address.is_multicast() {
        Err("a multicast address")
    } else if address.is_broadcast() {
        Err("the broadcast address")
    } else {
        Ok(())
    }
}

/// Networks of two addresses have neither network nor broadcast address (RFC 3021), single addresses neither.
fn check_host_part(vip: Vip) -> Result<(), String> {
    let host_bits = 32 - u32::from(vip.prefix_length);
    if host_bits < 2 {
        return Ok(());
    }
    let host_mask = u32::MAX >> (32 - host_bits);
    let network = vip.address.to_bits() & !host_mask;
    let kind = match vip.address.to_bits() & host_mask {
        0 => "the address of the network itself",
        host if host == host_mask => "the broadcast address of its network",
        _ => return Ok(()),
    };
    let example = Vip { address: Ipv4Addr::from_bits(network + 1), ..vip };
    Err(format!("\"{vip}\" is {kind}; expected a host's address, such as \"{example}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vip(text: &str) -> Result<String, String> {
        parse_vip(text, Version::V3).map(|vip| vip.to_string())
    }

    #[test]
    fn an_address_without_prefix_length_stands_alone() {
        assert_eq!(vip("192.0.2.1"), Ok("192.0.2.1/32".into()));
    }

    #[test]
    fn every_prefix_length_from_1_to_32_is_taken() {
        for length in 1..=32 {
            let text = format!("192.0.2.1/{length}");
            assert_eq!(vip(&text), Ok(text));
        }
        for wrong in ["0", "33", "024", "+24", "-1", "", "24 ", "255.255.255.0", "256", "24/24"] {
            assert!(vip(&format!("192.0.2.1/{wrong}")).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn networks_of_two_addresses_use_both() {
        // RFC 3021 2.1
        assert_eq!(vip("192.0.2.0/31"), Ok("192.0.2.0/31".into()));
        assert_eq!(vip("192.0.2.1/31"), Ok("192.0.2.1/31".into()));
        assert!(vip("192.0.2.0/30").is_err());
        assert!(vip("192.0.2.3/30").is_err());
        assert!(vip("128.0.0.0/1").is_err());
    }

    #[test]
    fn only_unicast_addresses_are_taken() {
        for wrong in ["0.0.0.0", "127.0.0.1", "224.0.0.18", "239.255.255.255", "255.255.255.255"] {
            assert!(vip(wrong).is_err(), "{wrong}");
            assert!(parse_source(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_source("192.0.2.7"), Ok(Ipv4Addr::new(192, 0, 2, 7)));
    }
}
