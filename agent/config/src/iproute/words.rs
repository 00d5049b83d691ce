//! Reads the words of an entry one after the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::SplitWhitespace;

use xvrrp_common::units::Family;

use super::number::number;
use crate::model::{Named, Names, Prefix, Realms};
use crate::quote::quote;

/// Number of the routing table `main`.
pub(super) const MAIN: u32 = 254;
/// Number of the routing table `local`.
pub(super) const LOCAL: u32 = 255;
/// The protocol with which xvrrp marks what it installs: that of VRRP (RFC 9568 5.1.1.4).
const MARK: u32 = 112;

/// The words of an entry that have not been read yet.
pub(super) struct Words<'a> {
    words: SplitWhitespace<'a>,
    /// The word that was put back.
    pub next: Option<&'a str>,
    /// The keywords that were read.
    pub given: Vec<&'static str>,
}

impl<'a> Words<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { words: text.split_whitespace(), next: None, given: Vec::new() }
    }

    pub fn next(&mut self) -> Option<&'a str> {
        self.next.take().or_else(|| self.words.next())
    }

    pub fn peek(&mut self) -> Option<&'a str> {
        self.next = self.next();
        self.next
    }

    /// Reads the next word if it is this one.
    pub fn next_is(&mut self, word: &str) -> bool {
        let is_it = self.peek() == Some(word);
        if is_it {
            self.next = None;
        }
        is_it
    }

    /// Notes that a keyword is given. It may be given only once, under whatever name.
    pub fn once(&mut self, keyword: &'static str) -> Result<(), String> {
        if self.given.contains(&keyword) {
            return Err(format!("{keyword} is given twice; remove one"));
        }
        self.given.push(keyword);
        Ok(())
    }

    /// Returns whether a keyword is given.
    pub fn has(&self, keyword: &str) -> bool {
        self.given.contains(&keyword)
    }

    /// Reads the value of a keyword, which may be given only once.
    pub fn value(&mut self, keyword: &'static str) -> Result<&'a str, String> {
        self.once(keyword)?;
        self.next().ok_or_else(|| format!("{keyword} has no value; add one"))
    }

    /// Reads the value of a keyword: a number within a range.
    pub fn number(&mut self, keyword: &'static str, min: u32, max: u32) -> Result<u32, String> {
        let text = self.value(keyword)?;
        within(keyword, text, min, max)
    }

    /// Reads the value of a keyword: the name of an interface.
    pub fn interface(&mut self, keyword: &'static str) -> Result<String, String> {
        let name = self.value(keyword)?;
        let valid = (1..=15).contains(&name.len())
            && !matches!(name, "." | "..")
            && !name.contains(|c: char| matches!(c, '/' | ':') || c.is_control());
        if valid {
            Ok(name.to_owned())
        } else {
            Err(format!("{keyword}: {} is not a valid interface name; expected 1 to 15 bytes", quote(name)))
        }
    }

    /// Reads the value of `table` or `lookup`.
    pub fn table(&mut self, keyword: &'static str) -> Result<Named, String> {
        let text = self.value(keyword)?;
        let named = match text {
            "main" => Named::Number(MAIN),
            "local" => Named::Number(LOCAL),
            "default" => Named::Number(253),
            _ => named(keyword, text, Names::Tables, u32::MAX)?,
        };
        match named {
            Named::Number(0) => Err(format!("{keyword}: 0 stands for no table; expected 1 to {}, or a name", u32::MAX)),
            named => Ok(named),
        }
    }

    /// Reads the value of `tos` or `dsfield`. ip(8) reads a number without 0x as hexadecimal, and keepalived reads it
    /// as decimal.
    pub fn tos(&mut self) -> Result<Named, String> {
        let text = self.value("tos")?;
        let tos = match number::<u32>(text) {
            Some(_) if !text.starts_with("0x") && text != "0" => {
                return Err(format!("tos: {text} could be decimal or hexadecimal; write it with 0x, such as 0x10"));
            }
            _ => named("tos", text, Names::DsField, 0xff)?,
        };
        match tos {
            Named::Number(number) if number & 3 != 0 => {
                Err(format!("tos: the lower two bits of {text} belong to ECN (RFC 3168 5); expected 0x0 to 0xfc"))
            }
            tos => Ok(tos),
        }
    }

    /// Reads the value of `realms`: `REALM`, or `SOURCE/DESTINATION`.
    pub fn realms(&mut self) -> Result<Realms, String> {
        let text = self.value("realms")?;
        let (source, destination) = text.split_once('/').unwrap_or(("0", text));
        let realm = |text| named("realms", text, Names::Realms, 0xffff);
        Ok(Realms { source: realm(source)?, destination: realm(destination)? })
    }

    /// Reads the value of `protocol`. Only the mark of xvrrp is accepted.
    pub fn protocol(&mut self) -> Result<(), String> {
        match self.value("protocol")? {
            "vrrp" => Ok(()),
            text if number(text) == Some(MARK) => Ok(()),
            text => Err(format!(
                "protocol: {} is not allowed: xvrrp recognizes what it has installed by the protocol 112; remove it",
                quote(text)
            )),
        }
    }

    /// Reads the value of a keyword: an address.
    pub fn address(&mut self, keyword: &'static str) -> Result<IpAddr, String> {
        let text = self.value(keyword)?;
        address(keyword, text)
    }
}

