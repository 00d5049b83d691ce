//! Reads lines of `unicast_peer`.

use std::net::IpAddr;

use toml::{Table, Value};

use super::super::location::Located;
use super::super::report::ImportReport;
use super::tree::Statement;

/// A router that gets adverts by unicast.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub address: IpAddr,
    /// Element of `unicast_peers` in the result.
    pub element: Located<Value>,
}

/// Reads `ADDRESS [min_ttl TTL] [max_ttl TTL]`, unless keepalived ignores the line.
///
/// `ipv6` is the family of the adverts, which the first directive with an address decides.
pub(super) fn read(line: &Statement, ipv6: &mut Option<bool>, peers: &mut Vec<Peer>, report: &mut ImportReport) {
    let Statement { keyword: text, location, .. } = line;
    // keepalived ignores a prefix length, and the end of a range.
    let address = text.split(['-', '/']).next().unwrap_or_default();
    let Ok(parsed) = address.parse::<IpAddr>() else {
        let advice = format!("{text:?} is not an IP address, so keepalived ignores it; correct it");
        return report.changed(location, "unicast_peer", advice);
    };
    if *ipv6.get_or_insert(parsed.is_ipv6()) != parsed.is_ipv6() {
        let advice = format!("{address} is not of the family of the adverts, so keepalived ignores it; remove it");
        return report.changed(location, "unicast_peer", advice);
    }
    if peers.iter().any(|peer| peer.address == parsed) {
        return report.note(location, "unicast_peer", format!("{address} is listed twice; keepalived uses the first"));
    }
    if address != text {
        report.note(location, "unicast_peer", format!("{text} is {address}: keepalived ignores what follows"));
    }
    let mut element = Value::String(address.to_owned());
    let mut unknown = Vec::new();
    for option in line.words.chunks(2) {
        match option {
            [name, ttl] if name == "min_ttl" && ttl.parse::<u8>().is_ok() => {
                // A minimum of 0 has the same effect as 1, because nothing is sent with TTL 0.
                let ttl = ttl.parse::<i64>().unwrap_or_default().max(1);
                let pairs = [("address", address.into()), ("min_ttl", Value::from(ttl))];
                element = pairs.map(|(key, value)| (key.to_owned(), value)).into_iter().collect::<Table>().into();
            }
            [name, ttl] if name == "max_ttl" && ttl == "255" => {
                report.note(location, "unicast_peer", "max_ttl 255 is the default");
            }
            [name, ttl] if name == "max_ttl" && ttl.parse::<u8>().is_ok() => {
                let advice = "there is no max_ttl, so adverts of nearer routers are accepted too; min_ttl excludes those \
                              that are farther away";
                report.changed(location, "unicast_peer", advice);
            }
            _ => unknown.extend(option.iter().map(String::as_str)),
        }
    }
    if !unknown.is_empty() {
        let unknown = unknown.join(" ");
        let why =
            format!("{unknown:?} is neither min_ttl nor max_ttl with a TTL, so keepalived ignores it; correct it");
        report.note(location, "unicast_peer", why);
    }
    peers.push(Peer { address: parsed, element: Located::new(element, location) });
}
