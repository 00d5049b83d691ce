//! Parses IP addresses, and checks which of them may be a virtual address or a peer.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use xvrrp_common::units::{Family, Version};

use super::quote::quote;

/// An address that moves with the Active role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vip {
    /// The address itself, without its prefix.
    pub address: IpAddr,
    /// Prefix length with which the address is installed on the interface: 1 to 32, for IPv6 1 to 128. Default: 32
    /// or 128.
    pub prefix_length: u8,
}

impl Vip {
    /// Returns the family of the address.
    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// Returns whether it is a link-local IPv6 address.
    pub fn is_link_local(&self) -> bool {
        is_link_local(self.address)
    }
}

/// Returns whether it is a link-local IPv6 address.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}

/// Why a text is not an address of the kind that is needed. Displays as what is wrong and what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AddressError {
    #[error("{0} is not an IP address; expected one such as \"192.0.2.1/24\" or \"2001:db8::1/64\"")]
    NoVip(Quoted),
    #[error("{0} is not an IP address; expected one such as \"192.0.2.2\" or \"fe80::2\"")]
    NoAddress(Quoted),
    #[error("{0} is an IPv6 address, but version 2 is IPv4 only (RFC 3768); expected an IPv4 address")]
    Ipv6InVersion2(Quoted),
    #[error(
        "{text} has no valid prefix length; expected one from 1 to {most}, as in \"{address}/{usual}\"",
        most = max_prefix_length(*address),
        usual = if address.is_ipv6() { 64 } else { 24 }
    )]
    PrefixLength { text: Quoted, address: IpAddr },
    #[error("{text} has a prefix length; expected a single address, \"{address}\"")]
    Prefix { text: Quoted, address: String },
    /// The address is of this kind instead.
    #[error("{0} is {1}; expected a unicast address")]
    NotUnicast(Quoted, &'static str),
    #[error(
        "{0} is not link-local, but adverts over IPv6 come from link-local addresses (RFC 9568 5.1.2.1); expected one \
         such as \"fe80::2\""
    )]
    NotLinkLocal(Quoted),
    /// The address is of this kind, and another one of the same network would do.
    #[error("\"{vip}\" is {kind}; expected the address of a host, such as \"{example}\"")]
    NotOfHost { vip: Vip, kind: &'static str, example: Vip },
}

/// Text of the configuration, as messages show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quoted(String);

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote(&self.0))
    }
}

/// Parses a virtual address.
pub(super) fn parse_vip(text: &str, version: Version) -> Result<Vip, AddressError> {
    let quoted = || Quoted(text.to_owned());
    let (address, prefix_length) = match text.split_once('/') {
        Some((address, prefix_length)) => (address, Some(prefix_length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| AddressError::NoVip(quoted()))?;
    if address.is_ipv6() && version == Version::V2 {
        return Err(AddressError::Ipv6InVersion2(quoted()));
    }
    let max = max_prefix_length(address);
    let prefix_length = match prefix_length {
        None => max,
        Some(digits) => {
            parse_prefix_length(digits, max).ok_or_else(|| AddressError::PrefixLength { text: quoted(), address })?
        }
    };
    check_unicast(address).map_err(|kind| AddressError::NotUnicast(quoted(), kind))?;
    match address {
        IpAddr::V4(address) => check_host_part(address, prefix_length)?,
        IpAddr::V6(address) => check_interface_identifier(address, prefix_length)?,
    }
    Ok(Vip { address, prefix_length })
}

/// Parses the source of adverts on the link.
pub(super) fn parse_source(text: &str) -> Result<IpAddr, AddressError> {
    let address = parse_peer(text)?;
    match address {
        IpAddr::V6(v6) if !v6.is_unicast_link_local() => Err(AddressError::NotLinkLocal(Quoted(text.to_owned()))),
        _ => Ok(address),
    }
}

/// Parses the address of a router, which need not be on the link.
pub(super) fn parse_peer(text: &str) -> Result<IpAddr, AddressError> {
    let quoted = || Quoted(text.to_owned());
    let address: IpAddr = text.parse().map_err(|_| match text.split_once('/') {
        Some((address, _)) if address.parse::<IpAddr>().is_ok() => {
            AddressError::Prefix { text: quoted(), address: address.to_owned() }
        }
        _ => AddressError::NoAddress(quoted()),
    })?;
    check_unicast(address).map_err(|kind| AddressError::NotUnicast(quoted(), kind))?;
    Ok(address)
}

fn max_prefix_length(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

fn parse_prefix_length(digits: &str, max: u8) -> Option<u8> {
    let all_digits = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|length| all_digits && (1..=max).contains(length))
}

/// Checks that this is a unicast address. The error names the kind of address that it is instead.
fn check_unicast(address: IpAddr) -> Result<(), &'static str> {
    if address.is_unspecified() {
        Err("the unspecified address")
    } else if address.is_loopback() {
        Err("a loopback address")
    } else if address.is_multicast() {
        Err("a multicast address")
    } else if address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Err("the broadcast address")
    } else if matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
        Err("an IPv4-mapped IPv6 address")
    } else {
        Ok(())
    }
}

