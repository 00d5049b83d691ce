//! Parses an address in the words of `ip address add`.

use std::net::{IpAddr, Ipv4Addr};

use super::words::{Words, address, longest, masked, prefix, scope, unknown, within};
use crate::model::{Prefix, StaticAddress};
use crate::quote::quote;

/// Scope of addresses of this host alone (rtnetlink(7)).
const HOST: u8 = 254;

/// How the broadcast address is given.
enum Broadcast {
    /// With all host bits set.
    Ones,
    /// With no host bit set.
    Zeros,
    This(IpAddr),
}

/// Parses an address. The error says what is wrong with the text and what is expected.
pub(in super::super) fn parse(text: &str) -> Result<StaticAddress, String> {
    let mut words = Words::new(text);
    let (mut own, mut peer, mut broadcast, mut is_scoped) = (None, None, None, false);
    let mut read = StaticAddress {
        address: Ipv4Addr::UNSPECIFIED.into(),
        prefix_length: 0,
        interface: String::new(),
        peer: None,
        broadcast: None,
        scope: 0,
        label: None,
        preferred_lifetime: None,
        nodad: false,
        home: false,
        mngtmpaddr: false,
        noprefixroute: false,
        autojoin: false,
        kept: true,
    };
    while let Some(word) = words.next() {
        match word {
            "dev" => read.interface = words.interface("dev")?,
            "peer" | "remote" => peer = Some(with_prefix("peer", words.value("peer")?)?),
            "brd" | "broadcast" => {
                broadcast = Some(match words.value("brd")? {
                    "+" => Broadcast::Ones,
                    "-" => Broadcast::Zeros,
                    text => Broadcast::This(address("brd", text)?),
                });
            }
            "scope" => {
                read.scope = scope(words.value("scope")?)?;
                is_scoped = true;
            }
            "label" => read.label = Some(label(words.value("label")?)?),
            "preferred_lft" => {
                words.once("preferred_lft")?;
                if !words.next_is("forever") {
                    let text = words.next().unwrap_or_default();
                    let seconds = within("preferred_lft", text, 0, u32::MAX)?;
                    read.preferred_lifetime = Some(seconds).filter(|seconds| *seconds < u32::MAX);
                }
            }
            "nodad" => flag("nodad", &mut read.nodad, &mut words)?,
            "home" => flag("home", &mut read.home, &mut words)?,
            "mngtmpaddr" => flag("mngtmpaddr", &mut read.mngtmpaddr, &mut words)?,
            "noprefixroute" => flag("noprefixroute", &mut read.noprefixroute, &mut words)?,
            "autojoin" => flag("autojoin", &mut read.autojoin, &mut words)?,
            "no_track" => {
                words.once("no_track")?;
                read.kept = false;
            }
            "local" => own = Some(with_prefix("local", words.value("the address")?)?),
            text if text.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':') && text.contains(['.', ':']) => {
                words.once("the address")?;
                own = Some(with_prefix("address", text)?);
            }
            _ => return Err(unknown(word, "ip address")),
        }
    }
    let own = own.ok_or("there is no address; add one with its prefix length, such as 192.0.2.9/24")?;
    finish(read, own, peer, broadcast, is_scoped)
}

/// Completes an address, and checks that its words fit together.
fn finish(
    mut read: StaticAddress,
    own: Prefix,
    peer: Option<Prefix>,
    broadcast: Option<Broadcast>,
    is_scoped: bool,
) -> Result<StaticAddress, String> {
    if read.interface.is_empty() {
        return Err("there is no interface; add dev INTERFACE".into());
    }
    (read.address, read.prefix_length) = (own.address, own.length);
    if let Some(peer) = peer {
        if peer.address.is_ipv6() != own.address.is_ipv6() {
            return Err(format!("peer: {} is of the other family than {}", peer.address, own.address));
        }
        read.peer = Some(peer.address);
        // As ip(8): the prefix length is given with the peer.
        read.prefix_length = peer.length;
    }
    if own.address.is_unspecified() || own.address.is_multicast() && !read.autojoin {
        return Err(format!("{} is not the address of a host", own.address));
    }
    if read.prefix_length == 0 {
        return Err(format!(
            "{}: the prefix length 0 is not valid; expected 1 to {}",
            own.address,
            longest(own.address)
        ));
    }
    if own.address.is_ipv6() {
        if broadcast.is_some() || read.label.is_some() || is_scoped {
            return Err("brd, label and scope are for IPv4 only; remove them".into());
        }
        return Ok(read);
    }
    if read.nodad || read.home || read.mngtmpaddr {
        return Err("nodad, home and mngtmpaddr are for IPv6 only; remove them".into());
    }
    if own.address.is_loopback() && !is_scoped {
        read.scope = HOST;
    }
    read.broadcast = match broadcast {
        None => None,
        Some(Broadcast::This(address @ IpAddr::V4(_))) => Some(address),
        Some(Broadcast::This(address)) => return Err(format!("brd: {address} is not an IPv4 address")),
        Some(_) if read.prefix_length > 30 => {
            return Err(format!("brd: a prefix of {} bits has no broadcast address; remove it", read.prefix_length));
        }
        Some(which) => {
            let address = read.peer.unwrap_or(read.address);
            let Prefix { address: network, length } = masked(Prefix { address, length: read.prefix_length });
            let IpAddr::V4(network) = network else { return Ok(read) };
            let hosts = match which {
                Broadcast::Ones => u32::MAX.checked_shr(u32::from(length)).unwrap_or(0),
                _ => 0,
            };
            Some(Ipv4Addr::from_bits(network.to_bits() | hosts).into())
        }
    };
    Ok(read)
}