/// The family of an entry, which its words decide one after the other.
#[derive(Clone, Copy, Default)]
pub(super) struct Families(Option<Family>);

impl Families {
    /// Notes that the entry is of this family because of this word.
    pub fn add(&mut self, family: Family, word: &str) -> Result<(), String> {
        match self.0.replace(family) {
            Some(before) if before != family => Err(format!(
                "{} is {}, but the words before it are {}; remove one",
                quote(word),
                of(family),
                of(before)
            )),
            _ => Ok(()),
        }
    }

    /// Notes the family of an address.
    pub fn add_address(&mut self, address: IpAddr) -> Result<(), String> {
        self.add(Family::of(address), &address.to_string())
    }

    /// Returns the family that the words name, or else this one. ip(8) and keepalived assume IPv4 where nothing says
    /// otherwise.
    pub fn decide(self, otherwise: Option<Family>) -> Family {
        self.0.or(otherwise).unwrap_or(Family::Ipv4)
    }
}

pub(super) fn of(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    }
}

/// Returns the family that a word names.
pub(super) fn family(word: &str) -> Option<Family> {
    match word {
        "inet" | "-4" => Some(Family::Ipv4),
        "inet6" | "-6" => Some(Family::Ipv6),
        _ => None,
    }
}

/// Reads a number within a range.
pub(super) fn within(keyword: &str, text: &str, min: u32, max: u32) -> Result<u32, String> {
    let found = number(text).filter(|number| (min..=max).contains(number));
    found.ok_or_else(|| format!("{keyword}: {} is not valid; expected a number from {min} to {max}", quote(text)))
}

/// Reads a number of at most this, or the name of one.
pub(super) fn named(keyword: &str, text: &str, names: Names, max: u32) -> Result<Named, String> {
    if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+')) {
        return within(keyword, text, 0, max).map(Named::Number);
    }
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | '#')) {
        return Err(format!("{keyword}: {} is neither a number nor a name", quote(text)));
    }
    Ok(Named::Name(names, text.to_owned()))
}

pub(super) fn address(keyword: &str, text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| match text.split_once('/') {
        Some((address, _)) if address.parse::<IpAddr>().is_ok() => {
            format!("{keyword}: {} has a prefix length; write {address}", quote(text))
        }
        _ => format!("{keyword}: {} is not an IP address; expected one such as 192.0.2.1 or 2001:db8::1", quote(text)),
    })
}

/// Reads a prefix, or `None` for `default`, which is of either family.
pub(super) fn prefix(keyword: &str, text: &str) -> Result<Option<Prefix>, String> {
    if matches!(text, "default" | "any" | "all") {
        return Ok(None);
    }
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let wrong = || {
        format!(
            "{keyword}: {} is not a prefix; expected one such as 192.0.2.0/24 or 2001:db8::/32, or default",
            quote(text)
        )
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let max = longest(address);
    let length = match length {
        None => max,
        Some(length) => number(length).filter(|length| *length <= max).ok_or_else(wrong)?,
    };
    Ok(Some(Prefix { address, length }))
}

/// Returns the prefix of all addresses of a family.
pub(super) fn everything(family: Family) -> Prefix {
    let address = match family {
        Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    Prefix { address, length: 0 }
}

/// Returns the longest prefix length of the address's family.
pub(super) fn longest(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

/// Returns the prefix without the bits behind it.
pub(super) fn masked(prefix: Prefix) -> Prefix {
    let address = match prefix.address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.length)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.length)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    };
    Prefix { address, ..prefix }
}

/// Reads a scope (rtnetlink(7)).
pub(super) fn scope(text: &str) -> Result<u8, String> {
    match text {
        "global" | "universe" => Ok(0),
        "site" => Ok(200),
        "link" => Ok(253),
        "host" => Ok(254),
        "nowhere" => Ok(255),
        _ => number(text).ok_or_else(|| {
            format!("scope: {} is not a scope; expected global, site, link, host, or a number to 255", quote(text))
        }),
    }
}

/// Says that a word is not known.
pub(super) fn unknown(word: &str, what: &str) -> String {
    format!("{} is not a word of {what} add, or is in a place where that does not expect it", quote(word))
}