/// Rejects an interface identifier of zero, which addresses all routers of the network (RFC 4291 2.6.1), except in
/// networks of two addresses (RFC 6164 5).
fn check_interface_identifier(address: Ipv6Addr, prefix_length: u8) -> Result<(), AddressError> {
    let host_bits = 128 - u32::from(prefix_length);
    let host_mask = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
    if host_bits < 2 || address.to_bits() & host_mask != 0 {
        return Ok(());
    }
    let example = Ipv6Addr::from_bits(address.to_bits() + 1);
    Err(not_of_host(
        address,
        "the anycast address of the routers of its network (RFC 4291 2.6.1)",
        example,
        prefix_length,
    ))
}

/// Rejects the addresses of the network itself and of its broadcast. Networks of two addresses have neither (RFC
/// 3021), nor have single addresses.
fn check_host_part(address: Ipv4Addr, prefix_length: u8) -> Result<(), AddressError> {
    let host_bits = 32 - u32::from(prefix_length);
    if host_bits < 2 {
        return Ok(());
    }
    let host_mask = u32::MAX >> (32 - host_bits);
    let network = address.to_bits() & !host_mask;
    let kind = match address.to_bits() & host_mask {
        0 => "the address of the network itself",
        host if host == host_mask => "the broadcast address of its network",
        _ => return Ok(()),
    };
    let example = Ipv4Addr::from_bits(network + 1);
    Err(not_of_host(address, kind, example, prefix_length))
}

fn not_of_host<A: Into<IpAddr>>(address: A, kind: &'static str, example: A, prefix_length: u8) -> AddressError {
    let [vip, example] = [address.into(), example.into()].map(|address| Vip { address, prefix_length });
    AddressError::NotOfHost { vip, kind, example }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vip(text: &str) -> Result<String, AddressError> {
        parse_vip(text, Version::V3).map(|vip| vip.to_string())
    }

    #[test]
    fn an_address_without_a_prefix_length_is_a_single_address() {
        assert_eq!(vip("192.0.2.1"), Ok("192.0.2.1/32".into()));
        assert_eq!(vip("2001:db8::1"), Ok("2001:db8::1/128".into()));
    }

    #[test]
    fn every_ipv4_prefix_length_from_1_to_32_is_accepted() {
        for length in 1..=32 {
            let text = format!("192.0.2.1/{length}");
            assert_eq!(vip(&text), Ok(text));
        }
        for wrong in ["0", "33", "024", "+24", "-1", "", "24 ", "255.255.255.0", "256", "24/24"] {
            assert!(vip(&format!("192.0.2.1/{wrong}")).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_ipv6_prefix_length_from_1_to_128_is_accepted() {
        for length in 1..=128 {
            let text = format!("2001:db8::1/{length}");
            assert_eq!(vip(&text), Ok(text));
        }
        for wrong in ["0", "129", "064", ""] {
            assert!(vip(&format!("2001:db8::1/{wrong}")).is_err(), "{wrong:?}");
        }
        // RFC 4291 2.6.1, RFC 6164 5
        assert!(vip("2001:db8::/64").is_err());
        assert!(vip("2001:db8::/126").is_err());
        assert!(vip("2001:db8::/127").is_ok());
    }

    #[test]
    fn both_addresses_of_a_network_of_two_are_accepted() {
        // RFC 3021 2.1
        assert_eq!(vip("192.0.2.0/31"), Ok("192.0.2.0/31".into()));
        assert_eq!(vip("192.0.2.1/31"), Ok("192.0.2.1/31".into()));
        assert!(vip("192.0.2.0/30").is_err());
        assert!(vip("192.0.2.3/30").is_err());
        assert!(vip("128.0.0.0/1").is_err());
    }

    #[test]
    fn only_unicast_addresses_are_accepted() {
        for wrong in ["0.0.0.0", "127.0.0.1", "224.0.0.18", "239.255.255.255", "255.255.255.255"] {
            assert!(vip(wrong).is_err(), "{wrong}");
            assert!(parse_source(wrong).is_err(), "{wrong}");
        }
        for wrong in ["::", "::1", "ff02::12", "::ffff:192.0.2.1"] {
            assert!(vip(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_source("192.0.2.7"), Ok(IpAddr::from([192, 0, 2, 7])));
        assert!(parse_source("fe80::7").is_ok());
        assert!(parse_source("2001:db8::7").is_err());
    }
}