fn flag(name: &'static str, flag: &mut bool, words: &mut Words<'_>) -> Result<(), String> {
    *flag = true;
    words.once(name)
}

fn with_prefix(keyword: &str, text: &str) -> Result<Prefix, String> {
    let wrong = || format!("{keyword}: {} is not an address; expected one such as 192.0.2.9/24", quote(text));
    prefix(keyword, text).ok().flatten().ok_or_else(wrong)
}

fn label(text: &str) -> Result<String, String> {
    if text.len() > 15 {
        return Err(format!("label: {} is longer than 15 bytes", quote(text)));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> StaticAddress {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn an_address_without_any_options_has_the_values_that_ip_chooses() {
        let expected = StaticAddress {
            address: [192, 0, 2, 9].into(),
            prefix_length: 24,
            interface: "eth0".into(),
            peer: None,
            broadcast: None,
            scope: 0,
            label: None,
            preferred_lifetime: None,
            nodad: false,
            home: false,
            mngtmpaddr: false,
            noprefixroute: false,
            autojoin: false,
            kept: true,
        };
        assert_eq!(read("192.0.2.9/24 dev eth0"), expected);
        assert_eq!(read("dev eth0 local 192.0.2.9/24 preferred_lft forever"), expected);
        assert_eq!(read("192.0.2.9 dev eth0").prefix_length, 32);
        assert_eq!(read("2001:db8::9 dev eth0").prefix_length, 128);
        assert_eq!(read("127.0.0.9/8 dev lo").scope, 254);
    }

    #[test]
    fn every_option_of_an_address_is_read() {
        let found = read("192.0.2.9/24 brd + dev eth0 label eth0:1 scope link preferred_lft 0 noprefixroute no_track");
        assert_eq!(found.broadcast, Some([192, 0, 2, 255].into()));
        assert_eq!((found.label.as_deref(), found.scope), (Some("eth0:1"), 253));
        assert_eq!((found.preferred_lifetime, found.noprefixroute, found.kept), (Some(0), true, false));
        assert_eq!(read("192.0.2.9/24 brd - dev eth0").broadcast, Some([192, 0, 2, 0].into()));
        let found = read("192.0.2.9 peer 192.0.2.10/30 dev tun0");
        assert_eq!((found.peer, found.prefix_length), (Some([192, 0, 2, 10].into()), 30));
        let found = read("2001:db8::9/64 dev eth0 nodad home mngtmpaddr");
        assert!(found.nodad && found.home && found.mngtmpaddr);
        assert!(read("ff05::7/128 dev eth0 autojoin").autojoin);
    }

    #[test]
    fn an_address_that_no_interface_can_have_is_refused() {
        for (text, expected) in [
            ("", "there is no address"),
            ("dev eth0", "there is no address"),
            ("192.0.2.9/24", "there is no interface"),
            ("192.0.2.9/33 dev eth0", "is not an address"),
            ("192.0.2.9/0 dev eth0", "the prefix length 0 is not valid"),
            ("224.0.0.5/24 dev eth0", "is not the address of a host"),
            ("192.0.2.9/24 192.0.2.8/24 dev eth0", "the address is given twice"),
            ("192.0.2.9/24 dev eth0 peer 2001:db8::1", "of the other family"),
            ("192.0.2.9/31 dev eth0 brd +", "has no broadcast address"),
            ("192.0.2.9/24 dev eth0 nodad", "for IPv6 only"),
            ("2001:db8::9/64 dev eth0 label eth0:1", "for IPv4 only"),
            ("192.0.2.9/24 dev eth0 label eth0:123456789012", "longer than 15 bytes"),
            ("192.0.2.9/24 dev eth0 colour red", "\"colour\" is not a word of ip address add"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
