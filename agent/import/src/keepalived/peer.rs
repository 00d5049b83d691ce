//! Reads lines of `unicast_peer`.

use toml::{Table, Value};

use super::super::location::Located;
use super::super::report::ImportReport;
use super::tree::Statement;

/// Reads `ADDRESS [min_ttl TTL] [max_ttl TTL]`. Returns an element of `unicast_peers`.
pub(super) fn read(line: &Statement, report: &mut ImportReport) -> Located<Value> {
    let address = line.keyword.clone();
    let mut peer = Value::String(address.clone());
    for option in line.words.chunks(2) {
        match option {
            [name, ttl] if name == "min_ttl" && ttl.parse::<u8>().is_ok() => {
                // A minimum of 0 has the same effect as 1, because nothing is sent with TTL 0.
                let ttl = ttl.parse::<i64>().unwrap_or_default().max(1);
                let pairs = [("address", address.clone().into()), ("min_ttl", Value::from(ttl))];
                peer = pairs.map(|(key, value)| (key.to_owned(), value)).into_iter().collect::<Table>().into();
            }
            [name, _] if name == "max_ttl" => {
                report.add(
                    &line.location,
                    "unicast_peer",
                    "there is no max_ttl; min_ttl excludes routers that are farther away",
                );
            }
            _ => {
                let advice = format!("{:?} is neither min_ttl nor max_ttl with a TTL; correct it", option.join(" "));
                report.add(&line.location, "unicast_peer", advice);
            }
        }
    }
    Located::new(peer, &line.location)
}
